"""Translate a visit of the insurer's wire (``fsi_encounter_dtos``), its diagnoses and its operations."""

from __future__ import annotations

import msgspec

from adapters.insurance.reading import Node
from adapters.insurance.settings import Settings
from engine.facts import Diagnosis, Insurance, Procedure, Visit

__all__ = ["Place", "diagnoses_of", "procedures_of", "visit_of"]


class Place(msgspec.Struct, frozen=True):
    """Where care and insurance are, as the envelope and the patient say."""

    region: str | None
    insured_region: str | None


def visit_of(node: Node, place: Place, settings: Settings) -> Visit:
    """Return a visit; a discharge in the year 9999 is open, a code not in the tables is noted."""
    kind_code = (node.text("med_type") or "").upper()
    kind = settings.visit_kinds.get(kind_code) or settings.visit_kinds.get(kind_code[:2])
    if kind_code and kind is None:
        node.note("med_type", "is a code that the site's table does not know")
    insurance: Insurance | None = node.code("insutype", settings.insurances)
    if insurance == "employee" and kind_code[:2] in settings.maternity_visits:
        insurance = "maternity"  # where maternity cover was merged into the employees' fund
    return Visit(
        id=node.text("mdtrt_id"),
        kind=kind or node.code("med_mdtrt_type", settings.care_kinds),
        start=node.moment("adm_date"),
        end=node.moment("dscg_date"),
        department=node.text("adm_dept_codg"),
        discharge_department=node.text("dscg_dept_codg"),
        hospital=node.text("medins_id"),
        hospital_level=node.code("medins_lv", settings.hospital_levels),
        region=place.region or node.text("medins_admdvs"),
        insured_region=place.insured_region,
        insurance=insurance,
        main_diagnosis=_upper(node.text("dscg_main_dise_codg")),
        total_amount=node.decimal("medfee_sumamt"),
        doctor=node.text("dr_codg"),
    )


def _upper(text: str | None) -> str | None:
    return None if text is None else text.upper()


def diagnoses_of(encounter: Node) -> tuple[Diagnosis, ...] | None:
    """Return the diagnoses; ``None`` if they were not sent."""
    nodes = encounter.nodes("fsi_diagnose_dtos")
    if nodes is None:
        encounter.note("fsi_diagnose_dtos", "was not sent; the diagnoses of this visit are unknown")
        return None
    return tuple(
        Diagnosis(
            id=f"diagnosis[{position}]",
            code=_upper(node.text("dise_codg")),
            name=node.text("dise_name"),
            main=node.flag("maindise_flag"),
            active=True,
            onset=node.day("dise_date"),
        )
        for position, node in enumerate(nodes)
    )


def procedures_of(encounter: Node) -> tuple[Procedure, ...] | None:
    """Return the operations; ``None`` if they were not sent, for the node is optional."""
    nodes = encounter.nodes("fsi_operation_dtos")
    if nodes is None:
        return None
    return tuple(
        Procedure(
            id=f"procedure[{position}]",
            code=_upper(node.text("oprn_code")),
            name=node.text("oprn_name"),
            main=node.flag("main_oprn_flag"),
            day=node.day("oprn_date"),
        )
        for position, node in enumerate(nodes)
    )
