"""Translate the words of __SYSTEM__ into facts. Pure: no file, net or clock; nothing is decided here.

What the system does not say stays unknown (``None``); a word that we do not know is unknown too.
"""

from __future__ import annotations

import datetime as dt

import msgspec

from engine.errors import FactsError
from engine.facts import Patient, Sex

__all__ = ["to_patient"]

SEXES: dict[str, Sex] = {"1": "male", "2": "female"}


class _Wire(msgspec.Struct, rename="camel"):
    """The part of the answer that is read; whatever else the system sends is passed over."""

    patient_id: str
    sex: str | None = None
    birth_date: dt.date | None = None


def to_patient(answer: bytes) -> Patient:
    """Return the patient that the system's JSON describes; :class:`FactsError` has the path of a fault."""
    try:
        wire = msgspec.json.decode(answer, type=_Wire)
    except msgspec.ValidationError as error:
        what, _, path = str(error).rpartition(" - at ")
        raise FactsError(path.strip("`") or "$", what or str(error)) from error
    except msgspec.DecodeError as error:
        raise FactsError("$", str(error)) from error
    return Patient(id=wire.patient_id, sex=SEXES.get(wire.sex or ""), birth_date=wire.birth_date)
