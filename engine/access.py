"""Say who may do what, and where: roles, permissions, their reach, and who may not be one person.

A permission is a verb on a resource; a role grants it with a reach: one's departments, one's site, or all.
Duties that guard one another are kept apart (GB/T 22239-2019, level 3, 8.1.4.2): an account holds at most one
of the three administrator roles, and an administrator takes no part in care, billing or rule making.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterable
from typing import Final

import msgspec

__all__ = [
    "ADMINISTRATORS",
    "ANYWHERE",
    "GRANTS",
    "LONGEST_GLASS",
    "SCOPES",
    "SIGNERS",
    "Caller",
    "Permission",
    "Place",
    "Reach",
    "Resource",
    "Role",
    "Verb",
    "approval_faults",
    "glass_faults",
    "may",
    "needs_second_factor",
    "reach_of",
    "role_faults",
]


class Role(enum.StrEnum):
    """What a person is here for; ``service`` is the account of an adapter."""

    DOCTOR = "doctor"
    NURSE = "nurse"
    REVIEWING_PHARMACIST = "reviewing_pharmacist"
    DISPENSING_PHARMACIST = "dispensing_pharmacist"
    CHECKING_PHARMACIST = "checking_pharmacist"
    CLINICAL_PHARMACIST = "clinical_pharmacist"
    PHARMACY_DIRECTOR = "pharmacy_director"
    INSURANCE_OFFICER = "insurance_officer"
    INSURANCE_DIRECTOR = "insurance_director"
    RECORD_CONTROLLER = "record_controller"
    CODER = "coder"
    RADIOGRAPHER = "radiographer"
    REGISTRAR = "registrar"
    IT_OPERATOR = "it_operator"
    SYSTEM_ADMINISTRATOR = "system_administrator"
    SECURITY_ADMINISTRATOR = "security_administrator"
    AUDITOR = "auditor"
    SERVICE = "service"


ADMINISTRATORS: Final = frozenset({Role.SYSTEM_ADMINISTRATOR, Role.SECURITY_ADMINISTRATOR, Role.AUDITOR})
"""The three that watch one another (三权分立)."""

SIGNERS: Final = frozenset(
    {
        Role.DOCTOR,
        Role.REVIEWING_PHARMACIST,
        Role.DISPENSING_PHARMACIST,
        Role.CHECKING_PHARMACIST,
        Role.CLINICAL_PHARMACIST,
        Role.PHARMACY_DIRECTOR,
        Role.INSURANCE_DIRECTOR,
        Role.RADIOGRAPHER,
    }
)
"""Whose word has legal effect: a prescription, a dispensing, a rule, a report."""


class Verb(enum.StrEnum):
    """What is done."""

    CHECK = "check"
    READ = "read"
    WRITE = "write"
    SIGN = "sign"
    APPROVE = "approve"
    ACTIVATE = "activate"
    RUN = "run"
    EXPORT = "export"
    REVIEW = "review"
    USE = "use"


class Resource(enum.StrEnum):
    """What it is done to."""

    ORDER = "order"
    """The check of an order by CDS Hooks."""
    BILL = "bill"
    """The check of a bill: NHSA 3101 to 3103."""
    FACTS = "facts"
    """The check of facts in our own words, and why a rule was silent."""
    DECISION = "decision"
    PRESCRIPTION = "prescription"
    DISPENSING = "dispensing"
    RULE = "rule"
    RELEASE = "release"
    DRILL = "drill"
    RECORD_QUALITY = "record_quality"
    IMAGING = "imaging"
    BOOKING = "booking"
    STOCK = "stock"
    OPERATION = "operation"
    CONFIGURATION = "configuration"
    ACCOUNT = "account"
    CLIENT = "client"
    AUDIT = "audit"
    GLASS = "glass"
    """Access in an emergency, beyond one's own departments."""
    SELF = "self"
    """One's own account: password, second factor, sign-out."""


class Reach(enum.IntEnum):
    """How far a permission goes; a larger one holds the smaller ones."""

    DEPARTMENT = 1
    SITE = 2
    ALL = 3


class Permission(msgspec.Struct, frozen=True):
    """A verb on a resource, written ``read:decision``."""

    verb: Verb
    resource: Resource

    def __str__(self) -> str:
        """Return the word that stands in scopes and in the API's description."""
        return f"{self.verb}:{self.resource}"


