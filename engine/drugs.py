"""Resolve what a system calls a drug into ingredients and classes, by the dictionary of the release.

The order is: exact code, normalised name, synonym, then the known names inside a product name. A name that is
understood only in part (one of two ingredients, a 复方 compound) is not resolved at all: half an answer would
let the other half pass unchecked.
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

_SALTS = frozenset(
    [
        "calcium",
        "sodium",
        "potassium",
        "magnesium",
        "zinc",
        "hydrochloride",
        "sulfate",
        "sulphate",
        "acetate",
        "phosphate",
        "citrate",
        "tartrate",
        "succinate",
        "maleate",
        "fumarate",
        "mesylate",
        "besylate",
        "bromide",
        "chloride",
        "nitrate",
        "lactate",
        "gluconate",
        "hydrate",
        "dihydrate",
        "hydrobromide",
        "carbonate",
    ]
)
_PARTS = re.compile(
    r"\s/\s|\s*\+\s*|\s+and\s+|(?<=[a-z]{4})/(?=[a-z]{4})|(?<=[\u4e00-\u9fff])[/、](?=[\u4e00-\u9fff])"
)
_PACK = re.compile(r"[\u4e00-\u9fff]\s*/\s*[盒瓶袋支板包桶罐片粒丸管听]")
"""The end of a specification such as 0.2g×20片/盒: no second drug stands behind its stroke."""
_TOKEN = re.compile(r"[a-z][a-z0-9'-]*")
_HAN = re.compile(r"[\u4e00-\u9fff0-9a-z]*[\u4e00-\u9fff][\u4e00-\u9fff0-9a-z]*")
_STRENGTH = re.compile(r"^(?P<ingredient>[a-z0-9_]+)=(?P<value>\d+(?:\.\d+)?) ?mg$")
_LONGEST_PHRASE = 5
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
    """The drug dictionary of one release, read from the tables ``drug_ingredients/names/codes/classes``."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._classes: dict[str, frozenset[str]] = {}
        self._labels: dict[str, Words] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._class_names: dict[str, str] = {}
        self._codes: dict[tuple[str, str], Drug] = {}
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
            self._names.setdefault(_normal(row["name"]), row["ingredients"])
        for row in _records(tables, "drug_codes"):
            strengths = {
                found["ingredient"]: float(found["value"])
                for text in row.get("strengths") or ()
                if (found := _STRENGTH.match(text))
            }
            self._codes[str(row["system"]), str(row["code"]).upper()] = self._drug(
                row["ingredients"], strengths
            )
        self._longest_han = max((len(name) for name in self._names if not name.isascii()), default=0)

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
        normal = _normal(name)
        if normal in self._names:
            return self._drug(self._names[normal])
        if "复方" in normal:
            return None
        found: set[str] = set()
        for part in _PARTS.split(_PACK.sub("", normal)):
            inside = self._inside(part)
            if not inside:
                return None
            found |= inside
        return self._drug(found)

    def _inside(self, part: str) -> set[str]:
        if part in self._names:
            return set(self._names[part])
        found: set[str] = set()
        tokens = _TOKEN.findall(part)
        at = 0
        while at < len(tokens):
            for length in range(min(_LONGEST_PHRASE, len(tokens) - at), 0, -1):
                phrase = " ".join(tokens[at : at + length])
                is_salt = length == 1 and found and phrase in _SALTS
                if phrase in self._names and not is_salt:
                    found |= self._names[phrase]
                    at += length
                    break
            else:
                at += 1
        for run in _HAN.findall(part):
            found |= self._inside_han(run)
        return found

    def _inside_han(self, run: str) -> set[str]:
        found: set[str] = set()
        at = 0
        while at < len(run):
            for length in range(min(self._longest_han, len(run) - at), 1, -1):
                phrase = run[at : at + length]
                if phrase in self._names and not phrase.isascii():
                    found |= self._names[phrase]
                    at += length
                    break
            else:
                at += 1
        return found


def _records(tables: Mapping[str, Table], name: str) -> Iterable[dict[str, Any]]:
    table = tables.get(name)
    return table.records() if table else ()
