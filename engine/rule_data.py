"""Export the vocabulary of rules in the shape of ``business_rules.export_rule_data``.

The package's own export function writes it, from real ``BaseVariables`` and ``BaseActions`` classes built
here, so an editor made for that package can read it. What the package has no word for (dates, periods, sets
of our own operators, derived values) stands beside it under ``extensions``. Nothing of this is on the way of
a decision.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any, Literal

from business_rules import export_rule_data
from business_rules.actions import BaseActions, rule_action
from business_rules.fields import FIELD_NO_INPUT, FIELD_NUMERIC, FIELD_SELECT_MULTIPLE, FIELD_TEXT
from business_rules.operators import (
    BaseType,
    BooleanType,
    NumericType,
    SelectMultipleType,
    StringType,
    type_operator,
)
from business_rules.variables import BaseVariables, rule_variable

from engine.decision import Certainty, Level, Words
from engine.facts import COLLECTIONS, SINGLES
from engine.operators import OPERATORS, Operator
from engine.rule import AGGREGATES
from engine.vocabulary import FactWord, Type, words_of

__all__ = ["Language", "rule_data"]

Language = Literal["zh", "en"]

_INPUTS = {
    Type.TEXT: FIELD_TEXT,
    Type.NUMBER: FIELD_NUMERIC,
    Type.MONEY: FIELD_NUMERIC,
    Type.TEXT_SET: FIELD_SELECT_MULTIPLE,
    Type.NOTHING: FIELD_NO_INPUT,
}
_SHARED: dict[Type, type] = {
    Type.TEXT: StringType,
    Type.NUMBER: NumericType,
    Type.MONEY: NumericType,
    Type.YES_NO: BooleanType,
    Type.TEXT_SET: SelectMultipleType,
}


def _finding(self: Any, level: str, message_zh: str, message_en: str) -> None:
    """Say what was found."""


def _certainty(self: Any, certainty: str) -> None:
    """Say how sure it is."""


def _behaviour(self: Any, behaviour: str) -> None:
    """Name the insurer's class of behaviour."""


def _amount(self: Any, amount: str) -> None:
    """Name the money fact that it is about."""


def _advice(self: Any, advice_zh: str, advice_en: str) -> None:
    """Say what to do instead."""


def _suggest_removal(self: Any, label_zh: str, label_en: str, remove: str) -> None:
    """Offer to take a bound item away."""


# The package looks for the names of parameters in an action's code; what a rule says, the engine says.
_ACTIONS: tuple[tuple[Any, Words, tuple[Words, ...]], ...] = (
    (
        _finding,
        Words("给出结论", "Give a finding"),
        (
            Words("级别", "Level"),
            Words("中文消息", "Message in Chinese"),
            Words("英文消息", "Message in English"),
        ),
    ),
    (_certainty, Words("疑似程度", "Certainty"), (Words("疑似程度", "Certainty"),)),
    (_behaviour, Words("违规行为", "Behaviour"), (Words("违规行为", "Behaviour"),)),
    (_amount, Words("涉及金额", "Amount"), (Words("金额事实", "A money fact"),)),
    (_advice, Words("建议", "Advice"), (Words("中文建议", "In Chinese"), Words("英文建议", "In English"))),
    (
        _suggest_removal,
        Words("建议取消", "Suggest to remove"),
        (
            Words("中文按钮", "Label in Chinese"),
            Words("英文按钮", "Label in English"),
            Words("取消哪一项", "Which bound item"),
        ),
    ),
)


def rule_data(language: Language = "zh") -> dict[str, Any]:
    """Return variables, actions and operators by type, with our own words under ``extensions``.

    A variable is called as in a rule (``patient.sex``; items by the name of their collection, for which a
    rule's own word stands once bound).
    """
    dated = {type_: _own_type(type_, language) for type_ in (Type.DATE, Type.MOMENT, Type.INTERVAL)}
    data: dict[str, Any] = export_rule_data(_variables(language, {**_SHARED, **dated}), _actions(language))
    by_type = data["variable_type_operators"]
    for own in dated.values():
        by_type[own.name] = own.get_all_operators()
    for operators in by_type.values():
        for one in operators:
            if one["name"] in OPERATORS:
                one["label"] = getattr(OPERATORS[one["name"]], language)
    data["extensions"] = _extensions(language)
    return data


