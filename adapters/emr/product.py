"""Find out what drug an order names: its codes, the dictionary's answer, its form and its strengths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol
from weakref import WeakKeyDictionary

import msgspec

from adapters.emr.fhir import Coding, Node, Notes, Readings, codings, label, node, nodes, number, text
from adapters.emr.routes import read_form
from adapters.emr.settings import Settings
from adapters.emr.strength import Strength, read_strengths, strength_of_ratio

__all__ = ["Drug", "Drugs", "Product", "Products", "drug_codes"]


class Drug(Protocol):
    """What the drug dictionary says of one drug."""

    @property
    def ingredients(self) -> frozenset[str]: ...
    @property
    def agents(self) -> frozenset[str]: ...
    @property
    def strengths(self) -> Mapping[str, float]: ...


class Drugs(Protocol):
    """The drug dictionary of the release in force."""

    def resolve(self, codes: tuple[tuple[str, str], ...], name: str | None, /) -> Drug | None: ...


_SYSTEMS = {
    "http://www.nlm.nih.gov/research/umls/rxnorm": "rxnorm",
    "urn:oid:2.16.840.1.113883.6.88": "rxnorm",
    "http://www.whocc.no/atc": "atc",
    "https://www.whocc.no/atc": "atc",
    "urn:oid:2.16.840.1.113883.6.73": "atc",
}
_NATIONAL = re.compile(r"X[A-Z]\d{2}[A-Z]{2}[A-Z0-9]{12,20}\Z|Z[A-Z]\d{2}[A-Z]{2}[A-Z0-9]{12,20}\Z")
_ATC = re.compile(r"[A-Z]\d{2}[A-Z]{2}\d{2}\Z")


_PACK = re.compile(
    r"[\s(（]*\d+(?:\.\d+)?\s*(?:mg|g|μg|µg|ug|mcg|ml|万?单位|万?iu|万?u|毫克|克|微克|毫升)"
    r"(?:\s*[:：]\s*\d+(?:\.\d+)?\s*(?:mg|g|ml|毫克|克|毫升))?"
    r"(?:\s*[×x*]\s*\d+\s*[片粒丸支瓶袋包贴枚s]?)*\s*(?:/\s*[盒瓶板袋支包片粒贴枚])?[\s)）]*\Z",
    re.IGNORECASE,
)


@lru_cache(maxsize=8192)
def without_pack(name: str) -> str:
    """Return a product's name without the specification at its end; names of further drugs are never cut off.

    >>> without_pack("布洛芬片 0.2g×20片/盒")
    '布洛芬片'
    """
    return _PACK.sub("", name[:400]).strip()


def drug_codes(found: list[Coding], further: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the drug codes as (rxnorm | atc | nhsa, code); a code of an unknown system goes by its shape."""
    codes: list[tuple[str, str]] = []
    for system, code, _ in found:
        if not code:
            continue
        short = _SYSTEMS.get(system) or further.get(system)
        if short is None:
            if "nhsa" in system.casefold() or _NATIONAL.match(code):
                short = "nhsa"
            elif "atc" in system.casefold() and _ATC.match(code):
                short = "atc"
            else:
                continue
        codes.append((short, code))
    return tuple(codes)


class Product(msgspec.Struct):
    """The drug of one order as written and as understood."""

    name: str | None
    code: str | None
    drug: Drug | None
    form: str | None
    strengths: tuple[Strength, ...]


_KNOWN: WeakKeyDictionary[Drugs, Readings[Product]] = WeakKeyDictionary()


def _known(drugs: Drugs) -> Readings[Product]:
    """Return what was read with this dictionary; it goes when the dictionary goes."""
    found = _KNOWN.get(drugs)
    if found is None:
        found = _KNOWN[drugs] = Readings()
    return found


