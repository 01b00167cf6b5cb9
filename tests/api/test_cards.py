"""Cards keep the invariants of CDS Hooks 2.0 whatever a decision holds, and never look like a pass."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.emr.fhir import Note, NoteKind
from api.card_gaps import Scene, left_aside
from api.card_text import escape
from api.cards import OVERRIDE_SYSTEM, answer_of, cards_of
from engine.decision import (
    Decision,
    Finding,
    Level,
    NotChecked,
    Reference,
    RowCited,
    Stage,
    Step,
    Subject,
    Suggestion,
    Words,
)

Json = dict[str, object]
AT = dt.datetime(2026, 3, 1, 10)
ORDERS = ("MedicationRequest/a", "MedicationRequest/b", "MedicationRequest/w")
DRAFTS = frozenset(ORDERS[:2])

text = st.text(max_size=300) | st.sampled_from(
    ["<script>alert(1)</script>", "**粗体** [x](http://e.example)", "布洛芬片 0.2g×20片/盒", ""]
)
words = st.builds(Words, text, text)
subjects = st.builds(
    Subject,
    st.sampled_from(["drug", "other"]),
    st.sampled_from(["medication", "component"]),
    st.sampled_from(
        [*ORDERS, "MedicationRequest/a#ibuprofen", "medStatements#?", "draftOrders.entry[0].resource"]
    ),
    text,
)
values = st.none() | st.booleans() | st.floats() | text | st.frozensets(text, max_size=3) | st.just(AT)
steps = st.builds(
    Step,
    st.just("when.all[0]"),
    st.sampled_from(["patient.age_years", "drug.agents", "x", "limit.max"]),
    st.sampled_from(["greater_than", "includes", "new_operator", "overlaps"]),
    st.sampled_from([True, False, None]),
    values,
    values,
    text,
)
references = st.builds(
    Reference,
    text,
    text,
    st.sampled_from(["", "https://example.org/a", "javascript:alert(1)", "http://x y"]),
    st.none() | st.just(AT.date()),
)
rows = st.builds(
    RowCited,
    text,
    st.dictionaries(text, values, max_size=2),
    text,
    st.sampled_from(["verified", "recalled", ""]),
    st.none(),
)
rules = st.sampled_from(["r.one", "r.two", "r.three"])
findings = st.builds(
    Finding,
    rule=rules,
    version=st.just(1),
    ruleset=st.just("r"),
    title=words,
    level=st.sampled_from(Level),
    message=words,
    subjects=st.lists(subjects, max_size=3).map(tuple),
    trace=st.lists(steps, max_size=3).map(tuple),
    rows=st.lists(rows, max_size=2).map(tuple),
    references=st.lists(references, max_size=2).map(tuple),
    suggestions=st.lists(
        st.builds(Suggestion, words, st.sampled_from([*ORDERS, "MedicationRequest/a#ibuprofen", ""])),
        max_size=3,
    ).map(tuple),
    known_limits=text | words,
    advice=st.none() | words,
    to_be_verified=st.booleans(),
)
gaps = st.builds(
    NotChecked,
    rules,
    words,
    st.lists(st.sampled_from(["patient.weight_kg", "drug.agents", "z"]), max_size=2).map(tuple),
    st.lists(subjects, max_size=2).map(tuple),
    st.sampled_from(["", "table not loaded"]),
)
ids = st.frozensets(rules, max_size=3)
decisions = st.builds(
    Decision,
    st.just(Stage.ORDER_SIGN),
    st.just(AT),
    st.just("sm3:0123456789abcdef"),
    st.lists(findings, max_size=5).map(tuple),
    st.just(()),
    st.lists(gaps, max_size=4).map(tuple),
    ids,
    ids,
)
notes = st.lists(st.builds(Note, st.sampled_from(NoteKind), text, text, text), max_size=3).map(tuple)
scenes = st.builds(
    Scene,
    language=st.sampled_from(["zh", "en"]),
    notes=notes,
    removable=st.just(DRAFTS),
    focus=st.just(DRAFTS),
)


def assert_card_is_sound(card: Json, drafts: frozenset[str] = DRAFTS) -> None:
    """Assert the invariants of CDS Hooks 2.0 and what Inferno's server suite asks of a card."""
    summary = card["summary"]
    assert isinstance(summary, str)
    assert 0 < len(summary) < 140
    assert "\n" not in summary
    assert card["indicator"] in ("info", "warning", "critical")
    uuid.UUID(str(card["uuid"]))
    source = cast("Json", card["source"])
    assert isinstance(source["label"], str)
    assert source["label"]
    if "url" in source:
        assert re.fullmatch(r"https?://\S+", str(source["url"]))
    if "topic" in source:
        topic = cast("Json", source["topic"])
        assert topic["code"]
        assert topic["system"]
    for reason in cast("list[Json]", card.get("overrideReasons", [])):
        assert reason["code"]
        assert reason["system"] == OVERRIDE_SYSTEM
        assert reason["display"]
    assert "links" not in card
    suggestions = cast("list[Json]", card.get("suggestions", []))
    assert ("suggestions" in card) == bool(suggestions)
    if suggestions:
        assert card["selectionBehavior"] in ("at-most-one", "any")
    else:
        assert "selectionBehavior" not in card
    assert sum(bool(one.get("isRecommended")) for one in suggestions) <= 1
    for suggestion in suggestions:
        assert suggestion["label"]
        uuid.UUID(str(suggestion["uuid"]))
        actions = cast("list[Json]", suggestion["actions"])
        assert actions
        for action in actions:
            assert action["type"] in ("create", "update", "delete")
            assert action["description"]
            assert action["type"] == "delete"
            assert "resource" not in action
            assert re.fullmatch(r"[A-Za-z]+/[^/]+", str(action["resourceId"]))
            assert action["resourceId"] in drafts
    assert_no_empty(card)


