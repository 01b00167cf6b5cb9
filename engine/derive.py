"""Fill in what follows from the stated facts: ages on the day, surface, clearance, doses per kilogram.

Nothing here invents: a value follows only when every fact it rests on is known, and a stated value is kept.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from typing import TypeGuard

import msgspec

from engine.facts import Component, Diagnosis, Facts, Observation, Patient
from engine.operators._operator import instant

__all__ = ["DERIVED", "complete"]

DERIVED = frozenset({"single_mg_per_kg", "daily_mg_per_kg", "prefixes", "age_days"})
"""The derived facts of items: they are worked out for each, so only where a rule reads them."""

_ADULT_YEARS = 18
_UMOL_PER_MG_DL = 88.4
_DAY = dt.timedelta(days=1)


def complete(facts: Facts, at: dt.datetime, wanted: frozenset[str] = DERIVED) -> Facts:
    """Return the facts with derived ones filled in, as of the moment of the decision.

    ``wanted`` names the derived facts of items that somebody reads; those of the patient always follow.
    """
    patient = _patient(facts.patient, at.date())
    components, diagnoses, observations = facts.components, facts.diagnoses, facts.observations
    per_kg = "single_mg_per_kg" in wanted or "daily_mg_per_kg" in wanted
    if per_kg and components and patient.weight_kg is not None and patient.weight_kg > 0:
        weight = patient.weight_kg
        components = tuple([_per_kg(component, weight) for component in components])
    if diagnoses and "prefixes" in wanted:
        diagnoses = tuple([_prefixed(diagnosis) for diagnosis in diagnoses])
    if observations and "age_days" in wanted:
        moment = at.replace(tzinfo=None)
        observations = tuple([_aged(observation, moment) for observation in observations])
    return Facts(
        patient=patient,
        visit=facts.visit,
        diagnoses=diagnoses,
        allergies=facts.allergies,
        medications=facts.medications,
        components=components,
        charges=facts.charges,
        procedures=facts.procedures,
        observations=observations,
        imaging=facts.imaging,
        appointments=facts.appointments,
        past_charges=facts.past_charges,
        past_visits=facts.past_visits,
    )


def _patient(stated: Patient, on: dt.date) -> Patient:
    patient = msgspec.structs.replace(stated)
    if (birth := patient.birth_date) is not None and birth <= on:
        months = (on.year - birth.year) * 12 + on.month - birth.month - (on.day < birth.day)
        patient.age_days = float((on - birth).days) if patient.age_days is None else patient.age_days
        patient.age_months = float(months) if patient.age_months is None else patient.age_months
        patient.age_years = float(months // 12) if patient.age_years is None else patient.age_years
    weight, height = patient.weight_kg, patient.height_cm
    if patient.surface_m2 is None and _positive(weight) and _positive(height):
        patient.surface_m2 = math.sqrt(weight * height / 3600)  # Mosteller
    if patient.creatinine_clearance is None:
        patient.creatinine_clearance = _cockcroft_gault(patient)
    return patient


def _cockcroft_gault(patient: Patient) -> float | None:
    age, weight, creatinine = patient.age_years, patient.weight_kg, patient.creatinine_umol_l
    if age is None or age < _ADULT_YEARS or patient.sex not in ("male", "female"):
        return None
    if not _positive(weight) or not _positive(creatinine):
        return None
    factor = 0.85 if patient.sex == "female" else 1.0
    return (140 - age) * weight * factor / (72 * creatinine / _UMOL_PER_MG_DL)


def _positive(value: float | None) -> TypeGuard[float]:
    """Say whether a measured value can be one: nothing follows from a weight of zero."""
    return value is not None and value > 0


def _per_kg(component: Component, weight: float) -> Component:
    single, daily = component.single_mg, component.daily_mg
    if (single is None or component.single_mg_per_kg is not None) and (
        daily is None or component.daily_mg_per_kg is not None
    ):
        return component
    filled = msgspec.structs.replace(component)
    if single is not None and filled.single_mg_per_kg is None:
        filled.single_mg_per_kg = single / weight
    if daily is not None and filled.daily_mg_per_kg is None:
        filled.daily_mg_per_kg = daily / weight
    return filled


def _prefixed(diagnosis: Diagnosis) -> Diagnosis:
    code = diagnosis.code
    if code is None or diagnosis.prefixes is not None:
        return diagnosis
    filled = msgspec.structs.replace(diagnosis)
    filled.prefixes = _prefixes(code)
    return filled


@functools.lru_cache(maxsize=4096)
def _prefixes(code: str) -> frozenset[str]:
    return frozenset(code[:length] for length in range(1, len(code) + 1) if code[length - 1] != ".")


def _aged(observation: Observation, at: dt.datetime) -> Observation:
    if observation.taken is None or observation.age_days is not None:
        return observation
    filled = msgspec.structs.replace(observation)
    filled.age_days = (at - instant(observation.taken)) / _DAY
    return filled