class Products:
    """Read the products of one request; holds the Medication resources that orders may refer to."""

    def __init__(self, drugs: Drugs, settings: Settings, notes: Notes, resources: Mapping[str, Node]) -> None:
        self._drugs, self._notes, self._resources = drugs, notes, resources
        self._further = dict(settings.code_systems)
        self._systems = tuple(settings.code_systems)
        self._known = _known(drugs)

    def read(self, resource: Node, path: str) -> Product:
        """Return the drug of one order as written and as understood."""
        concept = resource.get("medicationCodeableConcept")
        if concept is None:
            return self._read(resource, path)
        return self._known.read(concept, self._notes, lambda: self._read(resource, path), self._systems)

    def _read(self, resource: Node, path: str) -> Product:
        notes = self._notes
        concept = node(resource, "medicationCodeableConcept", notes, path)
        held: Node | None = None
        if concept is None:
            pointer = node(resource, "medicationReference", notes, path)
            if pointer is not None:
                held = self._referenced(pointer, resource, f"{path}.medicationReference")
                concept = node(held, "code", notes, path) if held is not None else None
                if concept is None:
                    display = text(pointer, "display", notes, path)
                    concept = {"text": display} if display else None
        where = f"{path}.medication"
        found = codings(concept, notes, where)
        name = label(concept, notes, where)
        codes = drug_codes(found, self._further)
        drug = self._drugs.resolve(codes, name)
        if drug is None and name and (bare := without_pack(name)) != name:
            drug = self._drugs.resolve((), bare)
        for _, _, display in found:
            if drug is None and display and display != name:
                drug = self._drugs.resolve((), display)
        first = next((f"{system}|{code}" for system, code, _ in found if code), None)
        strengths, form = self._held(held, path) if held is not None else ((), None)
        if drug is None and held is not None and strengths and not codes:
            drug = self._of_parts(strengths)
        if not strengths:
            for written in (name, *(display for _, _, display in found)):
                strengths = read_strengths(written) if written else ()
                if strengths:
                    break
        if form is None and name:
            form = read_form(name)
        return Product(name or (codes[0][1] if codes else None), first, drug, form, strengths)

    def _of_parts(self, strengths: tuple[Strength, ...]) -> Drug | None:
        """Resolve a Medication that names no code by the names of all its ingredients, or not at all."""
        names = [strength.fragment for strength in strengths]
        return self._drugs.resolve((), " / ".join(names)) if all(names) else None

    def _referenced(self, pointer: Node, resource: Node, path: str) -> Node | None:
        written = text(pointer, "reference", self._notes, path)
        if written is None:
            return None
        if written.startswith("#"):
            for contained in nodes(resource, "contained", self._notes, path):
                if contained.get("id") == written[1:]:
                    return contained
            return None
        found = self._resources.get(written)
        if found is None:
            found = self._resources.get("/".join(written.split("/_history/")[0].split("/")[-2:]))
        return found

    def _held(self, held: Node, path: str) -> tuple[tuple[Strength, ...], str | None]:
        """Return strengths and form that a Medication resource states."""
        notes, path = self._notes, f"{path}.medication"
        found: list[Strength] = []
        for part in nodes(held, "ingredient", notes, path):
            ratio = node(part, "strength", notes, path)
            concept = node(part, "itemCodeableConcept", notes, path)
            name = label(concept, notes, path) or ""
            strength = None if ratio is None else _ratio(ratio, name, notes, path)
            if strength is not None:
                found.append(strength)
        form = node(held, "form", notes, path)
        said = label(form, notes, path)
        return tuple(found), read_form(said) if said else None

    def strength(self, ingredient: str, product: Product, alone: bool) -> Strength | None:
        """Return this ingredient's strength: as the resource or the name says, else as the code list says."""
        if alone:
            if len(product.strengths) == 1:
                return product.strengths[0]
        else:
            for strength in product.strengths:
                part = self._drugs.resolve((), strength.fragment) if strength.fragment else None
                if part is not None and part.ingredients == {ingredient}:
                    return strength
        drug = product.drug
        listed = None if drug is None else drug.strengths.get(ingredient)
        return None if listed is None else Strength(ingredient, mg_per_piece=listed)


def _ratio(ratio: Node, name: str, notes: Notes, path: str) -> Strength | None:
    above, below = node(ratio, "numerator", notes, path), node(ratio, "denominator", notes, path)
    if above is None:
        return None
    value = number(above, "value", notes, path)
    unit = text(above, "code", notes, path) or text(above, "unit", notes, path) or ""
    if value is None:
        return None
    if below is None:
        return strength_of_ratio(value, unit, None, "", name)
    per = number(below, "value", notes, path)
    per_unit = text(below, "unit", notes, path) or text(below, "code", notes, path) or ""
    return strength_of_ratio(value, unit, per, per_unit, name)