class Place(msgspec.Struct, frozen=True):
    """Where a thing belongs; empty words mean that nobody said."""

    site: str = ""
    department: str = ""


ANYWHERE: Final = Place()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a person with roles, or a service account with scopes."""

    subject: str
    """The account's id, never a name."""

    roles: frozenset[Role] = frozenset()
    scopes: frozenset[str] = frozenset()
    site: str = ""
    departments: frozenset[str] = frozenset()
    strong: bool = False
    """Signed in with a second factor."""

    glass_until: dt.datetime | None = None
    """Until when emergency access stands."""

    family: str = ""
    """What sign-out and revocation end together."""


def _grants() -> dict[Role, dict[Permission, Reach]]:
    granted: dict[Role, dict[Permission, Reach]] = {role: {} for role in Role}

    def give(reach: Reach, words: str, *roles: Role) -> None:
        for word in words.split():
            verb, resource = word.split(":")
            permission = Permission(Verb(verb), Resource(resource))
            for role in roles:
                granted[role][permission] = reach

    persons = [role for role in Role if role is not Role.SERVICE]
    care = [role for role in persons if role not in ADMINISTRATORS | {Role.IT_OPERATOR}]
    pharmacists = [role for role in Role if "pharmac" in role]
    directors = (Role.PHARMACY_DIRECTOR, Role.INSURANCE_DIRECTOR)
    insurance = (Role.INSURANCE_OFFICER, Role.INSURANCE_DIRECTOR)
    give(Reach.ALL, "use:self", *persons)
    give(Reach.SITE, "read:rule", *persons)
    give(Reach.SITE, "check:facts", *care)
    give(Reach.DEPARTMENT, "check:order read:decision read:prescription", Role.DOCTOR, Role.NURSE)
    give(Reach.DEPARTMENT, "write:prescription sign:prescription", Role.DOCTOR)
    give(Reach.SITE, "use:glass", Role.DOCTOR, Role.NURSE, *pharmacists)
    give(Reach.SITE, "check:order read:decision read:prescription read:dispensing read:stock", *pharmacists)
    give(
        Reach.SITE,
        "sign:prescription",
        Role.REVIEWING_PHARMACIST,
        Role.CLINICAL_PHARMACIST,
        Role.PHARMACY_DIRECTOR,
    )
    give(Reach.SITE, "write:dispensing write:stock", Role.DISPENSING_PHARMACIST, Role.CHECKING_PHARMACIST)
    give(Reach.SITE, "sign:dispensing", Role.DISPENSING_PHARMACIST, Role.CHECKING_PHARMACIST)
    give(Reach.SITE, "write:rule run:drill read:drill read:release", Role.CLINICAL_PHARMACIST, *insurance)
    give(Reach.SITE, "read:release write:rule run:drill read:drill", Role.PHARMACY_DIRECTOR)
    give(Reach.SITE, "approve:release activate:release", *directors)
    give(Reach.SITE, "review:glass", Role.PHARMACY_DIRECTOR, Role.AUDITOR)
    give(Reach.SITE, "check:bill read:decision export:drill", *insurance)
    give(Reach.SITE, "sign:drill", Role.INSURANCE_DIRECTOR)
    give(Reach.SITE, "read:record_quality write:record_quality read:decision", Role.RECORD_CONTROLLER)
    give(Reach.SITE, "read:record_quality write:record_quality", Role.CODER)
    give(Reach.SITE, "read:imaging write:imaging sign:imaging", Role.RADIOGRAPHER)
    give(Reach.SITE, "read:imaging", Role.DOCTOR)
    give(Reach.SITE, "read:booking write:booking", Role.REGISTRAR)
    give(Reach.SITE, "read:booking", Role.DOCTOR, Role.NURSE)
    give(Reach.ALL, "read:operation read:release", Role.IT_OPERATOR)
    give(Reach.ALL, "read:operation read:configuration write:configuration", Role.SYSTEM_ADMINISTRATOR)
    give(Reach.ALL, "read:release", Role.SYSTEM_ADMINISTRATOR)
    give(Reach.ALL, "read:account write:account read:client write:client", Role.SECURITY_ADMINISTRATOR)
    give(Reach.ALL, "read:glass", Role.SECURITY_ADMINISTRATOR, Role.AUDITOR)
    give(Reach.SITE, "read:glass", Role.PHARMACY_DIRECTOR)
    give(Reach.ALL, "read:audit export:audit", Role.AUDITOR)
    give(Reach.ALL, "review:glass", Role.AUDITOR)
    return granted


