"""Whatever the facts hold, a decision comes out, and a check that breaks is not checked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.gm_crypto.sm3 import sm3
from adapters.releases.folder import read_folder
from engine.decision import Stage
from engine.evaluate import evaluate
from engine.explain import explain
from engine.facts import COLLECTIONS, Facts, Patient, Visit
from engine.lint import examine
from engine.release import read_release
from engine.snapshot import Snapshot
from engine.vocabulary import Type, words_of
from rules import FOLDER

WORDS = [
    "warfarin",
    "nsaid",
    "oral",
    "male",
    "female",
    "pregnant",
    "I63.9",
    "Z34",
    "drug",
    "inpatient",
    "",
    "阿司匹林",
]

_texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=5))
_moments = st.datetimes()
BY_TYPE: dict[Type, st.SearchStrategy[Any]] = {
    Type.TEXT: _texts,
    Type.NUMBER: st.one_of(st.floats(), st.integers(-3, 3).map(float)),
    Type.MONEY: st.decimals(),
    Type.DATE: st.dates(),
    Type.MOMENT: _moments,
    Type.YES_NO: st.booleans(),
    Type.TEXT_SET: st.frozensets(_texts, max_size=3),
}


def struct(kind: str, type_: Any) -> st.SearchStrategy[Any]:
    """Return any instance of a fact structure: each field unknown or of its type, however odd."""
    fields = {
        word.field: st.one_of(st.none(), BY_TYPE[word.type])
        for word in words_of(kind).values()
        if word.type is not Type.INTERVAL
    }
    for name, always in (("id", st.sampled_from(["1", "2"])), ("medication", st.just("1"))):
        if name in fields and kind not in ("patient", "visit", "past_visit"):
            fields[name] = always
    if "in_focus" in fields:
        fields["in_focus"] = st.booleans()
    return st.fixed_dictionaries(fields).map(lambda drawn: type_(**drawn))


_COLLECTIONS = {
    attribute: st.one_of(st.none(), st.lists(struct(kind, type_), max_size=2).map(tuple))
    for kind, (attribute, type_) in COLLECTIONS.items()
}
any_facts = st.builds(Facts, patient=struct("patient", Patient), visit=struct("visit", Visit), **_COLLECTIONS)


@pytest.fixture(scope="module")
def shipped() -> Snapshot:
    """Return the shipped rules, ready to decide."""
    files, _ = read_folder(FOLDER)
    release, _ = read_release(files, sm3)
    return examine(release)[0]


@settings(max_examples=60)
@given(facts=any_facts, stage=st.sampled_from(list(Stage)), at=st.datetimes(dt.datetime(2025, 1, 1)))
def test_evaluate_never_raises(shipped: Snapshot, facts: Facts, stage: Stage, at: dt.datetime) -> None:
    decision = evaluate(shipped, facts, at, stage)
    assert decision.ran <= decision.required
    assert decision.ran.isdisjoint({gap.rule for gap in decision.not_checked})
    assert all(gap.missing or gap.fault for gap in decision.not_checked)
    msgspec.json.encode(decision.status)


@settings(max_examples=20)
@given(facts=any_facts, data=st.data())
def test_explain_never_raises(shipped: Snapshot, facts: Facts, data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from(sorted(shipped.rules)))
    told = explain(shipped, facts, dt.datetime(2026, 3, 1, 10), rule)
    assert 1 <= len(told) <= 200
