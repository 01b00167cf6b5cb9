"""Tell conditions for the trace: every finding carries it, so what was told before is told again."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from engine.compile.scope import Env
from engine.decision import Step

__all__ = ["Few", "Plain", "Telling", "together", "told"]

Tell = Callable[[Env], Step]
_Read = Callable[[Env], Any]
_MOST_HELD = 256


class Few(NamedTuple):
    """How to tell a condition about a fact that takes few values, perhaps beside a parameter."""

    tell: Tell
    read: _Read
    other: _Read | None


class Plain(NamedTuple):
    """How to tell a condition that compares the plain fact of an item with a constant."""

    path: str
    name: str
    operator: str
    get: Callable[[Any], Any]
    slot: int
    apply: Callable[..., bool]
    constant: Any


class Group:
    """Conditions that stand one after another and rest on the same few facts: told by one look-up."""

    __slots__ = ("_held", "_others", "_reads", "_tells")

    def __init__(self, members: Iterable[Few]) -> None:
        kept = tuple(members)
        self._tells = tuple(one.tell for one in kept)
        self._reads = tuple(dict.fromkeys(one.read for one in kept))
        self._others = tuple(dict.fromkeys(one.other for one in kept if one.other is not None))
        self._held: dict[tuple[Any, ...], tuple[list[Any], list[Step]]] = {}

    def steps(self, env: Env) -> list[Step]:
        """Return the steps, those of before where the facts and the parameters are the same."""
        key = tuple([read(env) for read in self._reads])
        others = [other(env) for other in self._others]
        found = self._held.get(key)
        if found is not None and all(map(operator.is_, found[0], others)):
            return found[1]
        steps = [tell(env) for tell in self._tells]
        if len(self._held) >= _MOST_HELD:
            self._held.clear()
        self._held[key] = others, steps
        return steps


Telling = Tell | Plain | Few | Group


def together(tellings: Iterable[Telling]) -> tuple[Telling, ...]:
    """Join what can be told by one look-up."""
    joined: list[Telling] = []
    run: list[Few] = []
    for one in tellings:
        if isinstance(one, Few):
            run.append(one)
            continue
        if run:
            joined.append(Group(run))
            run = []
        joined.append(one)
    if run:
        joined.append(Group(run))
    return tuple(joined)


def told(tellings: tuple[Telling, ...], env: Env) -> list[Step]:
    """Tell conditions as they stand now; in one loop, since every finding carries its trace."""
    steps: list[Step] = []
    for telling in tellings:
        if isinstance(telling, Group):
            steps += telling.steps(env)
        elif isinstance(telling, Plain):
            path, name, word, get, slot, apply, constant = telling
            value = get(env[slot])
            if value is None:
                steps.append(Step(path, name, word, None, None, constant, "", (name,)))
            else:
                steps.append(Step(path, name, word, apply(value, constant), value, constant))
        elif isinstance(telling, Few):
            steps.append(telling.tell(env))
        else:
            steps.append(telling(env))
    return steps
