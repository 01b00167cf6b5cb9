"""Translate the input of NHSA 3101 and 3102 to facts, one :class:`Audit` a patient. Pure.

The wire has no dose, route, frequency, allergy or test result: those stay unknown (NHSA 3101, field tables).
The patient's name is never read.
"""

from __future__ import annotations

import msgspec

from adapters.insurance.lines import Resolve, charge_of, medication_of
from adapters.insurance.reading import Node, Note, ShapeError, root
from adapters.insurance.settings import Settings
from adapters.insurance.visits import Place, diagnoses_of, procedures_of, visit_of
from engine.decision import Stage
from engine.errors import FactsError
from engine.facts import Charge, Component, Facts, Medication, PastVisit, Patient

__all__ = ["Audit", "AuditRequest", "LineRef", "Resolve", "read_audit"]

_BEFORE = frozenset({"1", "2", "3", "4", "5"})
_DURING = frozenset({"6", "7", "8", "9", "10"})
_STAGES = {"3101": Stage.BEFORE, "3102": Stage.DURING}


class LineRef(msgspec.Struct, frozen=True):
    """Where an item of the facts stands on the wire; ``rx_id`` is empty for what is no order line."""

    mdtrt_id: str
    rx_id: str = ""


class Audit(msgspec.Struct, frozen=True):
    """One patient's current visit as facts, and the way back to the wire."""

    patient: str
    visit: str
    facts: Facts
    lines: dict[str, LineRef]
    notes: tuple[Note, ...]


class AuditRequest(msgspec.Struct, frozen=True):
    """What a 3101 or 3102 asks: which checks, on which patients."""

    stage: Stage
    scenes: tuple[str, ...]
    rule_ids: tuple[str, ...]
    task_id: str
    audits: tuple[Audit, ...]
    notes: tuple[Note, ...]


def read_audit(message: object, infno: str, settings: Settings, resolve: Resolve) -> AuditRequest:
    """Read a whole message of 3101 or 3102.

    Args:
        message: the decoded envelope.
        infno: 3101 or 3102; the stage when ``trig_scen`` does not say it.
        settings: the site's tables.
        resolve: the drug dictionary of the release in force.

    Raises:
        ShapeError: a node that must be there is missing or has another type.
        FactsError: the current visit cannot be told, or ids contradict one another.
    """
    envelope = root(message)
    data = envelope.node("input").node("data")
    place = Place(envelope.text("mdtrtarea_admvs"), envelope.text("insuplc_admdvs"))
    patients = data.nodes("patient_dtos")
    if not patients:
        raise ShapeError(data.at("patient_dtos"), "is missing or empty.")
    _check_shape(patients)
    if len(patients) > settings.max_patients:
        raise FactsError(data.at("patient_dtos"), f"holds more than {settings.max_patients} persons.")
    scenes = data.texts("trig_scen")
    stage = _stage(scenes, infno, data)
    read: list[Audit] = []
    for node in patients:
        # notes of one patient are of no concern to the next
        node.adopt([])
        read.append(_audit(node, place, settings, resolve))
    seen = [audit.patient for audit in read]
    for position, patient in enumerate(seen):
        if patient in seen[:position]:
            raise FactsError(f"{patients[position].path}.patn_id", "stands for two patients of one message.")
    return AuditRequest(
        stage, scenes, data.texts("rule_ids"), data.text("task_id") or "", tuple(read), tuple(envelope.notes)
    )


def _check_shape(patients: tuple[Node, ...]) -> None:
    """Refuse a wrong shape anywhere before anything is judged by its content."""
    for patient in patients:
        encounters = patient.nodes("fsi_encounter_dtos")
        if not encounters:
            raise ShapeError(patient.at("fsi_encounter_dtos"), "is missing or empty.")
        for encounter in encounters:
            for key in ("fsi_diagnose_dtos", "fsi_order_dtos", "fsi_operation_dtos"):
                encounter.nodes(key)


def _stage(scenes: tuple[str, ...], infno: str, data: Node) -> Stage:
    named = {scene.lstrip("0") for scene in scenes}
    if unknown := named - _BEFORE - _DURING:
        data.note("trig_scen", f"holds {len(unknown)} scene(s) that are not among 1 to 10")
    before, during = bool(named & _BEFORE), bool(named & _DURING)
    if before != during:
        return Stage.BEFORE if before else Stage.DURING
    return _STAGES[infno]


