"""Read how much of a drug one pack holds from the wire's ``spec`` (``0.25g×12片/盒``)."""

from __future__ import annotations

import re

__all__ = ["pack_mg"]

_MG = {
    "g": 1000.0,
    "克": 1000.0,
    "mg": 1.0,
    "毫克": 1.0,
    "ug": 0.001,
    "μg": 0.001,
    "µg": 0.001,
    "微克": 0.001,
}
_SPEC = re.compile(
    r"(?P<strength>\d+(?:\.\d+)?)\s*(?P<unit>mg|g|[uμµ]g|毫克|微克|克)"
    r"\s*[×xX*]\s*(?P<count>\d+)\s*(?:片|粒|支|袋|丸|瓶|枚|s)?\s*(?:/\s*[盒瓶板袋])?",
    re.ASCII,
)


def pack_mg(spec: str) -> float | None:
    """Return the milligrams in one pack; ``None`` unless the whole text is strength × count / pack."""
    found = _SPEC.fullmatch(spec.strip())
    if found is None:
        return None
    return float(found["strength"]) * _MG[found["unit"]] * int(found["count"])
