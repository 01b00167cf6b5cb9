"""Load the same rules into RuleWard and its peers, each behind one call: visit -> the (line, rule) pairs
found.

A line is a ``medication``: item code -> ``code``, category -> ``form``, department of the line ->
``group``, quantity -> ``quantity``, dose -> ``times_per_day``, days -> ``course_days``, route -> ``route``;
age and sex are the patient's, insurance the visit's, and *diagnoses contains* is a count over the
diagnoses. What a peer wants its visits to look like is prepared outside the timing.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._engine_workload import Atom, RuleSpec, VisitSpec
from engine.decision import Decision, Stage
from engine.evaluate import evaluate
from engine.facts import Diagnosis, Facts, Medication, Patient, Visit
from engine.rule import read_rule
from engine.snapshot import Snapshot, build_snapshot

__all__ = ["PEERS", "Loaded", "Peer", "missing_packages", "ruleward_snapshot"]

_AT = dt.datetime(2026, 3, 1, 10)
_FACTS = {
    "age": "patient.age_years",
    "sex": "patient.sex",
    "insurance": "visit.insurance",
    "code": "line.code",
    "category": "line.form",
    "department": "line.group",
    "quantity": "line.quantity",
    "dose": "line.times_per_day",
    "days": "line.course_days",
    "route": "line.route",
}
_SIGNS = {
    "equal_to": "==",
    "not_equal_to": "!=",
    "greater_than": ">",
    "greater_than_or_equal_to": ">=",
    "less_than": "<",
    "less_than_or_equal_to": "<=",
}


class Loaded:
    """Rules held by one engine: ``prepare`` shapes a visit, ``run`` judges it, ``pairs`` reads the answer."""

    def __init__(
        self,
        prepare: Callable[[VisitSpec], Any],
        run: Callable[[Any], Any],
        pairs: Callable[[Any], set[tuple[str, str]]],
    ) -> None:
        self.prepare, self.run, self.pairs = prepare, run, pairs


Peer = Callable[[Sequence[RuleSpec]], Loaded]


# -- RuleWard -----------------------------------------------------------------------------------------------


def ruleward_snapshot(rules: Sequence[RuleSpec]) -> Snapshot:
    """Read and compile the rules as a release would."""
    read = []
    for spec in rules:
        rule, errors = read_rule(_page(spec), spec.id)
        if rule is None or errors:
            raise ValueError(errors)
        read.append(rule)
    snapshot, errors = build_snapshot("workload", read, {}, {})
    if errors:
        raise ValueError(errors)
    return snapshot


def _page(spec: RuleSpec) -> dict[str, Any]:
    lets: dict[str, Any] = {}
    nodes: list[dict[str, Any]] = []
    if spec.key is not None:
        nodes.append({"name": _FACTS[spec.key[0]], "operator": "equal_to", "value": spec.key[1]})
    for clause in spec.clauses:
        leaves = [_leaf(atom, lets) for atom in clause]
        nodes.append(leaves[0] if len(leaves) == 1 else {"any": leaves})
    return {
        "id": spec.id,
        "title": {"zh": f"规则{spec.id}", "en": f"Rule {spec.id}"},
        "status": "active",
        "version": 1,
        "valid_from": "2025-01-01",
        "stages": ["order_sign"],
        "for_each": {"line": "medication"},
        "let": lets,
        "when": {"all": nodes},
        "then": {
            "level": "warn",
            "message": {"zh": "{line.name} 不符合要求", "en": "{line.name} does not meet the requirement"},
        },
        "references": [{"title": "benchmark", "read_on": "2026-01-01"}],
    }


def _leaf(atom: Atom, lets: dict[str, Any]) -> dict[str, Any]:
    if atom.operator != "has":
        return {"name": _FACTS[atom.field], "operator": atom.operator, "value": atom.value}
    word = f"n{len(lets)}"
    where = {"name": "d.code", "operator": "equal_to", "value": atom.value}
    lets[word] = {"count": "diagnosis", "as": "d", "where": where}
    return {"name": word, "operator": "greater_than", "value": 0}


def _ruleward(rules: Sequence[RuleSpec]) -> Loaded:
    snapshot = ruleward_snapshot(rules)

    def prepare(visit: VisitSpec) -> Facts:
        patient = visit.patient
        return Facts(
            patient=Patient(age_years=patient["age"], sex=patient["sex"]),
            visit=Visit(insurance=patient["insurance"]),
            diagnoses=tuple(Diagnosis(id=f"d{i}", code=code) for i, code in enumerate(patient["diagnoses"])),
            medications=tuple(
                Medication(
                    id=line["id"],
                    name=line["code"],
                    code=line["code"],
                    form=line["category"],
                    group=line["department"],
                    route=line["route"],
                    quantity=line["quantity"],
                    times_per_day=line["dose"],
                    course_days=line["days"],
                )
                for line in visit.lines
            ),
        )

    def pairs(decision: Decision) -> set[tuple[str, str]]:
        if decision.not_checked or decision.ran != decision.required:
            raise ValueError("something was not checked")
        return {(finding.subjects[0].id, finding.rule) for finding in decision.findings}

    return Loaded(prepare, lambda facts: evaluate(snapshot, facts, _AT, Stage.ORDER_SIGN), pairs)


# -- zen-engine ---------------------------------------------------------------------------------------------


def _zen(rules: Sequence[RuleSpec], *, trace: bool = False) -> Loaded:
    """One decision table that collects, run once a visit in a loop over its lines.

    The content is compiled first (``ZenDecisionContent``): only then does zen index the equality columns,
    which at 10 000 rules is forty times faster. Plain comparisons stand in columns; ORs and second bounds on
    one field stand in an expression column.
    """
    import zen

    fields = (
        "code",
        "category",
        "age",
        "sex",
        "quantity",
        "dose",
        "days",
        "department",
        "insurance",
        "route",
    )
    inputs = [{"id": name, "name": name, "field": name} for name in fields]
    inputs.append({"id": "more", "name": "more"})
    table = {
        "hitPolicy": "collect",
        "inputs": inputs,
        "outputs": [{"id": "rule", "name": "rule", "field": "rule"}],
        "rules": [_zen_row(spec) for spec in rules],
        "inputField": "lines",
        "outputPath": "hits",
        "executionMode": "loop",
        "passThrough": False,
    }
    graph = {
        "nodes": [
            {"id": "in", "type": "inputNode", "name": "in"},
            {"id": "table", "type": "decisionTableNode", "name": "table", "content": table},
            {"id": "out", "type": "outputNode", "name": "out"},
        ],
        "edges": [
            {"id": "1", "sourceId": "in", "targetId": "table", "type": "edge"},
            {"id": "2", "sourceId": "table", "targetId": "out", "type": "edge"},
        ],
    }
    content = zen.ZenDecisionContent(json.dumps(graph, ensure_ascii=False))
    decision = zen.ZenEngine().create_decision(content)

    def prepare(visit: VisitSpec) -> dict[str, Any]:
        return {"lines": [{**visit.patient, **line} for line in visit.lines]}

    def run(context: dict[str, Any]) -> Any:
        return (context, decision.evaluate(context, {"trace": True} if trace else None))

    def pairs(said: Any) -> set[tuple[str, str]]:
        context, answer = said
        return {
            (line["id"], hit["rule"])
            for line, hits in zip(context["lines"], answer["result"]["hits"], strict=True)
            for hit in hits
        }

    return Loaded(prepare, run, pairs)


def _zen_row(spec: RuleSpec) -> dict[str, str]:
    row = {"_id": spec.id, "rule": json.dumps(spec.id)}
    if spec.key is not None:
        row[spec.key[0]] = json.dumps(spec.key[1], ensure_ascii=False)
    more = []
    for clause in spec.clauses:
        atom = clause[0]
        if len(clause) == 1 and atom.operator != "has" and atom.field not in row:
            value = json.dumps(atom.value, ensure_ascii=False)
            sign = _SIGNS[atom.operator]
            row[atom.field] = (
                value if sign == "==" else f"$ != {value}" if sign == "!=" else f"{sign} {value}"
            )
        else:
            more.append("(" + " or ".join(map(_zen_atom, clause)) + ")")
    if more:
        row["more"] = " and ".join(more)
    return row


def _zen_atom(atom: Atom) -> str:
    value = json.dumps(atom.value, ensure_ascii=False)
    if atom.operator == "has":
        return f"contains(diagnoses, {value})"
    return f"{atom.field} {_SIGNS[atom.operator]} {value}"


# -- CLIPS --------------------------------------------------------------------------------------------------


def _clips(rules: Sequence[RuleSpec]) -> Loaded:
    """A rule over a line and its patient each; a hit calls back into Python; facts are retracted after."""
    import clips

    environment = clips.Environment()
    hits: list[tuple[str, str]] = []
    environment.define_function(lambda line, rule: hits.append((line, rule)), name="hit")
    environment.build("(deftemplate patient (slot age) (slot sex) (slot insurance) (multislot diagnoses))")
    environment.build(
        "(deftemplate line (slot id) (slot code) (slot category) (slot department) (slot route)"
        " (slot quantity) (slot dose) (slot days))"
    )
    for spec in rules:
        environment.build(_clips_rule(spec))
    patient_template = environment.find_template("patient")
    line_template = environment.find_template("line")

    def run(visit: VisitSpec) -> list[tuple[str, str]]:
        hits.clear()
        facts = [patient_template.assert_fact(**visit.patient)]
        facts += [line_template.assert_fact(**line) for line in visit.lines]
        environment.run()
        for fact in facts:
            fact.retract()
        return list(hits)

    return Loaded(lambda visit: visit, run, set)


def _clips_rule(spec: RuleSpec) -> str:
    patient = ["age", "sex", "insurance"]
    line = ["department", "route", "quantity", "dose", "days"]
    used = {atom.field for clause in spec.clauses for atom in clause}
    key = f"({spec.key[0]} {json.dumps(spec.key[1], ensure_ascii=False)})" if spec.key else ""
    line_slots = " ".join(f"({name} ?{name})" for name in line if name in used)
    patient_slots = " ".join(f"({name} ?{name})" for name in patient if name in used)
    if "diagnoses" in used:
        patient_slots += " (diagnoses $?diagnoses)"
    tests = " ".join(
        _clips_atom(clause[0]) if len(clause) == 1 else f"(or {' '.join(map(_clips_atom, clause))})"
        for clause in spec.clauses
    )
    return (
        f"(defrule {spec.id} (line (id ?id) {key} {line_slots}) (patient {patient_slots})"
        f' (test (and TRUE {tests})) => (hit ?id "{spec.id}"))'
    )


def _clips_atom(atom: Atom) -> str:
    value = json.dumps(atom.value, ensure_ascii=False)
    if atom.operator == "has":
        return f"(neq FALSE (member$ {value} ?diagnoses))"
    sign = {"==": "eq", "!=": "neq"}.get(_SIGNS[atom.operator], _SIGNS[atom.operator])
    return f"({sign} ?{atom.field} {value})"


# -- business-rules -----------------------------------------------------------------------------------------


def _business_rules(rules: Sequence[RuleSpec]) -> Loaded:
    """``run_all`` once a line; *not equal* of a text, which it lacks, is a regular expression."""
    from business_rules import engine as run_all_engine
    from business_rules import variables
    from business_rules.actions import BaseActions, rule_action
    from business_rules.fields import FIELD_TEXT

    texts = ("code", "category", "sex", "department", "insurance", "route")
    numbers = ("age", "quantity", "dose", "days")

    def reader(name: str) -> Callable[[Any], Any]:
        def read(self: Any) -> Any:
            return self.known[name]

        read.__name__ = name
        return read

    words: dict[str, Any] = {name: variables.string_rule_variable()(reader(name)) for name in texts}
    words |= {name: variables.numeric_rule_variable()(reader(name)) for name in numbers}
    words["diagnoses"] = variables.select_multiple_rule_variable()(reader("diagnoses"))
    known_variables = type("LineVariables", (variables.BaseVariables,), words)

    class Hits(BaseActions):  # type: ignore[misc]
        def __init__(self, line: str, found: set[tuple[str, str]]) -> None:
            self.line, self.found = line, found

        @rule_action(params={"rule": FIELD_TEXT})  # type: ignore[untyped-decorator]
        def hit(self, rule: str) -> None:
            self.found.add((self.line, rule))

    pages = [_business_rule(spec) for spec in rules]

    def run(visit: VisitSpec) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for line in visit.lines:
            asked = known_variables()
            asked.known = {**visit.patient, **line}
            run_all_engine.run_all(pages, asked, Hits(line["id"], found), stop_on_first_trigger=False)
        return found

    return Loaded(lambda visit: visit, run, lambda found: found)


def _business_rule(spec: RuleSpec) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = []
    if spec.key is not None:
        nodes.append({"name": spec.key[0], "operator": "equal_to", "value": spec.key[1]})
    for clause in spec.clauses:
        leaves = [_business_leaf(atom) for atom in clause]
        nodes.append(leaves[0] if len(leaves) == 1 else {"any": leaves})
    return {"conditions": {"all": nodes}, "actions": [{"name": "hit", "params": {"rule": spec.id}}]}


def _business_leaf(atom: Atom) -> dict[str, Any]:
    if atom.operator == "has":
        return {"name": atom.field, "operator": "contains_all", "value": [atom.value]}
    if atom.operator == "not_equal_to":
        return {"name": atom.field, "operator": "matches_regex", "value": f"^(?!{atom.value}$)"}
    return {"name": atom.field, "operator": atom.operator, "value": atom.value}


PEERS: dict[str, Peer] = {
    "ruleward": _ruleward,
    "zen-engine": _zen,
    "zen-engine-trace": lambda rules: _zen(rules, trace=True),
    "clips": _clips,
    "business-rules": _business_rules,
}
"""Engines by name; RuleWard always keeps its trace, zen-engine only where its name says so."""

_MODULES = {
    "zen-engine": ("zen", "zen-engine"),
    "zen-engine-trace": ("zen", "zen-engine"),
    "clips": ("clips", "clipspy"),
    "business-rules": ("business_rules", "business-rules"),
}


def missing_packages() -> dict[str, str]:
    """Return the peers that cannot be run here: name -> package to install."""
    return {
        name: package
        for name, (module, package) in _MODULES.items()
        if importlib.util.find_spec(module) is None
    }
