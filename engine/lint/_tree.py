"""Walk the trees of a rule, for the checks beside this file."""

from __future__ import annotations

import string
from collections.abc import Iterator

from engine.decision import Words
from engine.rule import Aggregate, ColumnName, Leaf, Name, Node, Not, ParameterName, Rule, Value

__all__ = ["condition_names", "leaves", "names", "nodes", "parameters", "trees", "words"]


def nodes(node: Node) -> Iterator[Node]:
    """Yield a condition and all below it."""
    yield node
    if isinstance(node, Not):
        yield from nodes(node.node)
    elif not isinstance(node, Leaf):
        for child in node.nodes:
            yield from nodes(child)


def leaves(node: Node) -> Iterator[Leaf]:
    """Yield the comparisons of a condition."""
    return (one for one in nodes(node) if isinstance(one, Leaf))


def trees(rule: Rule) -> Iterator[Node]:
    """Yield every condition tree of a rule: ``when`` and each ``where``."""
    yield rule.when
    for _, let in rule.let:
        if isinstance(let, Aggregate) and let.where is not None:
            yield let.where


def _values(rule: Rule) -> Iterator[Value]:
    for tree in trees(rule):
        for leaf in leaves(tree):
            yield leaf.name
            if leaf.value is not None:
                yield leaf.value
            yield from (value for _, value in leaf.more)
    for _, let in rule.let:
        if isinstance(let, Aggregate):
            yield from (value for value in (let.field, let.by) if value is not None)
        else:
            yield from let.of


def condition_names(rule: Rule) -> frozenset[str]:
    """Return the names that conditions and derived values of a rule read."""
    return frozenset(value.name for value in _values(rule) if isinstance(value, Name))


def words(rule: Rule) -> Iterator[tuple[str, Words]]:
    """Yield every text of a rule with its path."""
    yield "title", rule.title
    yield "then.message", rule.then.message
    if rule.then.advice is not None:
        yield "then.advice", rule.then.advice
    for i, suggestion in enumerate(rule.then.suggestions):
        yield f"then.suggestions[{i}].label", suggestion.label
    if isinstance(rule.known_limits, Words):
        yield "known_limits", rule.known_limits


def names(rule: Rule) -> frozenset[str]:
    """Return every name that a rule uses, in its texts too."""
    found = set(condition_names(rule))
    for _, text in words(rule):
        for one in (text.zh, text.en):
            try:
                found |= {name for _, name, _, _ in string.Formatter().parse(one) if name}
            except ValueError:  # a brace out of place is reported when the rule is compiled
                continue
    found.add(rule.then.amount)
    if isinstance(rule.then.level, ColumnName):
        found.add(rule.then.level.name)
    if rule.join is not None:
        found |= {name.name for _, name in rule.join.on}
    return frozenset(found)


def parameters(rule: Rule) -> frozenset[str]:
    """Return the parameters that a rule uses."""
    return frozenset(value.parameter for value in _values(rule) if isinstance(value, ParameterName))
