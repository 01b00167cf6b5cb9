"""Map FHIR R4 as CDS Hooks brings it to the facts of one decision: pure, and never raising on any JSON.

What is not there stays unknown. Of the prefetch keys, a *missing* key was not obtained: its collection is
unknown (``None``); where it shares a collection with something known (``meds`` with the drafts), an item of
which nothing is known stands in for it, so that a rule over pairs answers *not checked* instead of passing.
A ``null`` value is the client's word that there is *no data*: a search is empty, a read is unknown. An
OperationOutcome is an error: unknown.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from adapters.emr.action import Action, Mapped
from adapters.emr.clinical import read_coverage, read_patient, read_visit
from adapters.emr.fhir import Node
from adapters.emr.gathering import DEAD_ORDERS, DEAD_STATEMENTS, Gathering
from adapters.emr.medication import Prescribing
from adapters.emr.observation import fill_patient
from adapters.emr.product import Drugs
from adapters.emr.settings import Settings
from engine.facts import Facts, Item

__all__ = ["Action", "Mapped", "from_bundle", "to_facts"]


def to_facts(
    action: Action, data: Mapping[str, object], drugs: Drugs, at: dt.datetime, settings: Settings
) -> Mapped:
    """Return the facts that the action and the prefetched data state, as of ``at``.

    ``data`` holds decoded JSON by prefetch key: patient, encounter, allergies, conditions, meds,
    medStatements, labs, vitals, coverage, imaging.
    """
    work = Gathering(action, data, drugs, at, settings)
    notes, zone = work.notes, at.tzinfo
    patient = read_patient(work.read("patient", "Patient"), action.patient_id, at, notes, "patient")
    observations = work.read_observations()
    fill_patient(patient, observations or [], at.replace(tzinfo=None), settings)
    encounter = work.read("encounter", "Encounter")
    visit = read_visit(encounter, action.visit_id, zone, notes, "encounter")
    if "coverage" in data:
        read_coverage(work.entries("coverage") or [], visit, notes)
    diagnoses, allergies = work.read_diagnoses(encounter), work.read_allergy_list()
    main = [one.code for one in diagnoses or () if one.main]
    if len(main) == 1:
        visit.main_diagnosis = main[0]
    orders, statements = work.entries("meds"), work.entries("medStatements")
    for resource, _ in action.drafts:
        if resource.get("resourceType") == "Medication":
            work.keep(resource, None)
    prescribing = Prescribing(drugs, at, settings, notes, patient.weight_kg, work.resources)
    work.read_drafts(prescribing)
    nothing = orders is None and statements is None and not work.medications
    if not nothing:
        work.read_medications("meds", orders, DEAD_ORDERS, prescribing)
        work.read_medications("medStatements", statements, DEAD_STATEMENTS, prescribing)
    work.read_images()
    facts = Facts(
        patient=patient,
        visit=visit,
        diagnoses=diagnoses,
        allergies=allergies,
        medications=None if nothing else tuple(work.medications),
        components=None if nothing else tuple(work.components),
        procedures=tuple(work.procedures),
        observations=None if observations is None else tuple(observations),
        imaging=tuple(work.imaging),
        appointments=tuple(work.appointments) or None,
    )
    if action.everything:
        _focus(facts)
    return Mapped(facts, notes.all(), frozenset(work.removable))


def _focus(facts: Facts) -> None:
    collections: tuple[Sequence[Item] | None, ...] = (
        facts.diagnoses, facts.allergies, facts.medications, facts.components, facts.procedures,
        facts.observations, facts.imaging,
    )  # fmt: skip
    for collection in collections:
        for item in collection or ():
            item.in_focus = True


_KEYS = {
    "AllergyIntolerance": "allergies", "Condition": "conditions", "MedicationRequest": "meds",
    "Medication": "meds", "MedicationStatement": "medStatements", "Coverage": "coverage",
    "ImagingStudy": "imaging",
}  # fmt: skip


def from_bundle(bundle: Node) -> tuple[Action, dict[str, object]]:
    """Split a whole record (one Bundle) into an action and data, as if its active orders were to be signed.

    A collection Bundle says all it has, so a type that is not in it is *no data*, not *not obtained*.
    """
    data: dict[str, object] = {
        key: {"resourceType": "Bundle", "entry": []}
        for key in (
            "allergies",
            "conditions",
            "meds",
            "medStatements",
            "labs",
            "vitals",
            "coverage",
            "imaging",
        )
    }
    drafts: list[tuple[Node, str]] = []
    resources: dict[str, Node] = {}
    listed = bundle.get("entry")
    for position, entry in enumerate(listed if isinstance(listed, list) else ()):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        kind, url = resource.get("resourceType"), entry.get("fullUrl")
        if isinstance(url, str):
            resources[url] = resource
        if kind == "Patient":
            data["patient"] = resource
        elif kind == "Encounter":
            data["encounter"] = resource  # the last one is the current one
        elif kind == "MedicationRequest" and resource.get("status") in ("active", "draft"):
            drafts.append((resource, f"entry[{position}].resource"))
        else:
            key = "vitals" if kind == "Observation" else _KEYS.get(str(kind))
            held = data.get(key) if key is not None else None
            if isinstance(held, dict):
                held["entry"].append(entry)
    patient = data.get("patient")
    own = patient.get("id") if isinstance(patient, dict) else None
    action = Action(
        patient_id=own if isinstance(own, str) else None, drafts=tuple(drafts), resources=resources
    )
    return action, data
