"""The audit chain: whatever is done to it shows, and is named."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Callable

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from engine.audit import (
    Event,
    Head,
    Kind,
    Link,
    Result,
    SignedHead,
    chained,
    check_event,
    event,
    feedback_event,
    head_content,
    link_digest,
    payload_of,
    root_of,
)
from engine.audit_verify import Standing, Wrong, verify
from engine.ports import Entry, FeedbackEntry

_AT = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)
_CHAIN = "chain-1"
_KINDS = [kind for kind in Kind if kind is not Kind.CLOCK_JUMP]


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _signed(head: Head, key: bytes = b"secret") -> SignedHead:
    return SignedHead(head, "k1", hashlib.sha256(key + head_content(head)).digest())


def _genuine(one: SignedHead) -> bool:
    return one == _signed(one.head)


class _Log:
    """A chain with heads, as a database holds it, and the witness's copy of the heads."""

    def __init__(self, entries: int, every: int = 7) -> None:
        self.links: list[Link] = []
        self.heads: list[SignedHead] = []
        self.witness: list[SignedHead] = []
        self.grow(entries, every)

    def grow(self, entries: int, every: int, course: int = 0) -> None:
        """Append entries and sign a head after every so many."""
        for _ in range(entries):
            number = len(self.links)
            last = self.links[-1].digest if self.links else root_of(_CHAIN, _digest)
            self.links += chained(last, number, [_event(number + course)], _digest)
            if len(self.links) % every == 0:
                self.sign()
        self.standing = Standing(_CHAIN, len(self.links), self.links[-1].digest)

    def sign(self) -> None:
        """Sign a head over all entries."""
        before = self.heads[-1].head if self.heads else None
        head = Head(
            chain=_CHAIN,
            number=len(self.heads) + 1,
            index=len(self.links),
            digest=self.links[-1].digest,
            at=_AT,
            previous=_digest(head_content(before)) if before else "",
        )
        self.heads.append(_signed(head))
        self.witness.append(_signed(head))

    def copy(self) -> _Log:
        """Return another that may be tampered with."""
        other = object.__new__(_Log)
        other.links, other.heads = list(self.links), list(self.heads)
        other.witness, other.standing = list(self.witness), self.standing
        return other

    def chain_again(self, start: int) -> None:
        """Give every entry from this place on new indexes and digests, as one who knows how would."""
        events = [link.event for link in self.links[start:]]
        before = self.links[start - 1].digest if start else root_of(_CHAIN, _digest)
        self.links[start:] = list(chained(before, start, events, _digest))
        # He can write the note of the end too, but not vouch for it: that takes the key store.
        self.standing = Standing(_CHAIN, len(self.links), self.links[-1].digest, genuine=False)

    def faults(self) -> set[Wrong]:
        """Verify."""
        report = verify(self.links, self.standing, self.heads, self.witness, digest=_digest, genuine=_genuine)
        return {fault.wrong for fault in report.faults}


def _event(number: int) -> Event:
    return event(
        _KINDS[number % len(_KINDS)],
        at=_AT + dt.timedelta(seconds=number),
        who=f"user-{number % 5}",
        object=f"decision/{number}",
        detail={"count": number},
    )


_OTHER: dict[str, object] = {
    "kind": Kind.CLOCK_JUMP,
    "at": _AT - dt.timedelta(seconds=1),
    "who": "another",
    "result": Result.DENIED,
    "source": "another",
    "object": "another",
    "patient": "another",
    "payload": "another",
    "detail": '{"count":-1}',
    "note": b"another",
}