def assert_no_empty(value: object) -> None:
    """Assert that no JSON element is null or empty, but for lists of what was not checked."""
    if isinstance(value, dict):
        assert value
        for key, one in value.items():
            if key != "com.ruleward.notChecked":
                assert one not in (None, "", [])
                assert_no_empty(one)
    elif isinstance(value, list):
        for one in value:
            assert_no_empty(one)


@given(decisions, scenes, st.booleans())
def test_every_card_keeps_the_invariants(decision: Decision, scene: Scene, recorded: bool) -> None:
    body, shown = answer_of(decision, "d-1", scene, recorded=recorded, milliseconds=1.5)
    answer = json.loads(body)
    assert isinstance(answer["cards"], list)
    for card in answer["cards"]:
        assert_card_is_sound(card)
    assert [card["uuid"] for card in answer["cards"]] == list(shown)
    assert len(set(shown)) == len(shown)
    for card in answer["cards"]:
        assert "<script" not in card.get("detail", "")
        assert not re.search(r"(?<!\\)\]\((?!https?://)", card.get("detail", ""))


@given(decisions, scenes)
def test_no_card_at_all_means_that_all_required_checks_ran_and_found_nothing(
    decision: Decision, scene: Scene
) -> None:
    body, cards = answer_of(decision, "d-1", scene, recorded=True, milliseconds=1)
    status = json.loads(body)["extension"]["com.ruleward.decision"]["status"]
    complete = bool(decision.required) and decision.required == decision.ran and not decision.not_checked
    if not cards:
        assert not decision.findings
    if not cards and decision.required <= decision.ran:
        assert status in ("passed", "not_checked")
    if status == "passed":
        assert complete
        assert not decision.findings
        assert not cards


@given(decisions, scenes)
def test_a_retry_gets_the_same_cards(decision: Decision, scene: Scene) -> None:
    assert cards_of(decision, "d-1", scene, recorded=True) == cards_of(decision, "d-1", scene, recorded=True)


def finding(rule: str, level: Level, *subjects: str, **fields: object) -> Finding:
    told = tuple(Subject("drug", "medication", one, f"药{one[-1]}") for one in subjects)
    message = Words(f"{rule} 说明", f"{rule} says")
    return msgspec.structs.replace(Finding(rule, 1, "r", Words(rule, rule), level, message, told), **fields)


def decided(
    *found: Finding, gaps: tuple[NotChecked, ...] = (), required: str = "a", ran: str = "a"
) -> Decision:
    return Decision(
        Stage.ORDER_SIGN, AT, "sm3:0123456789abcdef", found, (), gaps, frozenset(required), frozenset(ran)
    )


SCENE = Scene(removable=DRAFTS, focus=DRAFTS)


def test_one_order_has_one_card_with_its_findings_worst_first() -> None:
    cards = cards_of(
        decided(
            finding("r.note", Level.NOTE, ORDERS[1]),
            finding("r.warn", Level.WARN, ORDERS[0]),
            finding("r.block", Level.BLOCK, ORDERS[0]),
        ),
        "d",
        SCENE,
        recorded=True,
    )
    assert [card["indicator"] for card in cards] == ["critical", "info"]
    assert cards[0]["summary"] == "r.block 说明(另有1项)"
    detail = str(cards[0]["detail"])
    assert detail.index("r.block") < detail.index("r.warn")
    assert "overrideReasons" in cards[0]
    assert "overrideReasons" not in cards[1]


