"""Write the generated pages: docs/language.md from facts and operators, docs/rules/ from what experts wrote.

``--check`` writes nothing and ends with 1 when a page is not what it would write.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from adapters.releases.folder import read_folder
from engine.cases import Case, read_cases
from engine.decision import Reference, Words
from engine.errors import RuleErrors
from engine.facts import COLLECTIONS, SINGLES
from engine.knowledge import Table
from engine.operators import OPERATORS, Operator
from engine.parameters import Parameter
from engine.release import Release, read_release
from engine.rule import ColumnName, Rule
from engine.vocabulary import words_of
from rules import FOLDER

__all__ = ["language_page", "pages", "stale"]

DOCS = Path(__file__).parent.parent / "docs"
GENERATED = "<!-- Written by `make docs`; edit the source and run it again. -->\n"

SHAPE = """\
A rule is `rules/<ruleset>/<rule_name>/rule.yaml`; beside it stands `cases.yaml`, and `make new-rule
NAME=ruleset/rule_name` writes both. A condition is `{name, operator, value}`; conditions are joined by
`all: […]`, `any: […]` and `not: …`.

- **Names**: `patient.…`, `visit.…`, `<word>.…` for a word bound by `for_each`, `<word>.<column>` for the
  row joined by `match`, and the words of `let`.
- **Values**: a literal, `{name: …}` for another fact, `{parameter: …}` for the value that holds on the
  day.
- **Unknown**: a fact that is not stated is unknown. `all` is false when one part is false, else unknown
  when one part is unknown; `any` is true when one part is true, else unknown when one part is unknown;
  `not` of unknown is unknown. A rule that comes out unknown is reported as *not checked*, with the facts
  that were missing.
- **Derived values** (`let`): `{count: <collection>, as: word, where: …}`; `sum`, `min`, `max`, `distinct`
  with `field:`; `latest`, `earliest` with `field:` and `by:`; `longest_gap`, `shortest_gap` with
  `field:`; and `{operator: …, of: […]}` with an operator of the last table.
