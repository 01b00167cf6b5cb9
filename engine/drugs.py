"""Resolve what a system calls a drug into ingredients and classes, by the dictionary of the release.

The order is: exact code, normalised name, synonym, then the known names inside a product name. A name that is
understood only in part is not resolved at all: half an answer would let the other half pass unchecked. So all
that stands beside the known names must be explained: numbers, units, and the words of ``drug_name_words``
(salts, forms, routes …). A release without that table explains no word, and only bare names resolve. A name
listed without ingredients is another drug than the names inside it, and is not resolved. Brackets are passed
over when they hold no known name, no list and no 含 or "with"; square ones in Latin letters always, for
RxNorm writes the brand there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from engine.decision import Words
from engine.knowledge import Table

__all__ = ["Dictionary", "Drug"]

_UNITS = re.compile(
    "(?:m|k|u|mc|n)?g|mgs|gms?|grams?|[md]?l|[km]?iu|[km]?u|unt|units?|meq|m?mol|hr?s?|hours?|min|days?|[cm]m"
    "|bau|cfu|mbq"
)
_HAN = "\u3400-\u9fff"
_PARTS = re.compile(
    rf"\s/\s|\s*\+\s*|\s+and\s+|(?<=[a-z]{{4}})/(?=[a-z]{{4}})|(?<=[{_HAN}])/(?=[{_HAN}])|[;&、|]|,(?!\d)"
)
_PACK = re.compile(rf"[{_HAN}]\s*/\s*[盒瓶袋支板包桶罐片粒丸管听]")
"""The end of a specification such as 0.2g×20片/盒: no second drug stands behind its stroke."""
_BRACKETS = re.compile(r"[(\[【]([^()\[\]【】]*)[)\]】]")
_COMPOUND = re.compile(r"复方|^(?:含|与|和|加|with\b|w/|plus\b|and\b)")
"""Brackets beside or with such a word say what is in the drug, so they are not passed over."""
_TOKEN = re.compile(r"[a-z][a-z0-9'-]*")
_RUN = re.compile(rf"[{_HAN}0-9a-z]*[{_HAN}][{_HAN}0-9a-z]*")
_AMOUNT = re.compile(
    "[0-9]+(?:万|亿)?"
    "(?:国际单位|单位|毫克|微克|毫升|微升|千克|克|升|小时|揿|喷|吸|片|粒|丸|支|瓶|袋|包|贴|枚|板|盒|管|岁)?"
)
_OTHER_LETTER = re.compile(rf"[^\W\d_a-z{_HAN}μ]")
_NUMBERED = re.compile(r"\ba?nda ?\d+\b|(?<=\b[a-z])\.(?=[a-z]\b)")
"""What is no word: the number of an American marketing application, and the point in P.F."""
_ROMAN = re.compile(r"[ivx]+")
_STRENGTH = re.compile(r"^(?P<ingredient>[a-z0-9_]+)=(?P<value>\d+(?:\.\d+)?) ?mg$")
_LONGEST_PHRASE = 5
_LONGEST_NAME = 1000
_SHORTEST_NATIONAL_PREFIX = 8
_CACHE_LIMIT = 20_000


class Drug(msgspec.Struct, frozen=True):
    """What a drug is made of. ``strengths`` gives mg of each ingredient per unit, where a code says so."""

    ingredients: frozenset[str]
    agents: frozenset[str]
    strengths: dict[str, float] = {}


def _normal(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())


class Dictionary:
    """The drug dictionary of one release, read from its tables whose names begin with ``drug_``."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._classes: dict[str, frozenset[str]] = {}
        self._labels: dict[str, Words] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._class_names: dict[str, str] = {}
        self._codes: dict[tuple[str, str], Drug] = {}
        self._words: dict[str, str] = {}
        self._cache: dict[tuple[tuple[tuple[str, str], ...], str | None], Drug | None] = {}
        for row in _records(tables, "drug_ingredients"):
            ingredient = str(row["ingredient"])
            self._classes[ingredient] = frozenset(row["classes"] or ())
            self._labels[ingredient] = Words(row["zh"] or ingredient, row["en"] or ingredient)
            for name in (ingredient, row["zh"], row["en"]):
                if name:
                    self._names[_normal(name)] = frozenset({ingredient})
        for row in _records(tables, "drug_classes"):
            self._labels[str(row["class"])] = Words(row["zh"] or row["class"], row["en"] or row["class"])
            for name in (row["class"], row["zh"], row["en"], *(row.get("synonyms") or ())):
                if name:
                    self._class_names[_normal(name)] = str(row["class"])
        for row in _records(tables, "drug_names"):
            self._names.setdefault(_normal(row["name"]), row["ingredients"] or frozenset())
        for row in _records(tables, "drug_name_words"):
            self._words[_normal(row["word"])] = str(row["kind"])
        for row in _records(tables, "drug_codes"):
            strengths = {
                found["ingredient"]: float(found["value"])
                for text in row.get("strengths") or ()
                if (found := _STRENGTH.match(text))
            }
            self._codes[str(row["system"]), str(row["code"]).upper()] = self._drug(
                row["ingredients"], strengths
            )
        self._longest_han = max(
            (len(name) for name in (*self._names, *self._words) if not name.isascii()), default=0
        )
        self._hyphened = frozenset(
            token for name in self._names if "-" in name for token in _TOKEN.findall(name) if "-" in token
        )

    def __len__(self) -> int:
        return len(self._classes)

    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None) -> Drug | None:
        """Return the drug, or ``None`` when neither a code nor the whole name is understood."""
        asked = (codes, name)
        if asked in self._cache:
            return self._cache[asked]
        found = self._by_code(codes) or (self._by_name(name) if name else None)
        if len(self._cache) >= _CACHE_LIMIT:
            self._cache.clear()
        self._cache[asked] = found
        return found

    def allergen(self, codes: tuple[tuple[str, str], ...], name: str | None) -> frozenset[str] | None:
        """Return the agents of an allergen, which may be a drug or a class, or ``None`` if not understood."""
        drug = self.resolve(codes, name)
        if drug is not None:
            return drug.agents
        found = self._class_names.get(_normal(name)) if name else None
        return frozenset({found}) if found else None

    def agents_of(self, ingredients: Iterable[str]) -> frozenset[str]:
        """Return the ingredients with all their classes."""
        agents: set[str] = set()
        for ingredient in ingredients:
            agents.add(ingredient)
            agents |= self._classes.get(ingredient, frozenset())
        return frozenset(agents)

    def label(self, agent: str) -> Words | None:
        """Return the Chinese and English name of an ingredient or class."""
        return self._labels.get(agent)

    def _drug(self, ingredients: Iterable[str], strengths: dict[str, float] | None = None) -> Drug:
        return Drug(frozenset(ingredients), self.agents_of(ingredients), strengths or {})

    def _by_code(self, codes: tuple[tuple[str, str], ...]) -> Drug | None:
        for system, code in codes:
            key = code.upper()
            if (system, key) in self._codes:
                return self._codes[system, key]
            if system == "nhsa":
                for length in range(len(key) - 1, _SHORTEST_NATIONAL_PREFIX - 1, -1):
                    if (system, key[:length]) in self._codes:
                        return self._codes[system, key[:length]]
        return None

    def _by_name(self, name: str) -> Drug | None:
        found = self._understood(_normal(name))
        return self._drug(found) if found else None

    def _understood(self, name: str, strict: bool = False) -> frozenset[str] | None:
        """Return the ingredients of a whole name, perhaps none, or ``None`` if a part is unexplained."""
        if name in self._names:
            return self._names[name] or None
        if len(name) > _LONGEST_NAME:
            return None
        found: set[str] = set()
        strict = strict or _COMPOUND.search(name) is not None
        rest = name
        while bracket := _BRACKETS.search(rest):
            said = bracket[1].strip()
            inside = self._understood(said, strict)
            # RxNorm writes the brand in square brackets, behind all that is in it: [Tylenol PM].
            is_brand = bracket[0][0] == "[" and said.isascii()
            if inside is None and not is_brand and (strict or self._may_name_a_drug(said)):
                return None
            found |= inside or set()
            rest = f"{rest[: bracket.start()]} {rest[bracket.end() :]}"
        for part in _PARTS.split(_PACK.sub("", rest)):
            inside = self._part(part.strip(), strict)
            if inside is None:
                return None
            found |= inside
        return frozenset(found)

    def _may_name_a_drug(self, said: str) -> bool:
        """Say whether brackets that are not understood may say what is in the drug; if not, it is a brand."""
        if _COMPOUND.search(said) or _PARTS.search(said):
            return True
        found: set[str] = set()
        self._latin(said, found, False)
        self._han(said, found, False)
        return bool(found)

    def _part(self, part: str, strict: bool) -> frozenset[str] | None:
        if part in self._names:
            return self._names[part] or None
        if _OTHER_LETTER.search(part):
            return None
        found: set[str] = set()
        whole = self._latin(_RUN.sub(" ", part), found, strict)
        return frozenset(found) if self._han(part, found, strict) and whole else None

    def _explains(self, word: str, named: bool, strict: bool) -> bool:
        """Say whether a word beside the names is explained; an English salt or a metal only behind a name."""
        kind = self._words.get(word)
        if kind == "salt" and (word.isascii() or len(word) == 1):
            return named
        return kind is not None and not (strict and _ROMAN.fullmatch(word))

    def _latin(self, part: str, found: set[str], strict: bool) -> bool:
        """Collect the names among the Latin words, and say whether all other words are explained."""
        tokens: list[str] = []
        for token in _TOKEN.findall(_NUMBERED.sub("", part)):
            tokens += [token] if token in self._hyphened else [word for word in token.split("-") if word]
        at, whole = 0, True
        while at < len(tokens):
            for length in range(min(_LONGEST_PHRASE, len(tokens) - at), 0, -1):
                phrase = " ".join(tokens[at : at + length])
                if phrase in self._names and not (
                    length == 1 and found and self._words.get(phrase) == "salt"
                ):
                    whole = whole and bool(self._names[phrase])
                    found |= self._names[phrase]
                    at += length
                    break
            else:
                word = tokens[at]
                whole = whole and (
                    _UNITS.fullmatch(word) is not None
                    or word.isdigit()
                    or self._explains(word, bool(found), strict)
                )
                at += 1
        return whole

    def _han(self, part: str, found: set[str], strict: bool) -> bool:
        """Collect the names in the Chinese runs, longest first, and say whether all else is explained."""
        whole = True
        for run in _RUN.findall(part):
            at = 0
            while at < len(run):
                for length in range(min(self._longest_han, len(run) - at), 0, -1):
                    phrase = run[at : at + length]
                    if phrase.isascii():
                        continue
                    if length > 1 and phrase in self._names and not _cut(run, at + length):
                        whole = whole and bool(self._names[phrase])
                        found |= self._names[phrase]
                        break
                    if self._explains(phrase, bool(found), strict):
                        break
                else:
                    length, explained = self._other(run, at, found, strict)
                    whole = whole and explained
                at += length
        return whole

    def _other(self, run: str, at: int, found: set[str], strict: bool) -> tuple[int, bool]:
        """Return the length of what is no Chinese word here, and whether it is a number, a unit or a word."""
        if amount := _AMOUNT.match(run, at):
            return amount.end() - at, True
        if token := _TOKEN.match(run, at):
            word = token[0]
            found |= self._names.get(word, frozenset())
            known = bool(self._names.get(word)) or _UNITS.fullmatch(word) is not None
            return len(word), known or self._explains(word, bool(found), strict)
        return 1, False


def _cut(run: str, end: int) -> bool:
    """Say whether a name would end inside a number or a Latin word: 维生素B1 is no part of 维生素B15."""
    last, following = run[end - 1 : end], run[end : end + 1]
    return (
        last.isascii()
        and following.isascii()
        and ((last.isdigit() and following.isdigit()) or (last.isalpha() and following.isalpha()))
    )


def _records(tables: Mapping[str, Table], name: str) -> Iterable[dict[str, Any]]:
    table = tables.get(name)
    return table.records() if table else ()
