"""Compile message templates: texts with ``{fact}`` places, said in Chinese and in English."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

from engine.compile.scope import Env, Reader, Scope
from engine.decision import Words
from engine.drugs import Dictionary

__all__ = ["Say", "compile_words"]

Say = Callable[[Env], Words]
_Part = str | Reader


def compile_words(words: Words, scope: Scope, path: str, drugs: Dictionary) -> Say:
    """Return a function that says the text about the things bound in an environment.

    Faults (an unknown name, a brace that never closes, a format beside a name) go to ``scope.errors``.
    """
    zh = _parts(words.zh, scope, f"{path}.zh")
    en = _parts(words.en, scope, f"{path}.en")
    readers = list({part.name: part for part in (*zh, *en) if isinstance(part, Reader)}.values())
    if not readers:
        return lambda _: words
    at = {reader.name: i for i, reader in enumerate(readers)}
    zh_plan: list[str | int] = [at[part.name] if isinstance(part, Reader) else part for part in zh]
    en_plan: list[str | int] = [at[part.name] if isinstance(part, Reader) else part for part in en]
    pairs = tuple((reader.read, reader.words) for reader in readers)

    def say(env: Env) -> Words:
        said = [words_of(read(env), drugs) for read, words_of in pairs]
        return Words(
            "".join([part if isinstance(part, str) else said[part][0] for part in zh_plan]),
            "".join([part if isinstance(part, str) else said[part][1] for part in en_plan]),
        )

    return say


def _parts(text: str, scope: Scope, path: str) -> Sequence[_Part]:
    parts: list[_Part] = []
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        scope.fault(path, f"has a brace out of place ({error}).", "Write {fact}, and {{ }} for braces.")
        return parts
    for literal, name, format_, conversion in pieces:
        if literal:
            parts.append(literal)
        if name is None:
            continue
        if format_ or conversion:
            scope.fault(path, f"formats {name}.", "Write {name} alone.")
        reader = scope.name(name, path)
        if reader is not None:
            parts.append(reader)
    return parts
