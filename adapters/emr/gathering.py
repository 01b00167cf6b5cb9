"""Gather the resources of one request into facts, by collection; gaps are stood in for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from adapters.emr.action import Action
from adapters.emr.clinical import main_condition, read_allergies, read_diagnosis
from adapters.emr.fhir import Node, NoteKind, Notes
from adapters.emr.medication import Prescribing, unknown_medication
from adapters.emr.observation import read_observation
from adapters.emr.orders import is_imaging, read_appointment, read_imaging, read_procedure, read_study
from adapters.emr.product import Drugs
from adapters.emr.settings import Settings
from engine.facts import (
    Allergy,
    Appointment,
    Component,
    Diagnosis,
    Imaging,
    Medication,
    Observation,
    Procedure,
)

__all__ = ["DEAD_ORDERS", "DEAD_STATEMENTS", "Gathering"]

DEAD_ORDERS = ("entered-in-error", "cancelled", "stopped", "completed")
_DEAD_DRAFTS = ("entered-in-error", "cancelled", "stopped")
DEAD_STATEMENTS = ("entered-in-error", "completed", "stopped", "not-taken")


_UNKNOWN = {
    "meds": "在用医嘱(未取得) active orders (not obtained)",
    "medStatements": "自述用药(未取得) self-reported (not obtained)",
}


class Gathering:
    """One mapping in progress."""

    def __init__(
        self, action: Action, data: Mapping[str, object], drugs: Drugs, at: dt.datetime, settings: Settings
    ) -> None:
        self.action, self.data, self.drugs, self.at, self.settings = action, data, drugs, at, settings
        self.notes = Notes()
        self.seen: set[str] = set()
        self.resources: dict[str, Node] = dict(action.resources)
        self.medications: list[Medication] = []
        self.components: list[Component] = []
        self.imaging: list[Imaging] = []
        self.procedures: list[Procedure] = []
        self.appointments: list[Appointment] = []
        self.removable: set[str] = set()

    def read(self, key: str, kind: str) -> Node | None:
        """Return the resource under a key of a FHIR read."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.notes.wrong(key, "object", value)
            return None
        if value.get("resourceType") == "Bundle":  # some clients answer a read by a searchset of one
            return next((one for one, _ in self.entries(key) or [] if one.get("resourceType") == kind), None)
        if value.get("resourceType") != kind:
            self._not_a(value, key, kind)
            return None
        return value

    def _not_a(self, value: Node, key: str, kind: str) -> None:
        if value.get("resourceType") == "OperationOutcome":
            self.notes.add(NoteKind.NOT_OBTAINED, key, "the record answered with an error")
        else:
            self.notes.add(NoteKind.MALFORMED, key, f"is not a {kind}")

    def entries(self, key: str) -> list[tuple[Node, str]] | None:
        """Return the resources under a key of a FHIR search; ``None``: not obtained, in whole or in part."""
        if key not in self.data:
            if key in self.action.expects:
                self.notes.add(NoteKind.NOT_OBTAINED, key, "was neither sent nor readable")
            return None
        value = self.data[key]
        if value is None:
            return []
        if not isinstance(value, dict) or value.get("resourceType") != "Bundle":
            if isinstance(value, dict):
                self._not_a(value, key, "Bundle")
            else:
                self.notes.wrong(key, "object", value)
            return None
        listed = value.get("entry")
        if listed is None:
            return []
        if not isinstance(listed, list):
            self.notes.wrong(f"{key}.entry", "array", listed)
            return None
        found: list[tuple[Node, str]] = []
        for position, entry in enumerate(listed):
            path = f"{key}.entry[{position}].resource"
            resource = entry.get("resource") if isinstance(entry, dict) else None
            if not isinstance(resource, dict):
                self.notes.wrong(path, "object", resource)
                found.append(({}, path))  # something stood here: nothing is known of it
                continue
            kind = resource.get("resourceType")
            if kind == "OperationOutcome":
                continue  # a searchset may carry hints of the server
            if kind == "Medication":
                self.keep(resource, entry)
            found.append((resource, path))
        return found

    def keep(self, resource: Node, entry: Node | None) -> None:
        """Remember a Medication that orders may refer to."""
        own, url = resource.get("id"), entry.get("fullUrl") if entry is not None else None
        if isinstance(own, str):
            self.resources.setdefault(f"Medication/{own}", resource)
        if isinstance(url, str):
            self.resources.setdefault(url, resource)

    def id_of(self, resource: Node, path: str) -> str:
        """Return ``Type/id``, or the path where there is none; a second of the same id gets a mark."""
        kind, own = resource.get("resourceType"), resource.get("id")
        found = f"{kind}/{own}" if isinstance(kind, str) and isinstance(own, str) and own else path
        if found in self.seen:
            found = f"{found}~{len(self.seen)}"
        self.seen.add(found)
        return found

    def incomplete(self, key: str) -> bool:
        """Say whether a search has more pages than were read."""
        value = self.data.get(key)
        links = value.get("link") if isinstance(value, dict) else None
        return isinstance(links, list) and any(
            isinstance(one, dict) and one.get("relation") == "next" for one in links
        )

    def gap(self, key: str, entries: list[tuple[Node, str]] | None) -> bool:
        """Say whether something may be missing under a key, and leave a note where pages are."""
        if entries is None:
            return True
        if self.incomplete(key):
            self.notes.add(NoteKind.NOT_OBTAINED, key, "has more pages than were read")
            return True
        return False

    def read_drafts(self, prescribing: Prescribing) -> None:
        """Map what the user is about to sign, choose, verify or book."""
        notes, chosen = self.notes, self.action.selections
        ids = [(self.id_of(resource, path), resource, path) for resource, path in self.action.drafts]
        if chosen is not None and not chosen & {item_id for item_id, _, _ in ids}:
            notes.add(NoteKind.SCOPE, "context.selections", "names no draft order: all of them are checked")
            chosen = None
        for item_id, resource, path in ids:
            kind = resource.get("resourceType")
            if kind == "Medication":
                continue
            if isinstance(resource.get("id"), str):
                self.removable.add(item_id)
            in_focus = chosen is None or item_id in chosen
            if resource.get("status") in _DEAD_DRAFTS or resource.get("doNotPerform") is True:
                notes.add(NoteKind.SCOPE, path, "is not to be done and was left out")
            elif kind in ("MedicationRequest", "MedicationStatement"):
                medication, components = prescribing.read(
                    resource, item_id, path, in_focus=in_focus, draft=True
                )
                self.medications.append(medication)
                self.components.extend(components)
            elif kind == "ServiceRequest" and is_imaging(resource, notes, path):
                self.imaging.append(read_imaging(resource, item_id, path, self.at, notes, in_focus=in_focus))
            elif kind == "ServiceRequest":
                self.procedures.append(
                    read_procedure(resource, item_id, path, self.at, notes, in_focus=in_focus)
                )
            elif kind == "Appointment":
                zone = self.at.tzinfo
                self.appointments.append(
                    read_appointment(resource, item_id, path, zone, notes, in_focus=in_focus)
                )
            else:
                notes.add(NoteKind.NOT_COVERED, path, f"no check covers a {kind}", str(kind))

    def read_medications(
        self, key: str, listed: list[tuple[Node, str]] | None, dead: tuple[str, ...], prescribing: Prescribing
    ) -> None:
        """Map the orders and statements that are already there; a gap is stood in for by an unknown one."""
        for resource, path in listed or ():
            kind = resource.get("resourceType")
            if kind not in ("MedicationRequest", "MedicationStatement", None):
                continue  # what _include brought along
            if resource.get("status") in dead or resource.get("doNotPerform") is True:
                continue
            own = resource.get("id")
            if isinstance(own, str) and f"{kind}/{own}" in self.seen:
                continue  # the draft is the newer word on it
            item_id = self.id_of(resource, path)
            if kind is None:
                self._unknown(item_id, path)
                continue
            medication, components = prescribing.read(resource, item_id, path, in_focus=False, draft=False)
            self.medications.append(medication)
            self.components.extend(components)
        if self.gap(key, listed):
            self._unknown(f"{key}#?", _UNKNOWN[key])

    def _unknown(self, item_id: str, name: str) -> None:
        medication, component = unknown_medication(item_id, name, in_focus=False)
        self.medications.append(medication)
        self.components.append(component)

    def read_images(self) -> None:
        """Map examinations already made; what was not obtained is stood in for by an unknown one."""
        listed = self.entries("imaging") if "imaging" in self.data else None
        for resource, path in listed or ():
            if resource.get("resourceType") in ("ImagingStudy", None):
                study = read_study(resource, self.id_of(resource, path), path, self.at, self.notes)
                if study is not None:
                    self.imaging.append(study)
        if listed is None:
            self.imaging.append(Imaging(id="imaging#?", in_focus=False))
        # No source of ours tells what was done before, or what else is booked.
        self.procedures.append(Procedure(id="procedures#?", in_focus=False))
        if self.appointments:
            self.appointments.append(Appointment(id="appointments#?", in_focus=False))

    def read_observations(self) -> list[Observation] | None:
        """Return laboratory results and vital signs together."""
        listed = {key: self.entries(key) for key in ("labs", "vitals")}
        if all(entries is None for entries in listed.values()):
            return None
        found: list[Observation] = []
        for key, entries in listed.items():
            if entries is None:
                found.append(Observation(id=f"{key}#?", in_focus=False))
                continue
            for resource, path in entries:
                if resource.get("resourceType") in ("Observation", None):
                    own = self.id_of(resource, path)
                    found.extend(read_observation(resource, own, path, self.at.tzinfo, self.notes))
        return found

    def read_diagnoses(self, encounter: Node | None) -> tuple[Diagnosis, ...] | None:
        """Return the diagnoses, the main one marked where the encounter ranks them."""
        listed = self.entries("conditions")
        if listed is None:
            return None
        main = main_condition(encounter, self.notes, "encounter")
        found: list[Diagnosis] = []
        for resource, path in listed:
            if resource.get("resourceType") in ("Condition", None):
                diagnosis = read_diagnosis(resource, path, main, self.at.tzinfo, self.notes)
                if diagnosis is not None:
                    found.append(diagnosis)
        if self.gap("conditions", listed):
            found.append(Diagnosis(id="conditions#?", in_focus=False))
        return tuple(found)

    def read_allergy_list(self) -> tuple[Allergy, ...] | None:
        """Return the allergies, ``None`` where nothing is stated."""
        listed = self.entries("allergies")
        if listed is None:
            return None
        kept = [
            (one, path) for one, path in listed if one.get("resourceType") in ("AllergyIntolerance", None)
        ]
        found = read_allergies(kept, self.drugs, self.settings, self.notes)
        if found is not None and self.gap("allergies", listed):
            found = (*found, Allergy(id="allergies#?", in_focus=False))
        return found
