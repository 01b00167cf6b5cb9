"""Generate knowledge of hospital size for the shipped rules, and visits that meet it.

The generated rows extend the shipped tables: each copies the words of a shipped row and carries keys of its
own, so the shipped rules join them. Pairs and doses are about generated ingredients; two orders of ten are
of shipped drugs, so that the rules about classes have their say.

Visits come in two mixes. *Crowded* draws drugs, doses and codes evenly, so that a quarter of all pairs of
drugs interact, many doses are too high and each charge has a point of the insurer. *Usual* is what
order sets give: prescribers seldom join what interacts or pass a limit, and most codes have no point. On
public synthetic patients (Synthea) the shipped rules interrupt about 6 of 100 orders; *usual* stays above
that, at one to three findings a visit of ten orders.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from engine.facts import (
    Allergy,
    Charge,
    Component,
    Diagnosis,
    Facts,
    Medication,
    Observation,
    PastVisit,
    Patient,
    Visit,
)
from engine.snapshot import Snapshot

__all__ = ["AT", "CROWDED", "USUAL", "Mix", "Sizes", "extend", "make_visits"]

AT = dt.datetime(2026, 12, 1, 10)
_TODAY = AT.date()
_ORDERS = 10
_ROUTES = ("oral", "iv", "im", "sc", "inhaled")
_POPULATIONS = ("adult", "child", "elderly")
_POINTS = (
    "insurance_drug_sex",
    "insurance_drug_cover",
    "insurance_drug_course",
    "insurance_drug_level",
    "insurance_drug_visit",
    "insurance_service_sex",
    "insurance_service_frequency",
    "insurance_service_course",
)


class Sizes(msgspec.Struct, frozen=True):
    """How many rows to generate, over how many generated ingredients."""

    pairs: int
    doses: int
    points: int
    ingredients: int


class Mix(msgspec.Struct, frozen=True):
    """How visits are drawn: shares kept of what interacts and of doses drawn evenly, charges with a point.

    ``kinds`` is how many drugs stand on one prescription.
    """

    interacting: float
    any_dose: float
    points: int
    kinds: int


CROWDED = Mix(interacting=1.0, any_dose=1.0, points=10, kinds=10)
USUAL = Mix(interacting=0.02, any_dose=0.1, points=3, kinds=5)
_SMALL_DOSE_MG = 0.5


def _ingredient(number: int) -> str:
    return f"generated_{number:05d}"


def _point(number: int) -> str:
    return f"XG{number:05d}"


def extend(files: dict[str, bytes], sizes: Sizes, seed: int = 3) -> dict[str, bytes]:
    """Return the canonical files of the shipped rules with generated rows behind those of their tables."""
    rng = random.Random(seed)
    names = [_ingredient(number) for number in range(sizes.ingredients)]
    pairs: set[tuple[str, str]] = set()
    while len(pairs) < sizes.pairs:
        a, b = rng.sample(names, 2)
        pairs.add((a, b) if a < b else (b, a))
    doses = [(name, route, group) for name in names for route in _ROUTES for group in _POPULATIONS]
    doses = rng.sample(doses, sizes.doses)
    keys: dict[str, list[dict[str, str]]] = {
        "interaction_pairs": [{"a": a, "b": b} for a, b in sorted(pairs)],
        "dose_limits": [dict(zip(("ingredient", "route", "population"), key, strict=True)) for key in doses],
        "drug_ingredients": [
            {"ingredient": name, "zh": f"成分{name[-5:]}", "en": f"Ingredient {name[-5:]}", "classes": ""}
            for name in names
        ],
    }
    for number in range(sizes.points):
        keys.setdefault(_POINTS[number % len(_POINTS)], []).append({"code": _point(number)})
    extended = dict(files)
    for table, own in keys.items():
        path = f"knowledge/{table}.csv"
        extended[path] = _longer(files[path], own, rng)
    return extended


def _longer(content: bytes, own: Iterable[dict[str, str]], rng: random.Random) -> bytes:
    shipped = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(shipped[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(shipped)
    writer.writerows({**rng.choice(shipped), **key} for key in own)
    return text.getvalue().encode("utf-8")


def make_visits(
    snapshot: Snapshot, sizes: Sizes, count: int, mix: Mix = CROWDED, seed: int = 4
) -> list[Facts]:
    """Return visits of ten orders each, with what the rules ask for known."""
    rng = random.Random(seed)
    shipped = sorted(
        str(row["ingredient"])
        for row in snapshot.tables["drug_ingredients"].records()
        if not str(row["ingredient"]).startswith("generated_")
    )
    table = snapshot.tables["interaction_pairs"]
    a, b = table.position["a"], table.position["b"]
    pairs = {(row[a], row[b]) for row in table.rows}
    return [_visit(rng, snapshot, sizes, shipped, pairs, mix) for _ in range(count)]


def _ingredients(
    rng: random.Random, sizes: Sizes, shipped: Sequence[str], pairs: set[tuple[Any, Any]], mix: Mix
) -> list[str]:
    chosen = rng.sample(shipped, 2)
    while len(chosen) < _ORDERS:
        name = _ingredient(rng.randrange(sizes.ingredients))
        meets = any((name, other) in pairs or (other, name) in pairs for other in chosen)
        if name not in chosen and not (meets and rng.random() >= mix.interacting):
            chosen.append(name)
    return chosen


def _visit(
    rng: random.Random,
    snapshot: Snapshot,
    sizes: Sizes,
    shipped: Sequence[str],
    pairs: set[tuple[Any, Any]],
    mix: Mix,
) -> Facts:
    start = dt.datetime(2026, 11, 28, 9)
    chosen = _ingredients(rng, sizes, shipped, pairs, mix)
    orders = [_order(rng, snapshot, name, f"m{i}", mix) for i, name in enumerate(chosen)]
    codes = [_point(number) for number in rng.sample(range(sizes.points), mix.points)]
    codes += [f"XN{number:05d}" for number in rng.sample(range(100_000), _ORDERS - mix.points)]
    charges = [_charge(rng, code, f"c{i}", f"药品{i}", f"r{i // mix.kinds}") for i, code in enumerate(codes)]
    past = [
        msgspec.structs.replace(
            charge, id=f"p{charge.id}", day=_TODAY - dt.timedelta(days=30), in_focus=False
        )
        for charge in charges[:5]
    ]
    kind: Any = rng.choice(("outpatient", "inpatient"))
    diagnoses = [
        f"{rng.choice('ABDEFGHJKLMN')}{rng.randrange(100):02d}.{rng.randrange(10)}" for _ in range(5)
    ]
    taken = AT - dt.timedelta(days=1)
    return Facts(
        patient=Patient(
            id="p",
            sex=rng.choice(("male", "female")),
            birth_date=dt.date(rng.randint(1935, 2005), 5, 1),
            weight_kg=float(rng.randint(45, 95)),
            height_cm=float(rng.randint(150, 190)),
            creatinine_umol_l=float(rng.randint(50, 130)),
            egfr=float(rng.randint(40, 110)),
            pregnancy="neither",
        ),
        visit=Visit(
            id="v",
            kind=kind,
            start=start,
            end=AT + dt.timedelta(days=1),
            department="01",
            discharge_department="01",
            hospital="H1",
            hospital_level=float(rng.choice((2, 3))),
            region="310101",
            insured_region="310101",
            insurance=rng.choice(("employee", "resident")),
            main_diagnosis=diagnoses[0],
            total_amount=sum((charge.amount or Decimal(0) for charge in charges), Decimal(0)),
        ),
        diagnoses=tuple(
            Diagnosis(id=f"d{i}", code=code, name="诊断", main=i == 0, active=True)
            for i, code in enumerate(diagnoses)
        ),
        allergies=(
            Allergy(
                id="a0",
                name="青霉素",
                agents=snapshot.drugs.allergen((), "青霉素") or frozenset({"penicillin"}),
                severity="severe",
                confirmed=True,
            ),
        ),
        medications=tuple(medication for medication, _ in orders),
        components=tuple(component for _, component in orders),
        charges=tuple(charges),
        procedures=(),
        observations=tuple(
            Observation(id=f"o{i}", code=code, value=value, unit=unit, taken=taken)
            for i, (code, value, unit) in enumerate(
                (("2823-3", 4.1, "mmol/L"), ("6301-6", 1.2, "1"), ("2160-0", 80.0, "umol/L"))
            )
        ),
        imaging=(),
        appointments=(),
        past_charges=tuple(past),
        past_visits=(
            PastVisit(
                id="pv",
                kind="outpatient",
                start=AT - dt.timedelta(days=90),
                end=AT - dt.timedelta(days=90),
                hospital="H1",
                main_diagnosis=diagnoses[1],
            ),
        ),
    )


def _order(
    rng: random.Random, snapshot: Snapshot, ingredient: str, id_: str, mix: Mix
) -> tuple[Medication, Component]:
    agents = snapshot.drugs.agents_of([ingredient])
    route = "oral" if rng.random() < 0.7 else rng.choice(_ROUTES)
    times, days = float(rng.randint(1, 3)), float(rng.randint(3, 7))
    single = float(rng.choice((5, 10, 25, 50, 100, 250)))
    if rng.random() >= mix.any_dose:
        single = _SMALL_DOSE_MG
    begun = AT - dt.timedelta(hours=1)
    medication = Medication(
        id=id_,
        name=f"药品{ingredient}",
        code=f"local|{ingredient}",
        ingredients=frozenset({ingredient}),
        agents=agents,
        route=route,
        form="tablet",
        times_per_day=times,
        as_needed=False,
        course_days=days,
        quantity=times * days,
        start=begun,
        end=AT + dt.timedelta(days=days),
        prescription="r1",
        prescriber_grade=3.0,
        discharge=False,
    )
    component = Component(
        id=f"{id_}.c",
        medication=id_,
        name=medication.name,
        ingredient=ingredient,
        agents=agents,
        route=route,
        single_mg=single,
        daily_mg=single * times,
        single_mg_low=single,
        daily_mg_low=single * times,
        times_per_day=times,
        as_needed=False,
        course_days=days,
        start=begun,
        end=medication.end,
    )
    return medication, component


def _charge(rng: random.Random, code: str, id_: str, name: str, prescription: str) -> Charge:
    price = Decimal(rng.randint(100, 9999)) / 100
    quantity = rng.randint(1, 3)
    amount = price * quantity
    return Charge(
        id=id_,
        code=code,
        name=name,
        kind="drug",
        quantity=float(quantity),
        price=price,
        amount=amount,
        fund_amount=amount,
        day=_TODAY,
        start=AT,
        end=AT,
        department="01",
        prescription=prescription,
        prescriber_grade=3.0,
        discharge=False,
    )
