"""The generated pages say what the code and the rules say."""

from __future__ import annotations

from pathlib import Path

from engine.facts import COLLECTIONS, SINGLES
from engine.operators import OPERATORS
from engine.vocabulary import words_of
from tools.new_rule import write
from tools.write_docs import language_page, pages, stale


def test_every_fact_and_every_operator_stands_on_the_page_of_the_language() -> None:
    page = language_page()
    words = {word for kind in (*SINGLES, *COLLECTIONS) for word in words_of(kind)}
    assert {name for name in words | set(OPERATORS) if f"| `{name}` |" not in page} == set()


def test_a_rule_is_on_the_page_of_its_ruleset_with_its_words_source_and_cases(tmp_path: Path) -> None:
    write("dosage/my_rule", tmp_path / "rules")
    page = pages(tmp_path / "rules")["rules/dosage.md"]
    assert "`dosage.my_rule` · draft · version 1" in page
    assert "Name of the document this rests on, its section, **to be verified**" in page
    assert "两岁儿童的口服药会提示 (fires)" in page


def test_a_page_that_differs_is_stale_and_so_is_one_of_a_ruleset_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/gone.md").write_text("old", encoding="utf-8")
    (tmp_path / "language.md").write_text("old", encoding="utf-8")
    assert stale({"language.md": "new", "rules/dosage.md": "new"}, tmp_path) == (
        "language.md",
        "rules/dosage.md",
        "rules/gone.md",
    )


def test_pages_that_are_as_written_are_not_stale(tmp_path: Path) -> None:
    (tmp_path / "language.md").write_text("same", encoding="utf-8")
    assert stale({"language.md": "same"}, tmp_path) == ()
