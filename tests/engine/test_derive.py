"""What follows from the stated facts follows exactly, and nothing else does."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from engine.derive import complete
from engine.facts import Component, Diagnosis, Facts, Observation, Patient

AT = dt.datetime(2026, 3, 1, 10)


def patient(at: dt.datetime = AT, **stated: Any) -> Patient:
    return complete(Facts(patient=Patient(**stated)), at).patient


@pytest.mark.parametrize(
    ("birth", "on", "years", "months", "days"),
    [
        ((2026, 1, 31), (2026, 2, 28), 0, 0, 28),
        ((2026, 1, 31), (2026, 3, 1), 0, 1, 29),
        ((2000, 2, 29), (2001, 2, 28), 0, 11, 365),
        ((2000, 2, 29), (2001, 3, 1), 1, 12, 366),
        ((2000, 2, 29), (2004, 2, 29), 4, 48, 1461),
        ((2025, 12, 31), (2026, 1, 1), 0, 0, 1),
        ((1980, 3, 1), (2026, 2, 28), 45, 551, 16800),
        ((1980, 3, 1), (2026, 3, 1), 46, 552, 16801),
        ((2026, 3, 1), (2026, 3, 1), 0, 0, 0),
    ],
)
def test_ages_are_completed_years_months_and_days(
    birth: tuple[int, int, int], on: tuple[int, int, int], years: int, months: int, days: int
) -> None:
    found = patient(dt.datetime(*on), birth_date=dt.date(*birth))
    assert (found.age_years, found.age_months, found.age_days) == (years, months, days)


def test_who_is_not_born_yet_has_no_age() -> None:
    assert patient(birth_date=dt.date(2026, 3, 2)).age_days is None


def test_a_stated_age_is_kept() -> None:
    assert patient(birth_date=dt.date(1980, 1, 1), age_years=5.0).age_years == 5


@pytest.mark.parametrize(
    ("sex", "age", "weight", "creatinine", "clearance"),
    [
        # (140 - 60) x 72 / (72 x 1.0 mg/dL), with 1.0 mg/dL = 88.4 umol/L
        ("male", 60.0, 72.0, 88.4, 80.0),
        ("female", 60.0, 72.0, 88.4, 68.0),
        # (140 - 80) x 50 / (72 x 2.0)
        ("male", 80.0, 50.0, 176.8, 20.8333),
        ("female", 40.0, 60.0, 61.88, 101.1905),  # 100 x 60 x 0.85 / (72 x 0.7)
    ],
)
def test_creatinine_clearance_is_cockcroft_and_gaults(
    sex: str, age: float, weight: float, creatinine: float, clearance: float
) -> None:
    found = patient(sex=sex, age_years=age, weight_kg=weight, creatinine_umol_l=creatinine)
    assert found.creatinine_clearance == pytest.approx(clearance, abs=1e-3)


@pytest.mark.parametrize(
    "lacking",
    [
        {"sex": None},
        {"sex": "other"},
        {"age_years": None},
        {"age_years": 17.0},
        {"weight_kg": None},
        {"weight_kg": 0.0},
        {"weight_kg": -3.0},
        {"creatinine_umol_l": 0.0},
        {"creatinine_umol_l": None},
    ],
)
def test_there_is_no_clearance_without_each_fact_it_rests_on(lacking: dict[str, Any]) -> None:
    whole: dict[str, Any] = {
        "sex": "male",
        "age_years": 60.0,
        "weight_kg": 72.0,
        "creatinine_umol_l": 88.4,
    }
    assert patient(**(whole | lacking)).creatinine_clearance is None


def test_surface_is_mostellers() -> None:
    assert patient(weight_kg=80.0, height_cm=180.0).surface_m2 == pytest.approx(2.0)
    assert patient(weight_kg=-80.0, height_cm=180.0).surface_m2 is None
    assert patient(weight_kg=float("nan"), height_cm=180.0).surface_m2 is None
    assert patient(weight_kg=80.0).surface_m2 is None


def test_doses_per_kilogram_need_a_weight() -> None:
    component = Component(id="c", medication="m", single_mg=500.0, daily_mg=2000.0, daily_mg_per_kg=7.0)
    facts = Facts(patient=Patient(weight_kg=50.0), components=(component,))
    [found] = complete(facts, AT).components or ()
    assert (found.single_mg_per_kg, found.daily_mg_per_kg) == (10.0, 7.0)
    assert component.single_mg_per_kg is None, "the stated facts are left as they were"
    [bare] = complete(Facts(components=(component,)), AT).components or ()
    assert bare.single_mg_per_kg is None


def test_a_diagnosis_gets_the_prefixes_of_its_code() -> None:
    [found] = complete(Facts(diagnoses=(Diagnosis(id="d", code="I63.9"),)), AT).diagnoses or ()
    assert found.prefixes == frozenset({"I", "I6", "I63", "I63.9"})
    [bare] = complete(Facts(diagnoses=(Diagnosis(id="d"),)), AT).diagnoses or ()
    assert bare.prefixes is None


def test_an_observation_gets_its_age_in_days() -> None:
    taken = dt.datetime(2026, 2, 27, 22)
    [found] = complete(Facts(observations=(Observation(id="o", taken=taken),)), AT).observations or ()
    assert found.age_days == 1.5


def test_what_is_unknown_or_known_to_be_none_stays_so() -> None:
    completed = complete(Facts(components=(), diagnoses=None), AT)
    assert completed.components == ()
    assert completed.diagnoses is None
