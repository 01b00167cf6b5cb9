"""Compile message templates: texts with ``{fact}`` places, said in Chinese and in English."""

from __future__ import annotations

import functools
import string
from collections.abc import Callable, Sequence
from typing import Any

from engine.compile.scope import Env, Reader, Scope
from engine.decision import Words
from engine.drugs import Dictionary
from engine.vocabulary import Type

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
    zh_text, zh_places = _template(zh, at)
    en_text, en_places = _template(en, at)
    pairs = tuple((reader.read, _teller(reader, drugs)) for reader in readers)
    if len(pairs) == 1 and len(zh_places) == len(en_places) == 1:
        ((read, tell),) = pairs

        def say_one(env: Env) -> Words:
            zh_said, en_said = tell(read(env))
            return Words(zh_text % zh_said, en_text % en_said)

        return say_one

    if zh_places == en_places and len(pairs) == len(zh_places):

        def say_alike(env: Env) -> Words:
            zh_said, en_said = zip(*[tell(read(env)) for read, tell in pairs], strict=True)
            return Words(zh_text % zh_said, en_text % en_said)

        return say_alike

    def say(env: Env) -> Words:
        said = [tell(read(env)) for read, tell in pairs]
        return Words(
            zh_text % tuple([said[place][0] for place in zh_places]),
            en_text % tuple([said[place][1] for place in en_places]),
        )

    return say


def _template(parts: Sequence[_Part], at: dict[str, int]) -> tuple[str, list[int]]:
    """Return a text with ``%s`` for each fact, and which fact stands at each place."""
    text = "".join("%s" if isinstance(part, Reader) else part.replace("%", "%%") for part in parts)
    return text, [at[part.name] for part in parts if isinstance(part, Reader)]


def _teller(reader: Reader, drugs: Dictionary) -> Callable[[Any], tuple[str, str]]:
    """Return how to say a value; a text that is no code says itself."""
    words = reader.words

    def tell(value: Any) -> tuple[str, str]:
        return words(value, drugs)

    def tell_text(value: Any) -> tuple[str, str]:
        return words(None, drugs) if value is None else (value, value)

    if reader.type is Type.TEXT and not reader.options and not reader.drug:
        return tell_text
    # A code and a set of codes are said the same way each time, while a release lasts.
    return functools.lru_cache(maxsize=8192)(tell) if reader.type in (Type.TEXT, Type.TEXT_SET) else tell


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
