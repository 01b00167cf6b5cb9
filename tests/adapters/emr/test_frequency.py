"""Every frequency word gives its times a day; a word that is none gives nothing."""

from __future__ import annotations

import pytest

from adapters.emr.frequency import read_frequency

TABLE = {
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
    "每日一次": 1,
    "每晚一次": 1,
    "每日2次": 2,
    "每日三次": 3,
    "每日4次": 4,
    "每12小时": 2,
    "每8小时一次": 3,
    "每6小时": 4,
    "每4小时": 6,
    "每3小时": 8,
    "每2小时": 12,
    "每1小时": 24,
    "每半小时": 48,
    "隔日": 1 / 2,
    "三日一次": 1 / 3,
    "每周一次": 1 / 7,
    "每周2次": 2 / 7,
    "每周三次": 3 / 7,
    "每2周一次": 1 / 14,
    "每3周一次": 1 / 21,
    "每四周一次": 1 / 28,
    "一日3次": 3,
    "一天两次": 2,
    "3次/日": 3,
    "日三次": 3,
    "睡前": 1,
    "隔日一次": 1 / 2,
    "顿服": 1,
    "TID": 3,
    "t.i.d.": 3,
    "Bid pc": 2,
    "tid ac": 3,
    "bid x 7d": 2,
    "0.5g 口服 tid": 3,
    "每次2片，每日3次": 3,
    "twice daily": 2,
    "3 times a day": 3,
    "every 6 hours": 4,
    "once daily": 1,
    "every other day": 1 / 2,
}


@pytest.mark.parametrize(("word", "times"), TABLE.items())
def test_a_frequency_word_gives_its_times_a_day(word: str, times: float) -> None:
    found = read_frequency(word)
    assert found is not None
    assert found.high == pytest.approx(times)
    assert found.low == pytest.approx(times)
    assert not found.as_needed


@pytest.mark.parametrize("word", ["st", "ST.", "即刻", "stat", "立即"])
def test_at_once_is_one_dose_only(word: str) -> None:
    found = read_frequency(word)
    assert found is not None
    assert found.once
    assert found.high == 1


@pytest.mark.parametrize("word", ["prn", "必要时", "sos", "as needed"])
def test_as_needed_alone_says_no_times_a_day(word: str) -> None:
    found = read_frequency(word)
    assert found is not None
    assert found.as_needed
    assert found.high is None


def test_as_needed_with_a_rhythm_keeps_it_as_a_ceiling() -> None:
    found = read_frequency("q6h prn")
    assert found is not None
    assert (found.high, found.as_needed) == (4, True)


@pytest.mark.parametrize(
    ("word", "low", "high"),
    [
        ("每日2-3次", 2, 3),
        ("q4-6h", 4, 6),
        ("2~3次/日", 2, 3),
        ("每4-6小时", 4, 6),
        ("every 4 to 6 hours", 4, 6),
    ],
)
def test_a_range_of_times_gives_a_low_and_a_high(word: str, low: float, high: float) -> None:
    found = read_frequency(word)
    assert found is not None
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize(
    "word", ["", "遵医嘱", "每日最大4g", "foo", "daily maximum 4 g", "q0h", "qx", "x" * 500]
)
def test_what_says_no_rhythm_is_not_guessed_at(word: str) -> None:
    assert read_frequency(word) is None
