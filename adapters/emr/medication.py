"""Turn a MedicationRequest or MedicationStatement into a medication and one component per ingredient."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from adapters.emr.dose import Dose, combine, dose_of
from adapters.emr.fhir import Node, NoteKind, Notes, Readings, codings, moment, node, nodes, number, text
from adapters.emr.instruction import Instruction, days_of, quantity, read_instruction
from adapters.emr.product import Drugs, Product, Products
from adapters.emr.settings import Settings
from engine.facts import Component, Medication

__all__ = ["Prescribing", "unknown_medication"]


_DOSAGES: Readings[list[Instruction]] = Readings()


class Prescribing:
    """Map orders and statements of one request; holds what they share."""

    def __init__(
        self,
        drugs: Drugs,
        at: dt.datetime,
        settings: Settings,
        notes: Notes,
        weight: float | None,
        resources: Mapping[str, Node],
    ) -> None:
        self._drugs, self._settings, self._notes = drugs, settings, notes
        self._at = at.replace(tzinfo=None)
        self._weight = weight
        self._products = Products(drugs, settings, notes, resources)
        self._zone = at.tzinfo

    def read(
        self, resource: Node, item_id: str, path: str, *, in_focus: bool, draft: bool
    ) -> tuple[Medication, list[Component]]:
        """Return the medication and its components; what cannot be read is unknown in them, and noted."""
        notes, statement = self._notes, resource.get("resourceType") == "MedicationStatement"
        product = self._products.read(resource, path)
        key = "dosage" if statement else "dosageInstruction"
        instructions = _DOSAGES.read(
            resource.get(key),
            notes,
            lambda: self._instructions(resource, key, path),
            self._zone,
            self._settings.unitless_dose_counts_units,
        )
        medication = Medication(
            id=item_id,
            in_focus=in_focus,
            name=product.name,
            code=product.code,
            ingredients=None if product.drug is None else product.drug.ingredients,
            agents=None if product.drug is None else product.drug.agents,
            form=product.form,
            prescription=self._prescription(resource, path),
            discharge=self._discharge(resource, path),
        )
        self._rhythm(medication, instructions)
        self._period(medication, resource, instructions, path, draft=draft)
        if product.drug is None:
            said = product.name or product.code
            notes.add(
                NoteKind.UNRESOLVED,
                path,
                "drug is not in the dictionary" if said else "names no drug",
                said or "",
            )
        return medication, self._components(medication, product, instructions, path)

    def _instructions(self, resource: Node, key: str, path: str) -> list[Instruction]:
        notes, where = self._notes, f"{path}.{key}"
        instructions = [
            read_instruction(
                line, self._zone, notes, f"{where}[{position}]",
                unitless_is_count=self._settings.unitless_dose_counts_units,
            )
            for position, line in enumerate(nodes(resource, key, notes, path))
        ]  # fmt: skip
        _phases(instructions, notes, where)
        return instructions

    def _components(
        self, medication: Medication, product: Product, instructions: list[Instruction], path: str
    ) -> list[Component]:
        drug = product.drug
        ingredients: list[str | None] = [*sorted(drug.ingredients)] if drug is not None else []
        if not ingredients:
            ingredients = [None]
        alone = drug is not None and len(ingredients) == 1
        found: list[Component] = []
        for ingredient in ingredients:
            strength = None if ingredient is None else self._products.strength(ingredient, product, alone)
            dose = combine(
                [(line.sequence, dose_of(line, strength, alone, self._weight)) for line in instructions]
            )
            agents = None
            if ingredient is not None and drug is not None:
                part = drug if alone else self._drugs.resolve((), ingredient)
                agents = part.agents if part is not None else frozenset({ingredient})
            found.append(self._component(medication, ingredient, agents, dose))
        if (
            instructions
            and drug is not None
            and all(one.daily_mg is None and one.daily_iu is None for one in found)
        ):
            self._notes.add(NoteKind.DOSE, path, "daily dose is not known", medication.name or "")
        return found

    @staticmethod
    def _component(
        medication: Medication, ingredient: str | None, agents: frozenset[str] | None, dose: Dose
    ) -> Component:
        return Component(
            id=f"{medication.id}#{ingredient or '?'}",
            in_focus=medication.in_focus,
            medication=medication.id,
            name=medication.name,
            ingredient=ingredient,
            agents=agents,
            route=medication.route,
            single_mg=dose.single_mg,
            daily_mg=dose.daily_mg,
            single_mg_low=dose.single_mg_low,
            daily_mg_low=dose.daily_mg_low,
            single_iu=dose.single_iu,
            daily_iu=dose.daily_iu,
            times_per_day=medication.times_per_day,
            as_needed=medication.as_needed,
            course_days=medication.course_days,
            start=medication.start,
            end=medication.end,
        )

    @staticmethod
    def _rhythm(medication: Medication, instructions: list[Instruction]) -> None:
        routes = {line.route for line in instructions if line.route is not None}
        if len(routes) == 1:
            medication.route = routes.pop()
        needed = [line.as_needed for line in instructions if line.as_needed is not None]
        if needed:
            medication.as_needed = any(needed)
        phases: dict[int | None, float | None] = {}
        for line in instructions:
            times = None if line.rhythm is None else line.rhythm.high
            before = phases.get(line.sequence, 0.0)
            phases[line.sequence] = None if times is None or before is None else before + times
        known = [times for times in phases.values() if times is not None]
        if known and len(known) == len(phases):
            medication.times_per_day = max(known)

    def _period(
        self,
        medication: Medication,
        resource: Node,
        instructions: list[Instruction],
        path: str,
        *,
        draft: bool,
    ) -> None:
        """Fill in start, end, course and quantity. An inferred end in the past ends no active order."""
        notes, zone = self._notes, self._zone
        starts = [line.start for line in instructions if line.start is not None]
        start = min(starts) if starts else None
        end: dt.datetime | None = None
        effective = node(resource, "effectivePeriod", notes, path)
        if effective is not None:
            start = start or moment(effective, "start", zone, notes, f"{path}.effectivePeriod")
            end = moment(effective, "end", zone, notes, f"{path}.effectivePeriod")
        for key in ("effectiveDateTime", "authoredOn"):
            start = start or moment(resource, key, zone, notes, path)
        if start is None and draft:
            start = self._at
        courses = [line.course_days for line in instructions]
        stated = [course for course in courses if course is not None]
        sequences = {line.sequence for line in instructions}
        course = None
        if stated and len(stated) == len(courses):
            course = sum(stated) if len(sequences) > 1 else max(stated)
        dispense = node(resource, "dispenseRequest", notes, path)
        supply: float | None = None
        if dispense is not None:
            where = f"{path}.dispenseRequest"
            amount = node(dispense, "quantity", notes, where)
            pieces: float | None = None
            if amount is not None:
                medication.quantity = number(amount, "value", notes, f"{where}.quantity")
                pieces = _days_of_supply(amount, instructions, notes, f"{where}.quantity")
            span = node(dispense, "expectedSupplyDuration", notes, where)
            supply = days_of(span, notes, where) if span is not None else pieces
        if course is None and len(instructions) == 1:
            line = instructions[0]
            if line.rhythm is not None and line.rhythm.once:
                course = 1.0
            elif line.count is not None and line.rhythm is not None and line.rhythm.high:
                course = line.count / line.rhythm.high
        medication.course_days = course if course is not None else supply
        ends = [line.end for line in instructions if line.end is not None]
        if end is None and ends and len(ends) == len(instructions):
            end = max(ends)
        if end is None and start is not None and medication.course_days is not None:
            try:
                inferred = start + dt.timedelta(days=medication.course_days)
            except OverflowError:
                inferred = None
            if inferred is not None and (draft or inferred > self._at):
                end = inferred
        medication.start, medication.end = start, end

    def _prescription(self, resource: Node, path: str) -> str | None:
        group = node(resource, "groupIdentifier", self._notes, path)
        return None if group is None else text(group, "value", self._notes, path)

    def _discharge(self, resource: Node, path: str) -> bool | None:
        category = resource.get("category")
        if category is None:
            return None
        said = nodes(resource, "category", self._notes, path) if isinstance(category, list) else []
        codes = {code for one in said for _, code, _ in codings(one, self._notes, f"{path}.category")}
        return True if "discharge" in codes else False if codes else None


def _phases(instructions: list[Instruction], notes: Notes, path: str) -> None:
    """Let instructions of different sequence follow each other only if all but the last of them end.

    Some systems number lines that run side by side; taking the largest of those would hide part of the dose.
    """
    sequences = sorted({line.sequence for line in instructions if line.sequence is not None})
    if len(sequences) < 2:
        return
    bounded = all(
        line.course_days is not None or line.end is not None or line.count is not None
        for line in instructions
        if line.sequence is not None and line.sequence != sequences[-1]
    )
    if bounded:
        notes.add(NoteKind.SCOPE, path, "several phases: the largest daily dose is checked")
        return
    notes.add(NoteKind.SCOPE, path, "numbered instructions without an end are added up")
    for line in instructions:
        line.sequence = None


def _days_of_supply(amount: Node, instructions: list[Instruction], notes: Notes, path: str) -> float | None:
    """Return quantity / units a day, where both are counted alike."""
    value, unit, _ = quantity(amount, notes, path)
    if value is None or unit is None or len(instructions) != 1:
        return None
    line = instructions[0]
    if line.unit is None or line.high is None or line.rhythm is None or not line.rhythm.high:
        return None
    if (unit.kind, unit.piece, unit.per_kg) != (line.unit.kind, line.unit.piece, line.unit.per_kg):
        return None
    daily = line.high * line.unit.factor * line.rhythm.high
    return value * unit.factor / daily if daily > 0 else None


def unknown_medication(item_id: str, name: str, *, in_focus: bool) -> tuple[Medication, Component]:
    """Return a medication of which nothing is known, so that rules over it answer *not checked*."""
    return (
        Medication(id=item_id, in_focus=in_focus, name=name),
        Component(id=f"{item_id}#?", in_focus=in_focus, medication=item_id, name=name),
    )
