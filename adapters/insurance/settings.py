"""Hold what a site sets for the insurer's wire: code tables, what its client sends, what its region expects.

The tables are NHSA dictionaries as several vendors transcribe them; a region that differs replaces a whole
table. ``None`` means: this code is known and says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.facts import ChargeKind, Insurance, PregnancyState, Sex, VisitKind

__all__ = ["Settings", "read"]

PREFIX = "RULEWARD_INSURANCE_"

SEXES: dict[str, Sex | None] = {
    "1": "male",
    "2": "female",
    "0": None,
    "9": None,
    "M": "male",
    "F": "female",
    "男": "male",
    "女": "female",
}
VISIT_KINDS: dict[str, VisitKind | None] = {
    "11": "outpatient",
    "12": "outpatient",
    "13": "emergency",
    "14": "outpatient",
    "21": "inpatient",
    "28": "day_surgery",
    "41": "pharmacy",
    "51": "outpatient",
    "52": "inpatient",
}
CARE_KINDS: dict[str, VisitKind | None] = {"1": "outpatient", "2": "inpatient", "3": "pharmacy", "4": None}
INSURANCES: dict[str, Insurance | None] = {
    "310": "employee",
    "340": "retired_cadre",
    "390": "resident",
    "391": "resident",
    "392": "resident",
    "410": "work_injury",
    "510": "maternity",
}
HOSPITAL_LEVELS: dict[str, float | None] = {
    **dict.fromkeys(("01", "02", "03", "04", "12"), 3.0),
    **dict.fromkeys(("05", "06", "07", "13"), 2.0),
    **dict.fromkeys(("08", "09", "10", "14"), 1.0),
    "11": 0.0,
}
CHARGE_KINDS: dict[str, ChargeKind | None] = {
    "101": "drug",
    "102": "decoction_piece",
    "105": "other",
    "106": "granule",
    "201": "service",
    "301": "consumable",
    "501": "other",
}
PRESCRIBER_GRADES: dict[str, float | None] = {
    "1": 1.0,
    "2": 1.0,
    "3": 2.0,
    "4": 3.0,
    "5": 4.0,
    "6": None,
    "9": None,
}
PREGNANCY_STATES: dict[str, PregnancyState | None] = {"0": "neither", "1": "pregnant", "2": "lactating"}
BEHAVIOURS = {
    "重复收费": "T380301",
    "超标准收费": "T380302",
    "分解收费": "T380303",
    "过度诊疗": "T380201",
    "过度检查": "T380202",
    "超量开药": "T380204",
    "重复开药": "T380205",
    "将不属于支付范围的费用纳入结算": "T380601",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a site sets for NHSA 3101, 3102 and 3103.

    ``complete_history``: the client sends every earlier visit, so none sent means there was none.
    ``dose_from_pack``: a daily dose is quantity × pack ÷ days (an average: 3101 has no dose), only where
    pack, begin and stop are readable and the drug has one ingredient.
    ``maternity_visits``: ``med_type`` of visits that the maternity cover of the employees' fund pays.
    ``behaviours``: behaviour class in words -> ``vola_bhvr_type``; the default is one province's coding.
    ``amount_known``, ``amount_unknown``: ``vola_amt_stas``, of which no public dictionary was found.
    """

    complete_history: bool = False
    dose_from_pack: bool = False
    max_bytes: int = 8 * 1024 * 1024
    max_patients: int = 200
    max_orders: int = 20_000
    maternity_visits: frozenset[str] = frozenset({"51", "52"})
    sexes: dict[str, Sex | None] = msgspec.field(default_factory=lambda: dict(SEXES))
    visit_kinds: dict[str, VisitKind | None] = msgspec.field(default_factory=lambda: dict(VISIT_KINDS))
    care_kinds: dict[str, VisitKind | None] = msgspec.field(default_factory=lambda: dict(CARE_KINDS))
    insurances: dict[str, Insurance | None] = msgspec.field(default_factory=lambda: dict(INSURANCES))
    hospital_levels: dict[str, float | None] = msgspec.field(default_factory=lambda: dict(HOSPITAL_LEVELS))
    charge_kinds: dict[str, ChargeKind | None] = msgspec.field(default_factory=lambda: dict(CHARGE_KINDS))
    prescriber_grades: dict[str, float | None] = msgspec.field(
        default_factory=lambda: dict(PRESCRIBER_GRADES)
    )
    pregnancy_states: dict[str, PregnancyState | None] = msgspec.field(
        default_factory=lambda: dict(PREGNANCY_STATES)
    )
    behaviours: dict[str, str] = msgspec.field(default_factory=lambda: dict(BEHAVIOURS))
    other_behaviour: str = "99"
    amount_known: str = "1"
    amount_unknown: str = "0"


def read(environment: Mapping[str, str]) -> Settings:
    """Read ``RULEWARD_INSURANCE_SETTINGS``, JSON of any field; ``ValueError`` has the path of a fault."""
    stated = environment.get(f"{PREFIX}SETTINGS", "")
    if not stated.strip():
        return Settings()
    try:
        return msgspec.json.decode(stated.encode(), type=Settings)
    except msgspec.DecodeError as error:
        raise ValueError(
            f'{PREFIX}SETTINGS: {error}. Write JSON such as {{"complete_history": true}}.'
        ) from None