GRANTS: Final = _grants()
"""What each role may do, and how far."""

SCOPES: Final = frozenset(
    map(
        str,
        (
            Permission(Verb.CHECK, Resource.ORDER),
            Permission(Verb.CHECK, Resource.BILL),
            Permission(Verb.CHECK, Resource.FACTS),
            Permission(Verb.READ, Resource.DECISION),
            Permission(Verb.READ, Resource.OPERATION),
            Permission(Verb.READ, Resource.BOOKING),
            Permission(Verb.WRITE, Resource.BOOKING),
            Permission(Verb.READ, Resource.STOCK),
            Permission(Verb.WRITE, Resource.STOCK),
        ),
    )
)
"""What a service account can be given; signing, approving and administering are for persons."""

_GLASS: Final = frozenset(
    {Permission(Verb.READ, Resource.DECISION), Permission(Verb.READ, Resource.PRESCRIPTION)}
)


def reach_of(caller: Caller, permission: Permission, at: dt.datetime) -> Reach | None:
    """Return how far the caller may do this; ``None``: not at all."""
    reaches = [GRANTS[role][permission] for role in caller.roles if permission in GRANTS[role]]
    if Role.SERVICE in caller.roles and str(permission) in caller.scopes & SCOPES:
        reaches.append(Reach.SITE)
    if not reaches:
        return None
    broken = caller.glass_until is not None and at < caller.glass_until
    if broken and permission in _GLASS:
        reaches.append(Reach.SITE)
    return max(reaches)


def may(caller: Caller, permission: Permission, at: dt.datetime, place: Place | None = None) -> bool:
    """Tell whether the caller may do this, and to what belongs to ``place`` when one is given."""
    reach = reach_of(caller, permission, at)
    if reach is None:
        return False
    if place is None or reach is Reach.ALL:
        return True
    if place.site != caller.site:
        return False
    # What nobody said a department of belongs to none, whatever a token may list.
    return reach is Reach.SITE or (place.department != "" and place.department in caller.departments)


def role_faults(roles: Iterable[Role]) -> tuple[str, ...]:
    """Return one sentence for each rule that this set of roles breaks."""
    held = frozenset(roles)
    faults = []
    administrators = held & ADMINISTRATORS
    if len(administrators) > 1:
        named = ", ".join(sorted(administrators))
        faults.append(f"{named} watch one another and cannot be one account.")
    if administrators and held - ADMINISTRATORS:
        others = ", ".join(sorted(held - ADMINISTRATORS))
        faults.append(f"An administrator takes no part in care, billing or operation: {others}.")
    if Role.SERVICE in held and len(held) > 1:
        faults.append("A service account holds no role of a person.")
    return tuple(faults)


def needs_second_factor(roles: Iterable[Role]) -> bool:
    """Tell whether one of the roles signs or administers (GB/T 22239-2019 8.1.4.1 d)."""
    return not (SIGNERS | ADMINISTRATORS).isdisjoint(roles)


def approval_faults(authors: Iterable[str], approver: str, signed: str, content: str) -> tuple[str, ...]:
    """Return why an approval may not count: the approver wrote it, or approved something else.

    ``authors`` are the ids of all who wrote a part of it, ``signed`` is the digest that was approved,
    ``content`` that of what shall get in force.
    """
    faults = []
    if not approver:
        faults.append("An approval names who approves.")
    if approver in frozenset(authors):
        faults.append("Who wrote a change cannot approve it: ask a second person.")
    if signed != content:
        faults.append("The content changed after it was approved: approve it again.")
    return tuple(faults)


LONGEST_GLASS: Final = dt.timedelta(hours=4)
_SHORTEST_REASON: Final = 10


def glass_faults(reason: str, lasts: dt.timedelta) -> tuple[str, ...]:
    """Return what is wrong with a wish for emergency access: it needs a reason and an end."""
    faults = []
    if len(reason.strip()) < _SHORTEST_REASON:
        faults.append(f"The reason needs at least {_SHORTEST_REASON} characters.")
    if not dt.timedelta(0) < lasts <= LONGEST_GLASS:
        faults.append(f"Emergency access lasts at most {LONGEST_GLASS} and needs an end.")
    return tuple(faults)
