"""Hold our evaluator against the business-rules package on the subset that both speak."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from business_rules import run_all
from business_rules.actions import BaseActions, rule_action
from business_rules.engine import check_conditions_recursively
from business_rules.operators import BooleanType, NumericType, SelectMultipleType, SelectType, StringType
from business_rules.variables import BaseVariables, rule_variable
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decision import Stage
from engine.evaluate import evaluate
from engine.facts import Facts, Medication

TEXTS = {"m.name": "name", "m.route": "route", "m.form": "form"}
NUMBERS = {"m.quantity": "quantity", "m.times_per_day": "times_per_day"}
BOOLEANS = {"m.as_needed": "as_needed", "m.discharge": "discharge"}
SETS = {"m.agents": "agents", "m.ingredients": "ingredients"}

texts = st.text("abAB阿司", max_size=4)
numbers = st.one_of(st.integers(-5, 5), st.integers(-1_000_000, 1_000_000)).map(lambda n: n / 1000)
elements = st.sampled_from(["nsaid", "ssri", "warfarin", "抗凝药"])
element_lists = st.lists(elements, unique=True, max_size=4)
patterns = st.sampled_from(["a", "^a", "b$", "^$", "[ab]+", "a.*b", "A|阿", "^阿司$", "a?B"])


def leaf(
    names: dict[str, str], operators: list[str], values: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda name, operator, value: {"name": name, "operator": operator, "value": value},
        st.sampled_from(sorted(names)),
        st.sampled_from(operators),
        values,
    )


leaves = st.one_of(
    leaf(TEXTS, ["equal_to", "equal_to_case_insensitive", "starts_with", "ends_with", "contains"], texts),
    leaf(TEXTS, ["matches_regex"], patterns),
    leaf(TEXTS, ["non_empty"], st.just("")),
    leaf(
        NUMBERS,
        ["equal_to", "greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to"],
        numbers,
    ),
    leaf(BOOLEANS, ["is_true", "is_false"], st.just("")),
    leaf(
        SETS,
        [
            "contains_all",
            "is_contained_by",
            "shares_at_least_one_element_with",
            "shares_exactly_one_element_with",
            "shares_no_elements_with",
        ],
        element_lists,
    ),
    # One text against a set: their select type, our `includes` (their `does_not_contain`, our `not`).
    leaf(SETS, ["includes", "does_not_contain"], elements),
)
trees = st.recursive(
    leaves,
    lambda node: st.one_of(
        st.lists(node, min_size=1, max_size=4).map(lambda nodes: {"all": nodes}),
        st.lists(node, min_size=1, max_size=4).map(lambda nodes: {"any": nodes}),
    ),
    max_leaves=8,
)
medications = st.builds(
    Medication,
    id=st.just("m1"),
    **dict.fromkeys(TEXTS.values(), texts),
    **dict.fromkeys(NUMBERS.values(), numbers),
    **dict.fromkeys(BOOLEANS.values(), st.booleans()),
    **dict.fromkeys(SETS.values(), element_lists.map(frozenset)),
)


def ours(tree: Any) -> Any:
    """Return a tree in our words."""
    if "operator" not in tree:
        return {word: [ours(child) for child in children] for word, children in tree.items()}
    if tree["operator"] == "does_not_contain":
        return {"not": {**tree, "operator": "includes"}}
    return tree


def theirs(tree: Any) -> Any:
    """Return a tree in their words: a set asked for one element is a variable of another type."""
    if "operator" not in tree:
        return {word: [theirs(child) for child in children] for word, children in tree.items()}
    if tree["operator"] in ("includes", "does_not_contain"):
        operator = "contains" if tree["operator"] == "includes" else "does_not_contain"
        return {"name": f"{tree['name']} select", "operator": operator, "value": tree["value"]}
    return tree


def variables_of(medication: Medication) -> Any:
    """Return the package's variables over one medication."""
    members: dict[str, Any] = {}
    types = [(TEXTS, StringType), (NUMBERS, NumericType), (BOOLEANS, BooleanType), (SETS, SelectMultipleType)]
    for names, type_ in types:
        for name, field in names.items():
            members[name] = rule_variable(type_)(lambda _, field=field: getattr(medication, field))
    for name, field in SETS.items():
        members[f"{name} select"] = rule_variable(SelectType)(
            lambda _, field=field: getattr(medication, field)
        )
    return type("Variables", (BaseVariables,), members)()


class Counting(BaseActions):  # type: ignore[misc]
    """Count how often a rule acts."""

    def __init__(self) -> None:
        self.acted = 0

    @rule_action()
    def act(self) -> None:
        self.acted += 1


@settings(max_examples=300)
@given(tree=trees, medication=medications)
def test_known_facts_give_the_answer_of_business_rules(
    world: SimpleNamespace, tree: Any, medication: Medication
) -> None:
    """Judge the same tree over the same known facts by both.

    Left out on purpose, because there the two differ:

    - unknown facts: the package raises on ``None`` numbers and takes a ``None`` text for an empty one;
    - ``not``, dates, intervals, other facts as values, ``is_one_of`` and the like: it has no such words;
    - sets: it compares elements without regard to case, we compare codes exactly (one case here), and it
      counts a listed element twice in ``shares_exactly_one_element_with`` (unique lists here);
    - patterns: it uses Python's ``re``, we use RE2 (plain patterns and texts without line ends here);
    - numbers: it goes through Decimal with a tolerance of 1e-6, we through floats with the same one; both
      agree wherever numbers differ by more than the noise of a float (multiples of 0.001 up to 1000 here).
    """
    rule = {
        "id": "shared.tree",
        "title": {"zh": "共有", "en": "Shared"},
        "status": "active",
        "version": 1,
        "valid_from": "2025-01-01",
        "stages": ["order_sign"],
        "for_each": {"m": "medication"},
        "when": ours(tree),
        "then": {"level": "note", "message": {"zh": "有", "en": "Yes"}},
    }
    snapshot = world.snapshot_of([rule], {})
    decision = evaluate(snapshot, Facts(medications=(medication,)), world.at, Stage.ORDER_SIGN)
    assert decision.not_checked == ()
    variables, actions = variables_of(medication), Counting()
    expected = bool(check_conditions_recursively(theirs(tree), variables))
    assert bool(decision.findings) is expected
    conditions = theirs(tree)
    run_all([{"conditions": conditions, "actions": [{"name": "act"}]}], variables, actions)
    assert actions.acted == len(decision.findings)
