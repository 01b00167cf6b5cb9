"""Read the strength out of a product's name or 规格 (specification), one part an ingredient.

``0.25g×12片/盒`` is 250 mg a tablet; ``5ml:0.25g`` is 50 mg/mL and 250 mg an ampoule; ``Acetaminophen 325 MG
/ Hydrocodone Bitartrate 5 MG Oral Tablet`` is two parts. What is ambiguous is left out.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from adapters.emr.units import Measure, measure

__all__ = ["Strength", "read_strengths", "strength_of_ratio"]


class Strength(msgspec.Struct, frozen=True):
    """How much of one ingredient is in one piece and in one mL: mg, or IU where it is counted so."""

    fragment: str = ""  # the words before the number: the ingredient's name, perhaps
    mg_per_piece: float | None = None
    mg_per_ml: float | None = None
    iu_per_piece: float | None = None
    iu_per_ml: float | None = None
    piece: str = ""  # tablet, capsule, puff …; empty: not said

    def of(self, dose: float, unit: Measure) -> tuple[float | None, float | None]:
        """Return the (mg, IU) in a dose counted in pieces or in mL."""
        if unit.kind == "volume":
            volume = dose * unit.factor
            return _times(self.mg_per_ml, volume), _times(self.iu_per_ml, volume)
        if unit.kind == "count" and fits(self.piece, unit.piece):
            return _times(self.mg_per_piece, dose), _times(self.iu_per_piece, dose)
        return None, None


def _times(strength: float | None, dose: float) -> float | None:
    return None if strength is None else strength * dose


_SOLID = {"tablet", "capsule", "pill"}
_CONTAINER = {"ampoule", "vial", "bottle"}


def fits(pack: str, dose: str) -> bool:
    """Say whether a dose counted in ``dose`` can use a strength stated for one ``pack``."""
    if not pack:
        # The name counts nothing: one piece is what one takes; a puff or a bottle is something else.
        return dose not in {"puff", "bottle"}
    if pack == dose:
        return True
    return (pack in _SOLID and dose in _SOLID) or (pack in _CONTAINER and dose in _CONTAINER)


_AMOUNT_UNIT = (
    r"(?:万\s?(?:国际单位|单位|iu|u)|国际单位|单位|mcg|mg|μg|µg|ug|ng|gm|g|毫克|微克|克"
    r"|\[iu\]|iu|units?|unt|ku|u)(?![a-z])"
)
_VOLUME_UNIT = r"(?:ml|毫升|l|升)(?![a-z])"
_PIECE_UNIT = (
    r"(片|粒|丸|支|瓶|袋|包|贴|枚|揿|喷|吸|s(?![a-z])"
    r"|tablets?|tabs?|capsules?|caps?|vials?|ampoules?|puffs?|actuat)"
)
_NUMBER = r"(?<![\d.,])(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"

_PER_VOLUME = re.compile(
    rf"{_NUMBER}\s*({_AMOUNT_UNIT})\s*(?:/|:|：|per)\s*(\d+(?:\.\d+)?)?\s*({_VOLUME_UNIT})", re.IGNORECASE
)
_VOLUME_FIRST = re.compile(
    rf"{_NUMBER}\s*({_VOLUME_UNIT})\s*(?::|：|\()\s*{_NUMBER}\s*({_AMOUNT_UNIT})", re.IGNORECASE
)
_PER_PIECE = re.compile(
    rf"{_NUMBER}\s*({_AMOUNT_UNIT})\s*(?:/|每|[×xX*]\s*\d+\s*)\s*{_PIECE_UNIT}", re.IGNORECASE
)
_AMOUNT = re.compile(rf"{_NUMBER}\s*({_AMOUNT_UNIT})", re.IGNORECASE)
_PERCENT = re.compile(rf"{_NUMBER}\s*%")
_VOLUME = re.compile(rf"(?<![/\d.]){_NUMBER}\s*({_VOLUME_UNIT})", re.IGNORECASE)
_RATE = re.compile(rf"{_NUMBER}\s*{_AMOUNT_UNIT}\s*/\s*(?:h|hr|小时|day|天|日|kg)(?![a-z])", re.IGNORECASE)
_FORMS = (
    ("tablet", "tablet"), ("capsule", "capsule"), ("actuat", "puff"), ("suppository", "suppository"),
    ("patch", "patch"), ("胶囊", "capsule"), ("分散片", "tablet"), ("片", "tablet"), ("丸", "pill"),
    ("栓", "suppository"), ("贴", "patch"),
)  # fmt: skip


@lru_cache(maxsize=16384)
def read_strengths(name: str) -> tuple[Strength, ...]:
    """Return the parts of a product name or specification that state a strength, in order; perhaps none."""
    if len(name) > 400:
        return ()
    parts = [part for part in re.split(r"\s/\s", name) if part.strip()]
    piece = next((piece for word, piece in _FORMS if word in name.casefold()), "")
    found: list[Strength] = []
    for part in parts:
        strength = _part(part, piece)
        if strength is not None:
            found.append(strength)
    return tuple(found)


def _value(written: str) -> float:
    return float(written.replace(",", ""))


def _amount(value: str, unit: str) -> tuple[float | None, float | None]:
    said = measure(unit)
    if said is None or said.kind not in {"mass", "iu"}:
        return None, None
    amount = _value(value) * said.factor
    return (amount, None) if said.kind == "mass" else (None, amount)


def _ml(value: str | None, unit: str) -> float:
    said = measure(unit)
    return (_value(value) if value else 1.0) * (said.factor if said is not None else 1.0)


def _share(amount: float | None, parts: float) -> float | None:
    return None if amount is None or parts <= 0 else amount / parts


def _part(part: str, piece: str) -> Strength | None:
    if _RATE.search(part):  # a patch that gives 25 µg/h: no strength of a piece
        return None
    match = _PER_VOLUME.search(part)
    if match is not None:
        (mg, iu), volume = _amount(match.group(1), match.group(2)), _ml(match.group(3), match.group(4))
        held = _container(part, match, volume)
        fragment = _fragment(part[: match.start()])
        per_ml = (_share(mg, volume), _share(iu, volume))
        return Strength(
            fragment,
            None if held is None or per_ml[0] is None else per_ml[0] * held,
            per_ml[0],
            None if held is None or per_ml[1] is None else per_ml[1] * held,
            per_ml[1],
            "ampoule" if held is not None else "",
        )
    match = _VOLUME_FIRST.search(part)
    if match is not None:
        (mg, iu), volume = _amount(match.group(3), match.group(4)), _ml(match.group(1), match.group(2))
        return Strength(
            _fragment(part[: match.start()]), mg, _share(mg, volume), iu, _share(iu, volume), "ampoule"
        )
    match = _PER_PIECE.search(part)
    if match is not None:
        mg, iu = _amount(match.group(1), match.group(2))
        said = measure(match.group(3))
        return Strength(
            _fragment(part[: match.start()]), mg, None, iu, None, said.piece if said is not None else piece
        )
    percent = _PERCENT.search(part)
    amounts = {(found.group(1), found.group(2).casefold()) for found in _AMOUNT.finditer(part)}
    if percent is not None and not amounts:
        per_ml_ = _value(percent.group(1)) * 10.0  # 1 % w/v is 10 mg/mL
        volume_ = _VOLUME.search(part)
        held = None if volume_ is None else _ml(volume_.group(1), volume_.group(2))
        fragment = _fragment(part[: percent.start()])
        return Strength(
            fragment, None if held is None else per_ml_ * held, per_ml_, None, None, "bottle" if held else ""
        )
    if len(amounts) != 1:  # none, or several: which belongs to what is not said
        return None
    match = _AMOUNT.search(part)
    if match is None:
        return None
    mg, iu = _amount(match.group(1), match.group(2))
    return Strength(_fragment(part[: match.start()]), mg, None, iu, None, piece)


def _container(part: str, match: re.Match[str], volume: float) -> float | None:
    """Return the mL of the container: what stands before (``1 ML Epinephrine 1 MG/ML``) or is said."""
    before = _VOLUME.search(part[: match.start()])
    if before is not None:
        return _ml(before.group(1), before.group(2))
    return volume if match.group(3) and volume != 1.0 else None


def _fragment(written: str) -> str:
    """Return the name that stands before the strength, without container volumes and release times."""
    bare = re.sub(r"\d+(?:\.\d+)?\s*(?:ml|hr|h|actuat)\b", " ", written, flags=re.IGNORECASE)
    return bare.strip(" \t([{（【:：,，-")


def strength_of_ratio(
    value: float, unit: str, per: float | None, per_unit: str, fragment: str = ""
) -> Strength | None:
    """Return the strength that FHIR ``Medication.ingredient.strength`` states: numerator over denominator."""
    said = measure(unit)
    if said is None or said.kind not in {"mass", "iu"} or value < 0:
        return None
    amount = value * said.factor
    below = measure(per_unit) if per_unit and per_unit != "1" else None
    parts = 1.0 if per is None else per
    if parts <= 0 or (below is None and per_unit not in {"", "1"}):
        return None
    mg, iu = (amount, None) if said.kind == "mass" else (None, amount)
    if below is None or below.kind == "count":
        piece = "" if below is None else below.piece
        return Strength(fragment, _share(mg, parts), None, _share(iu, parts), None, piece)
    if below.kind == "volume":
        volume = parts * below.factor
        return Strength(fragment, None, _share(mg, volume), None, _share(iu, volume), "")
    return None
