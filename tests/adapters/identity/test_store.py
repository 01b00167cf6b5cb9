"""What races is taken once, on both databases: attempts, codes, refresh tokens, steps, jti, reviews."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from adapters.store.accounts import StoredIdentity, lock_after
from adapters.store.database import downgrade, open_database, upgrade
from engine.access import Role
from engine.identity import Account, Code, Family, Glass, Refresh, Session

NOW = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoredIdentity]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store')}/identity.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    engine = open_database(url, patience=10.0)
    upgrade(engine)
    yield StoredIdentity(engine)
    engine.dispose()


def account(**given: object) -> Account:
    values: dict[str, object] = {
        "id": "a", "name": "li", "title": "李", "staff_number": "1", "roles": (Role.NURSE, Role.DOCTOR),
        "site": "east", "departments": ("icu", "重症"), "password_hash": "h", "password_changed_at": NOW,
    }  # fmt: skip
    return Account(**(values | given))  # type: ignore[arg-type]


def at_once(act: Callable[[], object], times: int = 8) -> list[object]:
    with ThreadPoolExecutor(times) as pool:
        return [one.result() for one in [pool.submit(act) for _ in range(times)]]


def test_an_account_comes_back_as_it_went_in(both: StoredIdentity) -> None:
    both.add(account())
    stored = both.by_name("li")
    assert stored is not None
    assert stored == account(roles=(Role.DOCTOR, Role.NURSE))
    both.change("a", departments=("er",), locked_until=LATER, roles=(Role.AUDITOR,))
    changed = both.by_id("a")
    assert changed is not None
    assert (changed.departments, changed.locked_until, changed.roles) == (("er",), LATER, (Role.AUDITOR,))


@pytest.mark.parametrize("given", [{"id": "b"}, {"id": "b", "name": "x"}, {"id": "b", "staff_number": "2"}])
def test_a_name_and_a_person_have_one_account(both: StoredIdentity, given: dict[str, object]) -> None:
    both.add(account())
    with pytest.raises(ValueError, match="another account"):
        both.add(account(**given))


def test_attempts_at_once_are_all_counted_and_stop_at_the_lock(both: StoredIdentity) -> None:
    both.add(account())
    counted = at_once(lambda: both.count_attempt("a", NOW), 12)
    assert sorted(one for one in counted if isinstance(one, int)) == [1, 2, 3, 4, 5]
    assert both.count_attempt("a", NOW + dt.timedelta(minutes=1)) == 6


def test_locks_double_up_to_an_hour() -> None:
    assert [lock_after(failures) for failures in (4, 5, 6, 7, 40)] == [
        None,
        dt.timedelta(minutes=1),
        dt.timedelta(minutes=2),
        dt.timedelta(minutes=4),
        dt.timedelta(hours=1),
    ]


def test_a_one_time_step_counts_once_and_never_an_earlier_one(both: StoredIdentity) -> None:
    both.add(account())
    assert at_once(lambda: both.take_step("a", 100)).count(True) == 1
    assert not both.take_step("a", 99)
    assert both.take_step("a", 101)


def test_a_jti_counts_once_among_many_at_once(both: StoredIdentity) -> None:
    assert at_once(lambda: both.first_use("digest", LATER)).count(True) == 1


def test_codes_and_refresh_tokens_count_once_among_many_at_once(both: StoredIdentity) -> None:
    code = Code(
        id="c", family="f", client="app", account="a", session="s", redirect_uri="u", scope="openid",
        nonce="", challenge="x", signed_in_at=NOW, factors=("pwd",), expires_at=LATER,
    )  # fmt: skip
    both.add_code(code)
    taken = at_once(lambda: both.take_code("c"))
    assert sum(1 for one in taken if isinstance(one, tuple) and one[1]) == 1
    both.add_refresh(Refresh(id="r", family="f", client="app", scope="", expires_at=LATER))
    assert at_once(lambda: both.take_refresh("r")).count(True) == 1
    assert both.take_code("none") is None
    assert not both.take_refresh("none")


def test_revoked_families_are_told_while_their_tokens_could_live(both: StoredIdentity) -> None:
    for name, session in (("f1", "s1"), ("f2", "s1"), ("f3", "s2")):
        both.add_family(
            Family(
                id=name,
                client="app",
                account="a",
                session=session,
                factors=("pwd", "otp"),
                signed_in_at=NOW,
                expires_at=LATER,
            )
        )
    both.revoke_families_of(NOW, session="s1")
    both.revoke_families_of(NOW)  # of nobody
    both.revoke_token("jti", LATER)
    both.revoke_token("jti", LATER)
    assert both.revoked(NOW) == {"f1", "f2", "jti"}
    assert both.revoked(NOW + dt.timedelta(hours=2)) == frozenset()
    both.revoke_families_of(NOW, account="a")
    assert both.revoked(NOW) == {"f1", "f2", "f3", "jti"}


def test_a_challenge_answers_once(both: StoredIdentity) -> None:
    both.start_session(
        Session(id="s", account="a", started_at=NOW, seen_at=NOW, factors=("pwd",), challenge=b"x")
    )
    assert [both.take_challenge("s"), both.take_challenge("s"), both.take_challenge("none")] == [
        b"x",
        None,
        None,
    ]


def test_emergency_access_is_reviewed_once_and_by_another(both: StoredIdentity) -> None:
    both.break_glass(Glass(id="g", account="a", site="east", reason="r", began_at=NOW, until=LATER))
    assert both.standing_glass("a", NOW) == LATER
    assert both.standing_glass("a", LATER) is None
    assert not both.review_glass("g", "a", "justified", NOW)
    assert both.review_glass("g", "b", "unjustified", NOW)
    assert not both.review_glass("g", "c", "justified", NOW)
    reviewed = both.glass("g")
    assert reviewed is not None
    assert (reviewed.reviewed_by, reviewed.verdict) == ("b", "unjustified")


def test_what_expired_is_forgotten_and_what_lives_stays(both: StoredIdentity) -> None:
    both.first_use("old", NOW - dt.timedelta(seconds=1))
    both.first_use("new", LATER)
    both.forget(NOW)
    assert both.first_use("old", LATER)
    assert not both.first_use("new", LATER)


def test_the_tables_go_back_and_forth(both: StoredIdentity) -> None:
    both.add(account())
    downgrade(both._engine, "0002")
    upgrade(both._engine)
    assert both.all() == ()
