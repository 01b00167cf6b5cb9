"""Who may do what: the table of roles, the three administrators, object reach, approval, emergency access."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from engine.access import (
    ADMINISTRATORS,
    GRANTS,
    SCOPES,
    SIGNERS,
    Caller,
    Permission,
    Place,
    Reach,
    Resource,
    Role,
    Verb,
    approval_faults,
    glass_faults,
    may,
    needs_second_factor,
    role_faults,
)

NOW = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
READ = Permission(Verb.READ, Resource.DECISION)


def caller(*roles: Role, **given: object) -> Caller:
    values: dict[str, object] = {
        "subject": "a", "roles": frozenset(roles), "site": "east", "departments": frozenset({"icu"}),
    }  # fmt: skip
    return Caller(**(values | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(sorted(ADMINISTRATORS), 2)])
def test_no_two_of_the_three_administrators_are_one_account(one: Role, other: Role) -> None:
    (fault,) = role_faults([one, other])
    assert one in fault
    assert other in fault


@pytest.mark.parametrize("administrator", sorted(ADMINISTRATORS))
@pytest.mark.parametrize("role", sorted(set(Role) - ADMINISTRATORS))
def test_an_administrator_holds_no_other_role(administrator: Role, role: Role) -> None:
    assert role_faults([administrator, role])


@pytest.mark.parametrize("role", Role)
def test_each_role_alone_is_an_account(role: Role) -> None:
    assert role_faults([role]) == ()


def test_a_service_account_holds_no_role_of_a_person() -> None:
    assert role_faults([Role.SERVICE, Role.DOCTOR])


def test_the_three_administrators_share_no_power_over_one_another() -> None:
    own = {
        Role.SYSTEM_ADMINISTRATOR: "write:configuration",
        Role.SECURITY_ADMINISTRATOR: "write:account",
        Role.AUDITOR: "read:audit",
    }
    for role, word in own.items():
        holders = {one for one in Role if word in map(str, GRANTS[one])}
        assert holders == {role}, word


def test_administrators_decide_nothing_and_see_no_decision() -> None:
    forbidden = {
        "check:order",
        "check:bill",
        "read:decision",
        "sign:prescription",
        "write:rule",
        "approve:release",
    }
    for role in ADMINISTRATORS:
        assert not forbidden & set(map(str, GRANTS[role]))


def test_the_auditor_changes_nothing() -> None:
    assert {permission.verb for permission in GRANTS[Role.AUDITOR]} <= {
        Verb.READ,
        Verb.EXPORT,
        Verb.REVIEW,
        Verb.USE,
    }


@pytest.mark.parametrize(
    ("role", "site", "department", "seen"),
    [
        (Role.DOCTOR, "east", "icu", True),
        (Role.DOCTOR, "east", "surgery", False),
        (Role.DOCTOR, "west", "icu", False),
        (Role.DOCTOR, "east", "", False),
        (Role.REVIEWING_PHARMACIST, "east", "surgery", True),
        (Role.REVIEWING_PHARMACIST, "west", "surgery", False),
        (Role.CODER, "east", "icu", False),
        (Role.AUDITOR, "east", "icu", False),
    ],
)
def test_a_decision_is_read_within_reach_only(role: Role, site: str, department: str, seen: bool) -> None:
    assert may(caller(role), READ, NOW, Place(site, department)) is seen


def test_emergency_access_widens_the_reach_of_who_may_read_and_ends_by_itself() -> None:
    elsewhere = Place("east", "surgery")
    broken = caller(Role.DOCTOR, glass_until=NOW + dt.timedelta(hours=1))
    assert may(broken, READ, NOW, elsewhere)
    assert not may(broken, READ, NOW + dt.timedelta(hours=1), elsewhere)
    assert not may(broken, READ, NOW, Place("west", "surgery"))
    assert not may(caller(Role.CODER, glass_until=NOW + dt.timedelta(hours=1)), READ, NOW, elsewhere)
    sign = Permission(Verb.SIGN, Resource.PRESCRIPTION)
    assert not may(broken, sign, NOW, elsewhere)


def test_a_service_account_may_what_its_scopes_say_and_never_sign() -> None:
    scopes = frozenset({"check:order", "sign:prescription", "write:account"})
    service = caller(Role.SERVICE, scopes=scopes)
    allowed = {
        str(Permission(verb, resource))
        for verb in Verb
        for resource in Resource
        if may(service, Permission(verb, resource), NOW)
    }
    assert allowed == {"check:order"}


def test_scopes_of_a_person_give_nothing() -> None:
    assert not may(caller(Role.CODER, scopes=SCOPES), READ, NOW)


def test_whoever_signs_or_administers_needs_a_second_factor() -> None:
    assert {role for role in Role if needs_second_factor([role])} == SIGNERS | ADMINISTRATORS
    signing = {role for role in Role if any(one.verb is Verb.SIGN for one in GRANTS[role])}
    approving = {role for role in Role if any(one.verb is Verb.APPROVE for one in GRANTS[role])}
    assert signing | approving <= SIGNERS


@pytest.mark.parametrize(
    ("authors", "approver", "signed", "content", "faults"),
    [
        (["a"], "b", "sm3:1", "sm3:1", 0),
        (["a"], "a", "sm3:1", "sm3:1", 1),
        (["a", "b"], "b", "sm3:1", "sm3:1", 1),
        (["a"], "b", "sm3:1", "sm3:2", 1),
        (["a"], "", "sm3:1", "sm3:1", 1),
        (["a"], "a", "sm3:1", "sm3:2", 2),
    ],
)
def test_an_author_approves_nothing_of_his_own_and_nobody_what_changed(
    authors: list[str], approver: str, signed: str, content: str, faults: int
) -> None:
    assert len(approval_faults(authors, approver, signed, content)) == faults


@pytest.mark.parametrize(
    ("reason", "minutes", "faults"),
    [("Patient moved from another ward", 60, 0), ("short", 60, 1), ("Patient moved from another ward", 0, 1),
     ("Patient moved from another ward", 241, 1), ("   ", -5, 2)],
)  # fmt: skip
def test_emergency_access_needs_a_reason_and_an_end(reason: str, minutes: int, faults: int) -> None:
    assert len(glass_faults(reason, dt.timedelta(minutes=minutes))) == faults


def test_reaches_are_ordered() -> None:
    assert Reach.DEPARTMENT < Reach.SITE < Reach.ALL