def _variables(language: Language, field_types: dict[Type, Any]) -> type:
    members = {
        f"{kind}.{field}": _variable(word, field_types[word.type], language)
        for kind in (*SINGLES, *COLLECTIONS)
        for field, word in words_of(kind).items()
    }
    return type("Facts", (BaseVariables,), members)


def _variable(word: FactWord, type_: Any, language: Language) -> Any:
    at = ("zh", "en").index(language)
    options = [{"name": code, "label": said[at]} for code, said in word.label.options.items()]

    def read(self: Any) -> Any:
        return getattr(self, word.field)

    return rule_variable(type_, label=getattr(word.label, language), options=options)(read)


def _actions(language: Language) -> type:
    members = {}
    for action, label, said in _ACTIONS:
        code = action.__code__
        params = [
            {"name": name, "label": getattr(words, language), "fieldType": FIELD_TEXT}
            for name, words in zip(code.co_varnames[1:], said, strict=True)
        ]
        own = types.FunctionType(code, globals())  # the decorator writes its label into the function
        name = action.__name__.removeprefix("_")
        members[name] = rule_action(label=getattr(label, language), params=params)(own)
    return type("Then", (BaseActions,), members)


def _own_type(type_: Type, language: Language) -> Any:
    """Return a type of ours as the package wants types: a class whose methods are operators."""
    members: dict[str, Any] = {
        "name": str(type_),
        "_assert_valid_value_and_cast": lambda _, value: value,
    }
    for operator in _conditions(type_):
        members[operator.name] = _method(operator, type_, language)
    return type(f"{type_.name.title()}Type", (BaseType,), members)


def _method(operator: Operator, type_: Type, language: Language) -> Any:
    def compare(self: Any, *others: Any) -> Any:
        return operator(self.value, *others)

    return type_operator(_input(operator, type_), label=getattr(operator, language))(compare)


def _conditions(type_: Type) -> Iterator[Operator]:
    for operator in OPERATORS.values():
        if operator.condition and any(signature[0] is type_ for signature in operator.signatures):
            yield operator


def _input(operator: Operator, type_: Type) -> str:
    right = next(signature[1] for signature in operator.signatures if signature[0] is type_)
    return str(_INPUTS.get(right, right))


def _extensions(language: Language) -> dict[str, Any]:
    """Return what the package's shape cannot hold: every operator by our own types, derivations, levels."""
    operators = {
        str(type_): [
            {
                "name": operator.name,
                "label": getattr(operator, language),
                "input_type": _input(operator, type_),
                "takes": [
                    list(map(str, signature[1:]))
                    for signature in operator.signatures
                    if signature[0] is type_
                ],
                "more": list(operator.more),
                "doc": operator.doc,
            }
            for operator in _conditions(type_)
        ]
        for type_ in Type
        if type_ not in (Type.NOTHING, Type.NUMBER_PAIR)
    }
    return {
        "types": {
            f"{kind}.{field}": str(word.type)
            for kind in (*SINGLES, *COLLECTIONS)
            for field, word in words_of(kind).items()
        },
        "units": {
            f"{kind}.{field}": word.label.unit
            for kind in (*SINGLES, *COLLECTIONS)
            for field, word in words_of(kind).items()
            if word.label.unit
        },
        "collections": list(COLLECTIONS),
        "connectives": ["all", "any", "not"],
        "value_forms": ["name", "parameter"],
        "type_operators": operators,
        "value_operators": [
            {"name": operator.name, "label": getattr(operator, language), "doc": operator.doc}
            for operator in OPERATORS.values()
            if not operator.condition
        ],
        "aggregates": list(AGGREGATES),
        "levels": [str(level) for level in Level],
        "certainties": [str(certainty) for certainty in Certainty],
    }
