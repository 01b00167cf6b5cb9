"""Every word of the rule language means what its own examples say."""

from __future__ import annotations

import datetime as dt
import itertools
from decimal import Decimal
from typing import Any

import pytest

from engine.operators import OPERATORS, Operator
from engine.vocabulary import Type

EXAMPLES = [
    pytest.param(operator, operands, expected, id=f"{name}-{i}")
    for name, operator in OPERATORS.items()
    for i, (operands, expected) in enumerate(operator.examples)
]
SAMPLES: dict[Type, Any] = {
    Type.TEXT: "a",
    Type.NUMBER: 2.0,
    Type.MONEY: Decimal("2.50"),
    Type.DATE: dt.date(2026, 3, 1),
    Type.MOMENT: dt.datetime(2026, 3, 1, 10),
    Type.YES_NO: True,
    Type.TEXT_SET: frozenset({"a"}),
    Type.INTERVAL: (dt.datetime(2026, 3, 1), dt.datetime.max),
    Type.NUMBER_PAIR: (1.0, 3.0),
}
STRICT = [operator for operator in OPERATORS.values() if operator.strict]


@pytest.mark.parametrize(("operator", "operands", "expected"), EXAMPLES)
def test_an_example_gives_what_it_says(operator: Operator, operands: tuple[Any, ...], expected: Any) -> None:
    got = operator(*operands)
    assert got == pytest.approx(expected) if isinstance(expected, float) else got == expected


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.name)
def test_an_operator_says_both_outcomes_and_the_unknown_in_its_examples(operator: Operator) -> None:
    outcomes = {str(expected) for _, expected in operator.examples}
    if operator.condition:
        assert outcomes >= {"True", "False"}
    if operator.strict:
        assert any(None in operands and expected is None for operands, expected in operator.examples)
    assert all((operator.zh, operator.en, operator.doc))


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=lambda operator: operator.name)
def test_every_signature_can_be_applied(operator: Operator) -> None:
    for signature in operator.signatures:
        operands = [SAMPLES[type_] for type_ in signature if type_ in SAMPLES]
        if len(operands) == len([type_ for type_ in signature if type_ is not Type.NOTHING]):
            assert operator(*operands) is not None


@pytest.mark.parametrize("operator", STRICT, ids=lambda operator: operator.name)
def test_an_unknown_operand_makes_the_outcome_unknown(operator: Operator) -> None:
    signature = [type_ for type_ in operator.signatures[0] if type_ is not Type.NOTHING]
    known = [SAMPLES[type_] for type_ in signature]
    for holes in itertools.product([True, False], repeat=len(known)):
        operands = [value if whole else None for value, whole in zip(known, holes, strict=True)]
        assert (operator(*operands) is None) is (None in operands)
