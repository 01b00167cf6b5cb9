"""State what the user is about to do and what the mapping returns."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from adapters.emr.fhir import Node, Note
from engine.facts import Facts

__all__ = ["Action", "Mapped"]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What the user is about to do, from the hook's context; ``prefix`` is its place in the request."""

    patient_id: str | None = None
    visit_id: str | None = None
    drafts: tuple[tuple[Node, str], ...] = ()  # (resource, path): draft orders, the medication, appointments
    selections: frozenset[str] | None = None  # order-select: only these are in focus
    resources: Mapping[str, Node] = {}  # by fullUrl, for references between the drafts
    expects: frozenset[str] = frozenset()  # prefetch keys of the hook: one that is missing is noted
    everything: bool = False  # patient-view, encounter-discharge: all is in focus


class Mapped(msgspec.Struct, frozen=True):
    """The facts, what was noted on the way, and which drafts a suggestion may take away."""

    facts: Facts
    notes: tuple[Note, ...]
    removable: frozenset[str]  # ids of drafts that have an id of their own