def _audit(node: Node, place: Place, settings: Settings, resolve: Resolve) -> Audit:
    patient = node.text("patn_id")
    if patient is None:
        raise FactsError(node.at("patn_id"), "is missing.")
    encounters = node.nodes("fsi_encounter_dtos") or ()
    current = _current(node, encounters)
    others = [encounter for encounter in encounters if encounter is not current]
    place = Place(place.region, place.insured_region or node.text("poolarea"))
    visit_id = current.text("mdtrt_id") or node.text("curr_mdtrt_id") or ""
    lines: dict[str, LineRef] = {}
    charges, medications, components = _orders(current, visit_id, settings, resolve, lines)
    diagnoses, procedures = diagnoses_of(current), procedures_of(current)
    for item in (*(diagnoses or ()), *(procedures or ())):
        lines.setdefault(item.id, LineRef(visit_id))
    past_visits, past_charges = _history(others, place, settings, lines)
    visit = visit_of(current, place, settings)
    if visit.main_diagnosis is None and diagnoses:
        visit.main_diagnosis = next((found.code for found in diagnoses if found.main), None)
    facts = Facts(
        patient=Patient(
            id=patient,
            sex=node.code("gend", settings.sexes),
            birth_date=node.day("brdy"),
            pregnancy=current.code("matn_stas", settings.pregnancy_states),
        ),
        visit=visit,
        diagnoses=diagnoses,
        medications=medications,
        components=components,
        charges=charges,
        procedures=procedures,
        past_charges=past_charges,
        past_visits=past_visits,
    )
    return Audit(patient, visit_id, facts, lines, tuple(node.notes))


def _current(node: Node, encounters: tuple[Node, ...]) -> Node:
    wanted = node.text("curr_mdtrt_id")
    if wanted is None:
        if len(encounters) == 1:
            node.note("curr_mdtrt_id", "is missing; the only visit is taken as the current one")
            return encounters[0]
        raise FactsError(node.at("curr_mdtrt_id"), "is missing, and there is more than one visit.")
    found = [encounter for encounter in encounters if encounter.text("mdtrt_id") == wanted]
    if not found:
        raise FactsError(node.at("curr_mdtrt_id"), "names no visit of fsi_encounter_dtos.")
    if len(found) > 1:
        raise FactsError(found[1].at("mdtrt_id"), "names the current visit a second time.")
    return found[0]


def _unique(wanted: str | None, fallback: str, taken: dict[str, LineRef], node: Node, key: str) -> str:
    """Return an id that no other item has; a missing or repeated one is noted."""
    found = wanted or fallback
    if wanted is None:
        node.note(key, f"is missing; the place {fallback} stands for it")
    elif wanted in taken:
        node.note(key, "stands a second time; the place is added to it")
        found = f"{wanted} {fallback}"
    while found in taken:
        found += "'"
    return found


def _orders(
    encounter: Node, visit_id: str, settings: Settings, resolve: Resolve, lines: dict[str, LineRef]
) -> tuple[tuple[Charge, ...] | None, tuple[Medication, ...] | None, tuple[Component, ...] | None]:
    nodes = encounter.nodes("fsi_order_dtos")
    if nodes is None:
        encounter.note("fsi_order_dtos", "was not sent; orders and charges of this visit are unknown")
        return None, None, None
    if len(nodes) > settings.max_orders:
        raise FactsError(encounter.at("fsi_order_dtos"), f"has more than {settings.max_orders} lines.")
    flags = [node.flag("curr_drord_flag") for node in nodes]
    if nodes and all(flag is False for flag in flags):
        encounter.note("fsi_order_dtos", "has no line with curr_drord_flag 1; all of them are checked")
        flags = [True] * len(nodes)
    charges: list[Charge] = []
    medications: list[Medication] = []
    components: list[Component] = []
    for position, (node, flag) in enumerate(zip(nodes, flags, strict=True)):
        rx_id = node.text("rx_id")
        item = _unique(rx_id, f"fsi_order_dtos[{position}]", lines, node, "rx_id")
        # a line that does not say whether it is new is checked, not passed over
        charge = charge_of(node, item, flag is not False, settings)
        lines[item] = LineRef(visit_id, rx_id or "")
        charges.append(charge)
        if charge.kind == "drug" or (charge.kind is None and (charge.code or "").startswith(("X", "Z"))):
            medication, parts = medication_of(node, charge, settings, resolve)
            medications.append(medication)
            components.extend(parts)
            for made in (medication, *parts):
                lines.setdefault(made.id, lines[item])
    return tuple(charges), tuple(medications), tuple(components)


def _history(
    others: list[Node], place: Place, settings: Settings, lines: dict[str, LineRef]
) -> tuple[tuple[PastVisit, ...] | None, tuple[Charge, ...] | None]:
    """Return earlier visits and charges; ``None`` where the client sent none and does not vouch for none."""
    if not others and not settings.complete_history:
        return None, None
    visits: list[PastVisit] = []
    charges: list[Charge] | None = []
    for number, encounter in enumerate(others):
        visit_id = encounter.text("mdtrt_id")
        # the envelope's place of care is that of the current visit, not of an earlier one
        here = Place(None, place.insured_region)
        stated = msgspec.structs.asdict(visit_of(encounter, here, settings))
        visits.append(PastVisit(**stated, in_focus=False))
        nodes = encounter.nodes("fsi_order_dtos")
        if nodes is None:
            encounter.note("fsi_order_dtos", "was not sent; so earlier charges are not known in full")
            charges = None
            continue
        for position, node in enumerate(nodes):
            rx_id = node.text("rx_id")
            item = f"past[{number}].{rx_id or position}"
            while item in lines:
                item += "'"
            lines[item] = LineRef(visit_id or "", rx_id or "")
            if charges is not None:
                charge = charge_of(node, item, False, settings)
                charge.visit_id = visit_id
                charges.append(charge)
    return tuple(visits), None if charges is None else tuple(charges)