"""


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    names = list(head)
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


def _facts_of(kind: str) -> Iterator[str]:
    def rows() -> Iterator[tuple[str, ...]]:
        for field, word in words_of(kind).items():
            choices = ", ".join(f"`{code}` {zh}" for code, (zh, _) in word.label.options.items())
            meaning = "; ".join(part for part in (word.label.meaning, choices) if part)
            yield (f"`{field}`", word.type, word.label.unit or "", word.label.zh, word.label.en, meaning)

    return _table(("fact", "type", "unit", "中文", "English", "meaning"), rows())


def _operators(operators: Iterable[Operator]) -> Iterator[str]:
    def rows() -> Iterator[tuple[str, ...]]:
        for operator in operators:
            takes = "; ".join(", ".join(signature) for signature in operator.signatures)
            operands, outcome = operator.examples[0]
            example = f"`{', '.join(map(_say, operands))}` → {_say(outcome)}"
            yield (f"`{operator.name}`", operator.zh, takes, operator.doc, example)

    return _table(("operator", "中文", "takes", "meaning", "example"), rows())


def _say(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(map(str, value))) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_say, value)) + "]"
    return str(value)


def language_page() -> str:
    """Return the page of the rule language: every fact and every operator."""
    lines = [GENERATED, "# The language of rules", "", SHAPE, "## Facts", ""]
    for kind in SINGLES:
        lines += [f"### `{kind}`", "", *_facts_of(kind)]
    for kind in COLLECTIONS:
        lines += [f"### `{kind}` (many)", "", *_facts_of(kind)]
    named = [OPERATORS[name] for name in sorted(OPERATORS)]
    lines += ["## Conditions", "", *_operators(one for one in named if one.condition)]
    lines += ["## Calculations", "", *_operators(one for one in named if not one.condition)]
    return _page(lines)


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def _both(words: Words) -> str:
    return f"{words.zh} · {words.en}"


def _cite(reference: Reference) -> str:
    title = f"[{reference.title}]({reference.href})" if reference.href else reference.title
    read = f"read on {reference.read_on}" if reference.read_on else "**to be verified**"
    return ", ".join(part for part in (title, reference.article, read) if part)


def _rule(rule: Rule, cases: Iterable[Case]) -> Iterator[str]:
    yield from (f"## {rule.title.zh} · {rule.title.en}", "")
    code = f" · official code {rule.official_code}" if rule.official_code else ""
    until = f" until {rule.valid_to}" if rule.valid_to else ""
    yield f"`{rule.id}` · {rule.status} · version {rule.version} · from {rule.valid_from}{until}{code}"
    level = rule.then.level
    spoken = f"as `{level.name}` says" if isinstance(level, ColumnName) else level.value
    yield f"Stages: {', '.join(rule.stages)}. Level: {spoken}."
    if rule.join:
        yield f"Knowledge: [`{rule.join.table}`](knowledge.md)."
    yield from ("", f"> {rule.then.message.zh}", ">", f"> {rule.then.message.en}", "")
    yield from (f"- {_cite(reference)}" for reference in rule.references)
    if rule.known_limits:
        limits = rule.known_limits if isinstance(rule.known_limits, str) else _both(rule.known_limits)
        yield f"- Known limits: {limits}"
    yield from ("", "Cases:", "", *(f"- {case.name} ({case.expect})" for case in cases), "")


def _ruleset_page(release: Release, name: str) -> str:
    ruleset = release.rulesets[name]
    about = ruleset.description
    lines = [GENERATED, f"# {_both(ruleset.title)}", "", about.zh, "", about.en, ""]
    lines += [f"Owner: {ruleset.owner}", ""]
    for rule in sorted(release.rules, key=lambda rule: rule.id):
        if rule.ruleset == name:
            cases, _ = read_cases(release.cases.get(rule.id, []), rule.place)
            lines += _rule(rule, cases)
    return _page(lines)


def _labels(words: Words | None) -> tuple[str, str]:
    return (words.zh, words.en) if words else ("", "")


def _knowledge_page(tables: Iterable[Table]) -> str:
    lines = [GENERATED, "# Knowledge tables", ""]
    for table in tables:
        header = table.header
        lines += [f"## `{header.id}`", "", _both(header.title), ""]
        evidence = Counter(row[table.position["evidence"]] for row in table.rows)
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(evidence.items()))
        joined = ", ".join(header.key)
        lines += [f"Version {header.version}, {len(table.rows)} rows ({counts}), joined on {joined}.", ""]
        lines += [f"Source: {header.source}", ""]
        lines += _table(
            ("column", "type", "unit", "中文", "English"),
            (
                (f"`{name}`", column.type, column.unit, *_labels(column.label))
                for name, column in header.columns.items()
            ),
        )
    return _page(lines)


def _parameters_page(parameters: Iterable[Parameter]) -> str:
    lines = [GENERATED, "# Dated numbers", ""]
    for parameter in parameters:
        lines += [f"## `{parameter.id}`", "", _both(parameter.title), ""]
        lines += _table(
            ("from", "value", "unit", "reference", "read on"),
            (
                (one.since, one.value, parameter.unit, one.reference, one.read_on or "to be verified")
                for one in parameter.values
            ),
        )
    return _page(lines)


def pages(folder: Path = FOLDER) -> dict[str, str]:
    """Return every generated page: path below docs/ -> text. Raise :class:`RuleErrors` with all faults."""
    files, unreadable = read_folder(folder)
    release, faults = read_release(files, _no_digest)
    if unreadable or faults:
        raise RuleErrors([*unreadable, *faults])
    written = {"language.md": language_page()}
    for name in sorted(release.rulesets):
        written[f"rules/{name}.md"] = _ruleset_page(release, name)
    written["rules/knowledge.md"] = _knowledge_page(release.tables[name] for name in sorted(release.tables))
    written["rules/parameters.md"] = _parameters_page(
        release.parameters[name] for name in sorted(release.parameters)
    )
    return written


def _no_digest(content: bytes) -> str:
    return f"{len(content)}"  # a page shows no digest, so that it changes only when its words do


def stale(written: dict[str, str], docs: Path) -> tuple[str, ...]:
    """Return the paths below ``docs`` that are missing, differ, or are left over from a removed ruleset."""
    left = {f"rules/{path.name}" for path in (docs / "rules").glob("*.md")} - set(written)
    differ = {
        name
        for name, text in written.items()
        if not (docs / name).exists() or (docs / name).read_text(encoding="utf-8") != text
    }
    return tuple(sorted(left | differ))


def main() -> None:
    """Write the pages, or with ``--check`` say which are stale."""
    try:
        written = pages()
    except RuleErrors as errors:
        sys.exit(f"docs: not written, since these need mending first:\n{errors}")
    old = stale(written, DOCS)
    if "--check" in sys.argv[1:]:
        sys.exit(f"docs: run `make docs`, stale: {', '.join(old)}" if old else 0)
    for name in old:
        path = DOCS / name
        if name in written:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(written[name], encoding="utf-8")
        else:
            path.unlink()
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
