"""R15: the conditions of one ``all`` can hold together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from engine.errors import RuleError
from engine.lint._tree import nodes, trees
from engine.operators._operator import EPSILON
from engine.release import Release
from engine.rule import AllOf, Constant, Leaf

__all__ = ["CODE", "check"]

CODE = "R15"

_SAID = {"is_true": "is_false", "is_known": "is_unknown"}


def check(release: Release) -> Iterator[RuleError]:
    """Yield each two comparisons of a fact with constants, in one ``all``, that exclude each other."""
    for rule in release.rules:
        for tree in trees(rule):
            for node in nodes(tree):
                if isinstance(node, AllOf):
                    leaves = [leaf for leaf in node.nodes if isinstance(leaf, Leaf)]
                    for first, second in itertools.combinations(leaves, 2):
                        if first.name == second.name and _exclude(first, second):
                            said = f"{_said(first)}, {_said(second)}"
                            yield RuleError(
                                f"{rule.place}: {second.path}",
                                f"can never hold together with {first.path}: {said}.",
                                "Take one away, or put them under any.",
                                CODE,
                            )


def _said(leaf: Leaf) -> str:
    value = f" {leaf.value.value}" if isinstance(leaf.value, Constant) else ""
    return f"{leaf.name.name} {leaf.operator}{value}"


def _exclude(first: Leaf, second: Leaf) -> bool:
    if _SAID.get(first.operator) == second.operator or _SAID.get(second.operator) == first.operator:
        return True
    one, other = _range(first), _range(second)
    if one is not None and other is not None:
        return max(one[0], other[0]) > min(one[1], other[1])
    texts, more = _texts(first), _texts(second)
    return texts is not None and more is not None and texts.isdisjoint(more)


def _range(leaf: Leaf) -> tuple[float, float] | None:
    """Return the numbers that a comparison lets through."""
    value: Any = leaf.value.value if isinstance(leaf.value, Constant) else None
    if leaf.operator == "between" and isinstance(value, list | tuple) and len(value) == 2:
        return float(value[0]) - EPSILON, float(value[1]) + EPSILON
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return {
        "equal_to": (value - EPSILON, value + EPSILON),
        "greater_than": (math.nextafter(value, math.inf), math.inf),
        "greater_than_or_equal_to": (value - EPSILON, math.inf),
        "less_than": (-math.inf, math.nextafter(value, -math.inf)),
        "less_than_or_equal_to": (-math.inf, value + EPSILON),
    }.get(leaf.operator)


def _texts(leaf: Leaf) -> frozenset[str] | None:
    """Return the texts that a comparison lets through."""
    value: Any = leaf.value.value if isinstance(leaf.value, Constant) else None
    if leaf.operator == "equal_to" and isinstance(value, str):
        return frozenset({value})
    if leaf.operator == "is_one_of" and isinstance(value, list | tuple):
        return frozenset(map(str, value))
    return None
