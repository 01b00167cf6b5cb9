"""Generate the rules and visits of the engine benchmark in a neutral form, and judge them naively.

Rules: 94 % ask for one item code (uniform from ``min(2000, max(50, n))``), 5 % for one of 14 charge
categories together with a diagnosis that the patient must have, 1 % have no top-level equality (they begin
with a rare bound instead, so that a visit does not drown in what they say). Each has 1 to 4 further
conditions, 35 % of them an OR of two, over age, sex, quantity, dose, days, department, insurance, route and
diagnoses. Texts are Chinese. A visit is a patient with 5 diagnoses and 10 lines. Nothing is unknown and no
rule looks across lines.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

__all__ = ["CATEGORIES", "Atom", "RuleSpec", "VisitSpec", "make_rules", "make_visits", "naive"]

CATEGORIES = (
    *("床位费", "诊察费", "检查费", "化验费", "治疗费", "手术费", "护理费"),
    *("卫生材料费", "西药费", "中药饮片费", "中成药费", "一般诊疗费", "挂号费", "其他费"),
)
_DEPARTMENTS = ("内科", "外科", "儿科", "妇产科", "骨科", "眼科", "急诊科", "肿瘤科", "神经内科", "康复科")
_INSURANCES = ("employee", "resident", "retired_cadre", "maternity", "work_injury", "self_pay")
_ROUTES = ("口服", "静脉滴注", "肌内注射", "皮下注射", "外用", "雾化吸入")
_SEXES = ("male", "female")
_DIAGNOSES = tuple(f"诊断{i:02d}" for i in range(60))
_NUMBERS = {"age": (0, 95), "quantity": (1, 60), "dose": (1, 12), "days": (1, 30)}
_RARE = {"age": 95, "quantity": 60, "dose": 12, "days": 30}
_COMPARISONS = ("greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to")


class Atom(msgspec.Struct, frozen=True):
    """One comparison; the operator is a word of RuleWard, or ``has`` for a diagnosis among the patient's."""

    field: str
    operator: str
    value: Any


class RuleSpec(msgspec.Struct, frozen=True):
    """A rule: a key (``code`` or ``category`` equals a text) or none, and clauses of one or two atoms."""

    id: str
    key: tuple[str, str] | None
    clauses: tuple[tuple[Atom, ...], ...]


class VisitSpec(msgspec.Struct, frozen=True):
    """A visit: the patient's facts and the lines, as plain dictionaries."""

    patient: dict[str, Any]
    lines: tuple[dict[str, Any], ...]


def _items(count: int) -> int:
    return min(2000, max(50, count))


def _code(number: int) -> str:
    return f"药品{number:05d}"


def make_rules(count: int, seed: int = 1) -> list[RuleSpec]:
    """Return ``count`` rules."""
    rng = random.Random(seed)
    rules = []
    for number in range(count):
        kind = rng.random()
        keyless = kind >= 0.99
        clauses = [_clause(rng, keyless=keyless) for _ in range(rng.randint(1, 4))]
        key: tuple[str, str] | None = None
        if kind < 0.94:
            key = ("code", _code(rng.randrange(_items(count))))
        elif keyless:
            field = rng.choice(tuple(_RARE))
            clauses.insert(0, (Atom(field, "greater_than_or_equal_to", _RARE[field]),))
        else:
            key = ("category", rng.choice(CATEGORIES))
            clauses.insert(0, (Atom("diagnoses", "has", rng.choice(_DIAGNOSES)),))
        rules.append(RuleSpec(f"workload.r{number:05d}", key, tuple(clauses)))
    return rules


def _clause(rng: random.Random, *, keyless: bool) -> tuple[Atom, ...]:
    if rng.random() < 0.35:
        return (_atom(rng), _atom(rng))
    while (atom := _atom(rng)).operator == "equal_to" and keyless:
        pass
    return (atom,)


def _atom(rng: random.Random) -> Atom:
    field = rng.choice((*_NUMBERS, "sex", "department", "insurance", "route", "diagnoses"))
    if field in _NUMBERS:
        low, high = _NUMBERS[field]
        return Atom(field, rng.choice(_COMPARISONS), rng.randint(low, high))
    if field == "diagnoses":
        return Atom(field, "has", rng.choice(_DIAGNOSES))
    choices = {"sex": _SEXES, "department": _DEPARTMENTS, "insurance": _INSURANCES, "route": _ROUTES}[field]
    operator = rng.choice(("equal_to", "not_equal_to"))
    return Atom(field, operator, rng.choice(choices))


def make_visits(count: int, rules: int, seed: int = 2) -> list[VisitSpec]:
    """Return ``count`` visits whose lines name the items of a workload of ``rules`` rules."""
    rng = random.Random(seed)
    visits = []
    for _ in range(count):
        patient = {
            "age": float(rng.randint(0, 95)),
            "sex": rng.choice(_SEXES),
            "insurance": rng.choice(_INSURANCES),
            "diagnoses": rng.sample(_DIAGNOSES, 5),
        }
        lines = tuple(
            {
                "id": f"line-{number}",
                "code": _code(rng.randrange(_items(rules))),
                "category": rng.choice(CATEGORIES),
                "department": rng.choice(_DEPARTMENTS),
                "route": rng.choice(_ROUTES),
                **{name: float(rng.randint(*_NUMBERS[name])) for name in ("quantity", "dose", "days")},
            }
            for number in range(10)
        )
        visits.append(VisitSpec(patient, lines))
    return visits


_JUDGE: dict[str, Callable[[Any, Any], bool]] = {
    "equal_to": lambda left, right: left == right,
    "not_equal_to": lambda left, right: left != right,
    "greater_than": lambda left, right: left > right,
    "greater_than_or_equal_to": lambda left, right: left >= right,
    "less_than": lambda left, right: left < right,
    "less_than_or_equal_to": lambda left, right: left <= right,
    "has": lambda left, right: right in left,
}


def naive(rules: Sequence[RuleSpec], visit: VisitSpec) -> set[tuple[str, str]]:
    """Return the (line, rule) pairs that hold, rule by rule and line by line."""
    found = set()
    for line in visit.lines:
        known = {**visit.patient, **line}
        for rule in rules:
            if rule.key is not None and known[rule.key[0]] != rule.key[1]:
                continue
            if all(
                any(_JUDGE[atom.operator](known[atom.field], atom.value) for atom in clause)
                for clause in rule.clauses
            ):
                found.add((line["id"], rule.id))
    return found
