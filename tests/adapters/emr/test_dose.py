"""Daily doses come out of dose x frequency x specification, and are unknown where anything is."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from adapters.emr.action import Mapped
from engine.facts import Component

Json = dict[str, object]
Build = Callable[..., Json]
Map = Callable[..., Mapped]

TIMES = {
    "qd": 1,
    "qn": 1,
    "bid": 2,
    "tid": 3,
    "qid": 4,
    "q12h": 2,
    "q8h": 3,
    "q6h": 4,
    "q5h": 5,
    "q4h": 6,
    "q3h": 8,
    "q2h": 12,
    "qh": 24,
    "q1/2h": 48,
    "qod": 1 / 2,
    "q3d": 1 / 3,
    "qw": 1 / 7,
    "biw": 2 / 7,
    "tiw": 3 / 7,
    "qow": 1 / 14,
    "2W": 1 / 14,
    "3W": 1 / 21,
    "4W": 1 / 28,
    "st": 1,
    "每日三次": 3,
    "每8小时": 3,
    "隔日": 1 / 2,
}
DOSES = {
    (0.2, "g"): 200,
    (400, "mg"): 400,
    (500, "μg"): 0.5,
    (500, "ug"): 0.5,
    (2, "片"): 400,
    (1, "tablet"): 200,
    (0.5, "{tbl}"): 100,
    (2, "粒"): 400,
    (1, "毫克"): 1,
}
SPECS = ("布洛芬片 0.2g×20片/盒", "布洛芬片 200mg", "Ibuprofen 200 MG Oral Tablet")


def only(mapped: Mapped) -> Component:
    (found,) = [one for one in mapped.facts.components or () if one.in_focus]
    return found


@pytest.mark.parametrize(("often", "dose", "spec"), list(product(TIMES, DOSES, SPECS)))
def test_every_frequency_dose_and_specification_gives_the_daily_dose(
    often: str, dose: tuple[float, str], spec: str, map_drafts: Map, order: Build, dosage: Build
) -> None:
    found = only(map_drafts(order(spec, dosage(*dose, often))))
    assert found.single_mg == pytest.approx(DOSES[dose])
    assert found.daily_mg == pytest.approx(DOSES[dose] * TIMES[often])
    assert found.times_per_day == pytest.approx(TIMES[often])
    assert found.daily_iu is None


@pytest.mark.parametrize(
    ("repeat", "times"),
    [
        ({"frequency": 2, "period": 1, "periodUnit": "d"}, 2),
        ({"frequency": 1, "period": 8, "periodUnit": "h"}, 3),
        ({"frequency": 1, "period": 2, "periodUnit": "d"}, 0.5),
        ({"frequency": 1, "period": 1, "periodUnit": "wk"}, 1 / 7),
        ({"frequency": 1, "period": 90, "periodUnit": "min"}, 16),
        ({"period": 1, "periodUnit": "d"}, 1),
        ({"timeOfDay": ["08:00:00", "12:00:00", "18:00:00"]}, 3),
        ({"when": ["ACM", "HS"]}, 2),
        ({"frequency": 1, "period": 1, "periodUnit": "d", "dayOfWeek": ["mon", "wed", "fri"]}, 3 / 7),
        ({"dayOfWeek": ["mon"]}, 1 / 7),
        ({"count": 1}, 1),
    ],
)
def test_timing_repeat_gives_times_a_day(
    repeat: Json, times: float, map_drafts: Map, order: Build, dosage: Build
) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(200, "mg", repeat))))
    assert found.times_per_day == pytest.approx(times)
    assert found.daily_mg == pytest.approx(200 * times)


@pytest.mark.parametrize(
    "repeat",
    [
        {},
        {"frequency": 2},
        {"frequency": 1, "period": 0, "periodUnit": "d"},
        {"frequency": 1, "period": 1, "periodUnit": "moon"},
        {"frequency": "x", "period": 1, "periodUnit": "d", "timeOfDay": 7},
        {"frequency": 3, "frequencyMax": 2, "period": 1, "periodUnit": "d"},
    ],
)
def test_a_timing_that_says_too_little_leaves_the_daily_dose_unknown(
    repeat: Json, map_drafts: Map, order: Build, dosage: Build
) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(200, "mg", repeat))))
    assert found.single_mg == 200
    if repeat.get("frequency") != "x":
        assert found.daily_mg is None


def test_a_range_gives_the_high_for_maxima_and_the_low_for_minima(map_drafts: Map, order: Build) -> None:
    span = {"low": {"value": 200, "unit": "mg"}, "high": {"value": 0.4, "unit": "g"}}
    repeat = {"frequency": 2, "frequencyMax": 3, "period": 1, "periodUnit": "d"}
    line = {"timing": {"repeat": repeat}, "doseAndRate": [{"doseRange": span}]}
    found = only(map_drafts(order("布洛芬片 0.2g", line)))
    assert [found.single_mg_low, found.single_mg] == pytest.approx([200, 400])
    assert [found.daily_mg_low, found.daily_mg] == pytest.approx([400, 1200])


def test_as_needed_takes_the_stated_ceiling_of_a_period(map_drafts: Map, order: Build, dosage: Build) -> None:
    most = {"numerator": {"value": 1.2, "unit": "g"}, "denominator": {"value": 24, "unit": "h"}}
    line = dosage(400, "mg", "q4h", asNeededBoolean=True, maxDosePerPeriod=most)
    found = only(map_drafts(order("布洛芬片 0.2g", line)))
    assert found.as_needed is True
    assert found.daily_mg == pytest.approx(1200)
    assert found.daily_mg_low is None


def test_as_needed_without_a_ceiling_takes_the_frequency_as_one(
    map_drafts: Map, order: Build, dosage: Build
) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(400, "mg", "q6h prn"))))
    assert (found.as_needed, found.daily_mg) == (True, 1600)


def test_as_needed_alone_leaves_the_daily_dose_unknown(map_drafts: Map, order: Build, dosage: Build) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(400, "mg", "prn"))))
    assert (found.single_mg, found.daily_mg, found.as_needed) == (400, None, True)


def test_a_taper_is_judged_by_its_largest_phase(map_drafts: Map, order: Build, dosage: Build) -> None:
    bounds = {"boundsDuration": {"value": 3, "unit": "d"}}
    first = {"frequency": 1, "period": 1, "periodUnit": "d", **bounds}
    mapped = map_drafts(
        order("泼尼松片 5mg", dosage(8, "片", first, sequence=1), dosage(4, "片", first, sequence=2))
    )
    found = only(mapped)
    assert (found.daily_mg, found.daily_mg_low, found.course_days) == (40, 20, 6)


def test_instructions_of_one_sequence_add_up(map_drafts: Map, order: Build, dosage: Build) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(400, "mg", "qd"), dosage(200, "mg", "qn"))))
    assert (found.single_mg, found.daily_mg, found.times_per_day) == (400, 600, 2)


def test_numbered_instructions_without_an_end_are_not_taken_for_phases(
    map_drafts: Map, order: Build, dosage: Build
) -> None:
    lines = (dosage(400, "mg", "qd", sequence=1), dosage(200, "mg", "qn", sequence=2))
    assert only(map_drafts(order("布洛芬片 0.2g", *lines))).daily_mg == 600


def test_a_sum_with_an_unknown_part_is_unknown(map_drafts: Map, order: Build, dosage: Build) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g", dosage(400, "mg", "qd"), dosage(None, "mg", "qn"))))
    assert found.daily_mg is None


@pytest.mark.parametrize(
    ("rate", "single", "daily"),
    [
        ({"rateQuantity": {"value": 10, "unit": "mg/h"}}, 20, 40),
        (
            {
                "rateRatio": {
                    "numerator": {"value": 10, "unit": "mL"},
                    "denominator": {"value": 1, "unit": "h"},
                }
            },
            200,
            400,
        ),
        ({"rateQuantity": {"value": 5, "unit": "ug/kg/min"}}, 5e-3 * 50 * 120, 5e-3 * 50 * 240),
    ],
)
def test_a_rate_times_its_duration_is_a_dose(
    rate: Json, single: float, daily: float, map_drafts: Map, order: Build, bundle: Build
) -> None:
    repeat = {"frequency": 2, "period": 1, "periodUnit": "d", "duration": 2, "durationUnit": "h"}
    line = {"timing": {"repeat": repeat}, "doseAndRate": [rate]}
    found = only(map_drafts(order("多巴胺注射液 10mg/ml", line), vitals=bundle(weight(50))))
    assert found.single_mg == pytest.approx(single)
    assert found.daily_mg == pytest.approx(daily)


def test_a_rate_without_an_end_runs_all_day(map_drafts: Map, order: Build) -> None:
    line = {"doseAndRate": [{"rateQuantity": {"value": 10, "unit": "mg/h"}}]}
    found = only(map_drafts(order("多巴胺注射液", line)))
    assert (found.single_mg, found.daily_mg) == (None, 240)


def test_units_of_activity_are_never_milligrams(map_drafts: Map, order: Build, dosage: Build) -> None:
    found = only(map_drafts(order("青霉素 80万单位/支", dosage(2, "支", "tid"))))
    assert (found.single_iu, found.daily_iu, found.daily_mg) == (1_600_000, 4_800_000, None)
    found = only(map_drafts(order("胰岛素注射液", dosage(8, "[iU]", "tid"))))
    assert (found.single_iu, found.daily_iu, found.daily_mg) == (8, 24, None)


def test_each_ingredient_of_a_product_has_its_own_dose(map_drafts: Map, order: Build, dosage: Build) -> None:
    name = "Acetaminophen 325 MG / Hydrocodone Bitartrate 5 MG Oral Tablet"
    mapped = map_drafts(order(name, dosage(2, "tablet", "q6h")))
    doses = {one.ingredient: one.daily_mg for one in mapped.facts.components or ()}
    assert doses == {"paracetamol": 2600, "hydrocodone": 40}


def test_the_mass_of_a_product_of_two_belongs_to_neither(
    map_drafts: Map, order: Build, dosage: Build
) -> None:
    mapped = map_drafts(order("Acetaminophen 325 MG / Hydrocodone 5 MG", dosage(330, "mg", "tid")))
    assert [one.daily_mg for one in mapped.facts.components or ()] == [None, None]


@pytest.mark.parametrize(
    ("value", "unit"),
    [(1, None), (5, "mmol"), (20, "滴"), (1, "盒"), (-1, "mg"), ("x", "mg"), (None, "mg"), (True, "mg")],
)
def test_an_unknown_unit_or_value_leaves_the_dose_unknown(
    value: object, unit: object, map_drafts: Map, order: Build, dosage: Build
) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g×20片", dosage(value, unit, "tid"))))
    assert (found.single_mg, found.daily_mg, found.single_iu) == (None, None, None)


def test_a_unit_and_a_code_that_disagree_leave_the_dose_unknown(map_drafts: Map, order: Build) -> None:
    dose = {"value": 1, "unit": "g", "system": "http://unitsofmeasure.org", "code": "mg"}
    line = {"timing": {"code": {"text": "tid"}}, "doseAndRate": [{"doseQuantity": dose}]}
    assert only(map_drafts(order("布洛芬片 0.2g", line))).single_mg is None


@pytest.mark.parametrize(
    ("words", "single", "daily", "route"),
    [
        ("每次2片，每日3次，口服", 400, 1200, "oral"),
        ("0.2g 口服 tid", 200, 600, "oral"),
        ("每次1-2片 一日2次", 400, 800, None),
        ("每日最大剂量1.2g", None, None, None),
        ("首次2片，以后每次1片，每日3次", None, None, None),
    ],
)
def test_words_alone_are_read_where_they_are_clear(
    words: str, single: float | None, daily: float | None, route: str | None, map_drafts: Map, order: Build
) -> None:
    found = only(map_drafts(order("布洛芬片 0.2g×20片", {"text": words})))
    assert (found.single_mg, found.daily_mg, found.route) == (single, daily, route)


def test_the_strength_of_the_code_list_serves_where_the_name_has_none(
    map_drafts: Map, order: Build, dosage: Build
) -> None:
    coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "5640"}
    draft = order(None, dosage(2, "片", "tid"), medicationCodeableConcept={"coding": [coding]})
    assert only(map_drafts(draft)).daily_mg == 1200


def weight(kilograms: float) -> Json:
    return {
        "resourceType": "Observation",
        "id": "w",
        "status": "final",
        "effectiveDateTime": "2026-02-28T08:00:00+08:00",
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "valueQuantity": {"value": kilograms, "unit": "kg"},
    }


def test_a_dose_per_kilogram_needs_the_weight(
    map_drafts: Map, order: Build, dosage: Build, bundle: Build
) -> None:
    draft = order("布洛芬片", dosage(10, "mg/kg", "tid"))
    assert only(map_drafts(draft)).daily_mg is None
    assert only(map_drafts(draft, vitals=bundle(weight(20)))).daily_mg == pytest.approx(600)
