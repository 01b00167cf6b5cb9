"""Name routes and dosage forms in the words of the facts, from SNOMED CT, HL7 v3, Chinese and English."""

from __future__ import annotations

import re
from functools import lru_cache

from adapters.emr.fhir import Coding

__all__ = ["read_form", "read_route", "route_in_text"]

_SNOMED = {
    "26643006": "oral", "47625008": "iv", "78421000": "im", "34206005": "sc", "6064005": "topical",
    "447694001": "inhaled", "18679011000001101": "inhaled", "37161004": "rectal", "54485002": "ophthalmic",
    "46713006": "nasal", "10547007": "otic", "16857009": "vaginal", "37839007": "sublingual",
    "45890007": "transdermal", "72607000": "intrathecal", "54471007": "buccal", "404820008": "epidural",
    "12130007": "intraarticular", "372464004": "intradermal", "127492001": "nasal", "417985001": "oral",
    "418136008": "oral", "127490009": "oral", "255559005": "topical", "448598008": "topical",
    "419993007": "iv", "418821007": "ophthalmic",
}  # fmt: skip
"""SNOMED CT route -> our word. A feeding tube counts as oral: the dose limits by mouth hold."""

_WORDS = {
    "po": "oral", "oral": "oral", "by mouth": "oral", "orally": "oral", "口服": "oral", "鼻饲": "oral",
    "嚼服": "oral", "冲服": "oral", "含服": "buccal", "ng": "oral", "gtt po": "oral", "iv": "iv",
    "ivp": "iv", "ivd": "iv", "ivgtt": "iv", "iv gtt": "iv", "ivdrip": "iv", "iv drip": "iv",
    "intravenous": "iv", "iv push": "iv", "静脉滴注": "iv", "静滴": "iv", "静脉注射": "iv", "静注": "iv",
    "静推": "iv", "静脉推注": "iv", "静脉泵入": "iv", "微量泵入": "iv", "静脉输液": "iv", "静脉": "iv",
    "泵入": "iv", "im": "im", "intramuscular": "im", "肌注": "im", "肌肉注射": "im", "肌内注射": "im",
    "肌肉": "im", "sc": "sc", "sq": "sc", "ih": "sc", "subcut": "sc", "subcutaneous": "sc",
    "皮下注射": "sc", "皮下": "sc", "id": "intradermal", "皮内注射": "intradermal", "皮内": "intradermal",
    "皮试": "intradermal", "top": "topical", "topical": "topical", "外用": "topical", "外敷": "topical",
    "涂抹": "topical", "外涂": "topical", "外搽": "topical", "inh": "inhaled", "inhaled": "inhaled",
    "inhalation": "inhaled", "吸入": "inhaled", "雾化吸入": "inhaled", "雾化": "inhaled", "pr": "rectal",
    "rectal": "rectal", "直肠给药": "rectal", "直肠": "rectal", "灌肠": "rectal", "纳肛": "rectal",
    "塞肛": "rectal", "滴眼": "ophthalmic", "眼用": "ophthalmic", "ophthalmic": "ophthalmic",
    "滴鼻": "nasal", "喷鼻": "nasal", "nasal": "nasal", "滴耳": "otic", "otic": "otic", "sl": "sublingual",
    "sublingual": "sublingual", "舌下含服": "sublingual", "舌下": "sublingual", "pv": "vaginal",
    "vaginal": "vaginal", "阴道给药": "vaginal", "阴道": "vaginal", "阴道用药": "vaginal",
    "transdermal": "transdermal", "透皮": "transdermal", "贴敷": "transdermal", "it": "intrathecal",
    "鞘内注射": "intrathecal", "鞘内": "intrathecal", "intrathecal": "intrathecal", "epidural": "epidural",
    "硬膜外": "epidural", "关节腔注射": "intraarticular", "buccal": "buccal",
}  # fmt: skip
_IN_TEXT = re.compile(
    "|".join(
        sorted(
            (re.escape(word) for word in _WORDS if not word.isascii() or len(word) > 4), key=len, reverse=True
        )
    )
    + r"|\b(?:po|iv|im|sc|ih|ivgtt|ivd|pr)\b"
)


@lru_cache(maxsize=2048)
def _word(written: str) -> str | None:
    said = written.strip().casefold().replace(".", "")
    for ending in (" route", " use", "给药", " injection"):
        if said not in _WORDS:
            said = said.removesuffix(ending)
    return _WORDS.get(said)


def read_route(codings: list[Coding], written: str | None) -> str | None:
    """Return the route in our words; ``None`` where neither codes nor text are known."""
    for _, code, display in codings:
        found = _SNOMED.get(code) or _word(code) or (_word(display) if display else None)
        if found is not None:
            return found
    return _word(written) if written else None


@lru_cache(maxsize=4096)
def route_in_text(written: str) -> str | None:
    """Return the one route that a sentence names; two different ones are none."""
    if len(written) > 400:
        return None
    found = {_WORDS[match.group(0)] for match in _IN_TEXT.finditer(written.casefold())}
    return found.pop() if len(found) == 1 else None


_FORMS = (
    ("缓释胶囊", "extended_release_capsule"), ("控释片", "extended_release_tablet"),
    ("缓释片", "extended_release_tablet"), ("肠溶片", "enteric_tablet"), ("肠溶胶囊", "enteric_capsule"),
    ("胶囊", "capsule"), ("片", "tablet"), ("丸", "pill"), ("注射", "injection"), ("粉针", "injection"),
    ("干混悬", "suspension"), ("混悬", "suspension"), ("颗粒", "granule"), ("口服溶液", "oral_solution"),
    ("口服液", "oral_solution"), ("糖浆", "syrup"), ("滴眼液", "eye_drops"), ("乳膏", "cream"),
    ("软膏", "ointment"), ("凝胶", "gel"), ("贴", "patch"), ("栓", "suppository"), ("吸入", "inhaler"),
    ("喷雾", "spray"), ("气雾", "inhaler"), ("散", "powder"),
    ("extended release oral tablet", "extended_release_tablet"),
    ("extended release tablet", "extended_release_tablet"),
    ("extended release oral capsule", "extended_release_capsule"),
    ("delayed release oral tablet", "enteric_tablet"), ("delayed release oral capsule", "enteric_capsule"),
    ("tablet", "tablet"), ("capsule", "capsule"), ("injectable", "injection"), ("injection", "injection"),
    ("oral solution", "oral_solution"), ("oral suspension", "suspension"), ("suspension", "suspension"),
    ("syrup", "syrup"), ("ophthalmic solution", "eye_drops"), ("cream", "cream"), ("ointment", "ointment"),
    ("gel", "gel"), ("patch", "patch"), ("transdermal system", "patch"), ("suppository", "suppository"),
    ("inhal", "inhaler"), ("spray", "spray"),
)  # fmt: skip


@lru_cache(maxsize=8192)
def read_form(written: str) -> str | None:
    """Return the dosage form that a form's text or a product's name says."""
    said = written.casefold()[:400]
    return next((form for word, form in _FORMS if word in said), None)
