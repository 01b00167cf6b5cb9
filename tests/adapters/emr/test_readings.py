from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from adapters.emr.fhir import Node, NoteKind, Notes, Readings
from adapters.emr.product import Drug, Products
from adapters.emr.settings import Settings


class _Nothing:
    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None, /) -> Drug | None:
        return None


class _Ibuprofen:
    ingredients = agents = frozenset({"ibuprofen"})
    strengths: Mapping[str, float] = {}

    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None, /) -> Drug | None:
        return self


def test_a_drug_read_with_one_dictionary_is_read_anew_with_another() -> None:
    order: Node = {"medicationCodeableConcept": {"text": "布洛芬片"}}
    assert Products(_Nothing(), Settings(), Notes(), {}).read(order, "order").drug is None
    known = _Ibuprofen()
    for _ in range(2):
        assert Products(known, Settings(), Notes(), {}).read(order, "order").drug is known


def _wrong(notes: Notes) -> int:
    notes.wrong("path", "object", 1)
    return 1


def test_the_same_writing_is_read_once() -> None:
    readings: Readings[list[int]] = Readings()
    notes = Notes()
    first = readings.read({"text": "qd"}, notes, lambda: [1])
    assert readings.read({"text": "qd"}, notes, lambda: [2]) is first
    assert readings.read({"text": "bid"}, notes, lambda: [2]) == [2]


def test_what_else_the_reading_depends_on_tells_writings_apart() -> None:
    readings: Readings[int] = Readings()
    assert readings.read("qd", Notes(), lambda: 1, "Asia/Shanghai") == 1
    assert readings.read("qd", Notes(), lambda: 2, "UTC") == 2


def test_a_reading_that_left_a_note_is_read_anew_and_noted_anew() -> None:
    readings: Readings[int] = Readings()

    def read(notes: Notes) -> int:
        notes.add(NoteKind.DOSE, "path", "is odd")
        return 1

    for _ in range(2):
        notes = Notes()
        readings.read("odd", notes, partial(read, notes))
        assert len(notes.all()) == 1


def test_a_note_beyond_the_limit_still_keeps_the_reading_from_being_used_again() -> None:
    readings: Readings[int] = Readings()
    full = Notes(limit=0)
    readings.read("odd", full, partial(_wrong, full))
    assert full.all() == ()
    assert readings.read("odd", Notes(), lambda: 2) == 2


def test_what_is_true_is_not_taken_for_one() -> None:
    readings: Readings[str] = Readings()
    assert readings.read({"sequence": 1}, Notes(), lambda: "number") == "number"
    assert readings.read({"sequence": True}, Notes(), lambda: "truth") == "truth"
    assert readings.read({"sequence": 1.0}, Notes(), lambda: "decimal") == "decimal"


def test_a_piece_that_cannot_be_written_is_read_each_time() -> None:
    readings: Readings[int] = Readings()
    assert readings.read({"text": "\ud800"}, Notes(), lambda: 1) == 1
    assert readings.read({"text": "\ud800"}, Notes(), lambda: 2) == 2


def test_long_pieces_are_read_each_time_and_few_are_kept() -> None:
    readings: Readings[int] = Readings()
    assert readings.read("x" * 5000, Notes(), lambda: 1) == 1
    assert readings.read("x" * 5000, Notes(), lambda: 2) == 2
    for number in range(5000):
        readings.read(str(number), Notes(), lambda: 0)
    assert len(readings._kept) <= 2048