def _edit(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(len(log.links))
    field = chance.choice([*_OTHER, "digest", "previous"])
    link = log.links[place]
    if field in _OTHER:
        change = msgspec.structs.replace(link.event, **{field: _OTHER[field]})
        log.links[place] = msgspec.structs.replace(link, event=change)
    else:
        log.links[place] = msgspec.structs.replace(link, **{field: _digest(b"another")})


def _edit_and_chain_again(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(len(log.links))
    change = msgspec.structs.replace(log.links[place].event, who="another")
    log.links[place] = msgspec.structs.replace(log.links[place], event=change)
    log.chain_again(place)


def _delete(log: _Log, chance: random.Random) -> None:
    start = chance.randrange(len(log.links))
    del log.links[start : start + chance.randint(1, 3)]


def _delete_and_chain_again(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(1, len(log.links) - 1)
    del log.links[place]
    log.chain_again(place)


def _insert(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(len(log.links) + 1)
    before = log.links[place - 1].digest if place else root_of(_CHAIN, _digest)
    log.links[place:place] = list(chained(before, place, [_event(999)], _digest))


def _insert_and_chain_again(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(len(log.links) + 1)
    log.links.insert(place, Link(0, "", "", _event(999)))
    log.chain_again(place)


def _swap(log: _Log, chance: random.Random) -> None:
    one, other = sorted(chance.sample(range(len(log.links)), 2))
    log.links[one], log.links[other] = log.links[other], log.links[one]


def _swap_contents(log: _Log, chance: random.Random) -> None:
    one, other = sorted(chance.sample(range(len(log.links)), 2))
    first, second = log.links[one], log.links[other]
    log.links[one] = msgspec.structs.replace(second, index=first.index)
    log.links[other] = msgspec.structs.replace(first, index=second.index)


def _cut_the_tail(log: _Log, chance: random.Random) -> None:
    del log.links[-chance.randint(1, len(log.links) - 1) :]


def _cut_the_tail_and_its_note(log: _Log, chance: random.Random) -> None:
    _cut_the_tail(log, chance)
    log.standing = Standing(_CHAIN, len(log.links), log.links[-1].digest, genuine=False)


def _restore_an_old_backup(log: _Log, chance: random.Random) -> None:
    """Bring back a whole earlier state, vouched for by the keys of then; only the witness knows better."""
    covered = chance.randint(1, log.witness[-1].head.index - 1)
    del log.links[covered:]
    log.heads = [one for one in log.heads if one.head.index <= covered]
    log.standing = Standing(_CHAIN, covered, log.links[-1].digest)


def _forge_a_head(log: _Log, chance: random.Random) -> None:
    place = chance.randrange(len(log.heads))
    head = msgspec.structs.replace(log.heads[place].head, digest=_digest(b"another"))
    log.heads[place] = _signed(head, b"wrong key")


def _take_a_head_out(log: _Log, chance: random.Random) -> None:
    del log.heads[chance.randrange(len(log.heads))]


def _grow_on_an_old_backup(log: _Log, chance: random.Random) -> None:
    _restore_an_old_backup(log, chance)
    witness = log.witness
    log.grow(chance.randint(1, 60), 7, course=1000)
    log.witness = witness


_MUTATIONS: dict[str, Callable[[_Log, random.Random], None]] = {
    "edit": _edit,
    "edit and chain again": _edit_and_chain_again,
    "delete": _delete,
    "delete and chain again": _delete_and_chain_again,
    "insert": _insert,
    "insert and chain again": _insert_and_chain_again,
    "swap": _swap,
    "swap contents": _swap_contents,
    "cut tail": _cut_the_tail,
    "cut tail and its note": _cut_the_tail_and_its_note,
    "old backup": _restore_an_old_backup,
    "forged head": _forge_a_head,
    "missing head": _take_a_head_out,
}


def test_ten_thousand_random_mutations_are_all_found() -> None:
    chance = random.Random(20260301)
    logs = [_Log(chance.randint(16, 48)) for _ in range(20)]
    for log in logs:
        assert log.faults() == set()
    unseen: list[str] = []
    for number in range(10_000):
        name, mutate = chance.choice(list(_MUTATIONS.items()))
        log = chance.choice(logs).copy()
        mutate(log, chance)
        if not log.faults():
            unseen.append(f"{number}: {name}")
    assert unseen == []


@pytest.mark.parametrize(
    ("mutate", "wrong"),
    [
        (_edit, Wrong.ALTERED),
        (_edit_and_chain_again, Wrong.REWRITTEN),
        (_insert, Wrong.INSERTED),
        (_swap, Wrong.MOVED),
        (_swap_contents, Wrong.MOVED),
        (_cut_the_tail, Wrong.CUT),
        (_restore_an_old_backup, Wrong.ROLLED_BACK),
        (_forge_a_head, Wrong.HEAD),
    ],
)
def test_a_fault_is_called_what_it_is(mutate: Callable[[_Log, random.Random], None], wrong: Wrong) -> None:
    for seed in range(100):
        log = _Log(30)
        mutate(log, random.Random(seed))
        assert wrong in log.faults(), seed


def test_a_missing_entry_is_named_by_its_index() -> None:
    log = _Log(20)
    del log.links[6:9]
    report = verify(log.links, log.standing, log.heads, log.witness, digest=_digest, genuine=_genuine)
    assert [(f.first, f.last, f.what) for f in report.faults] == [(7, 9, "entries 7 to 9 are missing")]


def test_entries_that_stand_in_each_others_place_are_named() -> None:
    log = _Log(20)
    first, second = log.links[4], log.links[11]
    log.links[4] = msgspec.structs.replace(second, index=5)
    log.links[11] = msgspec.structs.replace(first, index=12)
    report = verify(log.links, log.standing, log.heads, log.witness, digest=_digest, genuine=_genuine)
    moved = [fault.what for fault in report.faults if fault.wrong is Wrong.MOVED]
    assert moved == ["what stands as entry 12 was entry 5", "what stands as entry 5 was entry 12"]


def test_an_old_backup_that_went_on_shows_at_the_witness() -> None:
    for seed in range(200):
        log = _Log(40)
        _grow_on_an_old_backup(log, random.Random(seed))
        assert log.faults(), seed


def test_verification_may_begin_at_a_head_that_was_verified_before() -> None:
    log = _Log(30)
    begin = log.heads[1]
    rest = log.links[begin.head.index :]
    assert (
        verify(rest, log.standing, log.heads[2:], (), digest=_digest, genuine=_genuine, begin=begin).faults
        == ()
    )
    for place in range(len(rest)):
        change = msgspec.structs.replace(rest[place].event, who="another")
        bad = [*rest[:place], msgspec.structs.replace(rest[place], event=change), *rest[place + 1 :]]
        assert verify(bad, log.standing, (), (), digest=_digest, genuine=_genuine, begin=begin).faults


def test_time_may_only_run_backwards_where_a_jump_of_the_clock_is_noted() -> None:
    late, early = _AT + dt.timedelta(hours=1), _AT

    def faults(*events: Event) -> list[Wrong]:
        links = list(chained(root_of(_CHAIN, _digest), 0, events, _digest))
        standing = Standing(_CHAIN, len(links), links[-1].digest)
        report = verify(links, standing, (), (), digest=_digest, genuine=_genuine)
        return [fault.wrong for fault in report.faults]

    before, after = event(Kind.LOGIN, at=late, who="a"), event(Kind.LOGIN, at=early, who="a")
    assert faults(before, after) == [Wrong.CLOCK]
    assert faults(before, event(Kind.CLOCK_JUMP, at=early, who="system"), after) == []


_TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


@given(_TEXT, _TEXT, _TEXT, st.integers(1, 2**53 - 1), st.binary(max_size=20))
def test_the_canonical_form_of_an_entry_is_that_of_rfc_8785(
    who: str, source: str, name: str, index: int, note: bytes
) -> None:
    one = event(Kind.VIEW, at=_AT, who=who, source=source, object=name, note=note)
    seen: list[bytes] = []

    def record(content: bytes) -> str:
        seen.append(content)
        return ""

    link_digest("p", index, one, record)
    canonical = rfc8785.dumps(
        {
            "at": "2026-03-01T08:00:00.000000+00:00",
            "detail": "",
            "index": index,
            "kind": "view",
            "note": note.hex(),
            "object": name,
            "patient": "",
            "payload": "",
            "result": "success",
            "source": source,
            "who": who,
        }
    )
    assert seen == [b"p" + canonical]


def test_the_canonical_form_of_a_head_is_that_of_rfc_8785() -> None:
    head = Head(chain="c", number=2, index=9, digest="d", at=_AT, previous="p")
    plain = {**msgspec.structs.asdict(head), "at": "2026-03-01T08:00:00.000000+00:00"}
    assert head_content(head) == rfc8785.dumps(plain)


def test_an_event_holds_no_word_that_might_be_somebodys_data() -> None:
    with pytest.raises(ValueError, match="no word that an audit entry may hold"):
        event(Kind.OVERRIDE, at=_AT, who="a", detail={"reason": "Zhang San is allergic"})
    with pytest.raises(ValueError, match="longer than 256"):
        event(Kind.OVERRIDE, at=_AT, who="a", detail={"reason_code": "x" * 257})
    with pytest.raises(ValueError, match="no zone"):
        event(Kind.LOGIN, at=_AT.replace(tzinfo=None), who="a")


def _entry() -> Entry:
    return Entry(
        id="d1",
        key="k",
        request_digest="r",
        interface="cds-hooks",
        stage="order_sign",
        at=_AT,
        release="rel",
        facts_digest="f",
        status="findings",
        findings=1,
        not_checked=0,
        trace=b"{}",
        answer=b"{}",
        patient="p-1",
        who="his",
        source="10.0.0.1",
        microseconds=900,
    )


def test_the_entry_of_a_decision_says_what_decided_and_the_patient_only_blind() -> None:
    made = check_event(_entry(), _digest, lambda patient: _digest(patient.encode()))
    assert (made.who, made.source, made.object) == ("his", "10.0.0.1", "decision/d1")
    assert made.patient == _digest(b"p-1")
    assert msgspec.json.decode(made.detail) == {
        "facts": "f",
        "findings": 1,
        "interface": "cds-hooks",
        "microseconds": 900,
        "not_checked": 0,
        "release": "rel",
        "stage": "order_sign",
        "status": "findings",
    }


def test_whatever_of_a_decision_changes_its_digest_changes() -> None:
    seen = {payload_of(_entry())}
    covered = 0
    for field, value in msgspec.structs.asdict(_entry()).items():
        if field in {"who", "source", "microseconds"}:  # these are in the audit entry itself
            continue
        other: object = value
        if isinstance(value, dt.datetime):
            other = value + dt.timedelta(seconds=1)
        elif isinstance(value, str):
            other = f"{value}."
        elif isinstance(value, bytes):
            other = value + b"."
        elif isinstance(value, int):
            other = value + 1
        elif isinstance(value, tuple):
            other = ("c",)
        seen.add(payload_of(msgspec.structs.replace(_entry(), **{field: other})))
        covered += 1
        assert len(seen) == 1 + covered, field


def test_what_users_write_in_free_text_is_covered_but_not_told() -> None:
    one = FeedbackEntry(
        service="s", card="c", outcome="overridden", outcome_at=_AT, reason_code="other", comment="Zhang San"
    )
    made = feedback_event(one, _digest)
    assert made.kind is Kind.OVERRIDE
    assert "Zhang" not in str(made)
    assert made.payload != feedback_event(msgspec.structs.replace(one, comment="Li Si"), _digest).payload