def test_a_finding_on_an_active_and_a_draft_order_is_shown_at_the_draft() -> None:
    (card,) = cards_of(
        decided(finding("r.pair", Level.WARN, ORDERS[2], ORDERS[0])), "d", SCENE, recorded=True
    )
    assert card["extension"] == {
        "com.ruleward.findings": [{"rule": "r.pair", "version": 1, "level": "warn"}],
        "com.ruleward.subject": ORDERS[0],
    }


def test_only_a_draft_can_be_suggested_for_deletion() -> None:
    stop = tuple(Suggestion(Words(f"停用{one}", f"Stop {one}"), one) for one in ORDERS)
    (card,) = cards_of(
        decided(finding("r.pair", Level.WARN, *ORDERS, suggestions=stop)), "d", SCENE, recorded=True
    )
    suggestions = cast("list[Json]", card["suggestions"])
    assert [cast("list[Json]", one["actions"])[0]["resourceId"] for one in suggestions] == list(ORDERS[:2])


def test_what_was_not_checked_is_named_with_the_missing_fact() -> None:
    gap = NotChecked(
        "r.dose",
        Words("剂量", "Dose"),
        ("patient.weight_kg",),
        (Subject("drug", "medication", ORDERS[0], "布洛芬"),),
    )
    for scene, name in ((Scene(language="zh"), "体重"), (Scene(language="en"), "Body weight")):
        (card,) = cards_of(decided(gaps=(gap,), ran=""), "d", scene, recorded=True)
        assert name in str(card["summary"])
        assert name in str(card["detail"])
        assert "布洛芬" in str(card["detail"])
        assert card["indicator"] == "info"


def test_a_required_check_that_never_ran_is_named() -> None:
    (card,) = cards_of(decided(required="ab", ran="a"), "d", SCENE, recorded=True)
    assert "未运行: b" in str(card["detail"])


def test_no_rule_at_all_is_no_pass() -> None:
    (card,) = cards_of(decided(required="", ran=""), "d", SCENE, recorded=True)
    assert "没有启用的规则" in str(card["summary"])


def test_a_pass_has_no_card() -> None:
    assert cards_of(decided(), "d", SCENE, recorded=True) == []


@pytest.mark.parametrize("kind", [NoteKind.UNRESOLVED, NoteKind.NOT_COVERED, NoteKind.MALFORMED])
def test_something_left_aside_is_shown_even_if_all_checks_ran(kind: NoteKind) -> None:
    scene = Scene(notes=(Note(kind, "draftOrders.entry[0].resource", "x", "某药"),))
    decision = msgspec.structs.replace(decided(), left_aside=left_aside(scene.notes))
    (card,) = cards_of(decision, "d", scene, recorded=True)
    assert "某药" in str(card["summary"])
    body, _ = answer_of(decision, "d", scene, recorded=True, milliseconds=1)
    assert json.loads(body)["extension"]["com.ruleward.decision"]["status"] == "not_checked"


def test_a_decision_that_is_not_on_record_says_so_first() -> None:
    body, _ = answer_of(decided(), "d", SCENE, recorded=False, milliseconds=1)
    answer = json.loads(body)
    assert answer["cards"][0]["indicator"] == "warning"
    assert "未能记入" in answer["cards"][0]["summary"]
    assert answer["extension"]["com.ruleward.decision"]["recorded"] is False


def test_evidence_that_was_not_read_is_marked_to_be_verified() -> None:
    read = Reference("说明书", "用法用量", "https://example.org/label", dt.date(2026, 1, 8))
    recalled = RowCited("dose_limits", {"ingredient": "ibuprofen"}, "label", "recalled")
    one = finding(
        "r.dose",
        Level.WARN,
        ORDERS[0],
        references=(read, Reference("记忆")),
        rows=(recalled,),
        trace=(Step("when", "patient.age_years", "greater_than_or_equal_to", True, 78.0, 65.0),),
    )
    (card,) = cards_of(decided(one), "d", SCENE, recorded=True)
    detail = str(card["detail"])
    assert "[说明书 用法用量](https://example.org/label) (核对于 2026-01-08)" in detail
    assert detail.count("【待核实】") == 2
    assert "年龄 78 ≥ 65" in detail
    assert "发布 0123456789ab" in detail
    assert cast("Json", card["source"])["url"] == "https://example.org/label"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<b>", "&lt;b&gt;"),
        ("a*b_c", "a\\*b\\_c"),
        ("[x](y)", "\\[x\\](y)"),
        ("http://e", "http\\://e"),
        ("www.e", "www\\.e"),
        ("a\nb", "a b"),
        ("0.2g×20片/盒", "0.2g×20片/盒"),
    ],
)
def test_names_never_become_markup(written: str, shown: str) -> None:
    assert escape(written) == shown
