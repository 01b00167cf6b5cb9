"""Declare everything that may be known about a patient, a visit and its orders.

A fact is typed, carries its unit, a Chinese and an English label and its meaning. ``None`` means
*unknown*, which is neither true nor false; an empty tuple means *known to be none*. Adapters build these
structures, rules name their fields (``medication.daily_mg`` or, once bound, ``drug.daily_mg``), and the
vocabulary of the editor and the docs is read from here.

Money is :class:`decimal.Decimal` in yuan, doses are floats in the unit that the field's name carries.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

import msgspec

__all__ = [
    "COLLECTIONS",
    "SINGLES",
    "Allergy",
    "Appointment",
    "Charge",
    "Component",
    "Diagnosis",
    "Facts",
    "Imaging",
    "Item",
    "Label",
    "Medication",
    "Observation",
    "Patient",
    "Procedure",
    "Visit",
]


class Label(msgspec.Struct, frozen=True):
    """What a fact is called, in Chinese and in English, what it means, its unit and its choices."""

    zh: str
    en: str
    meaning: str = ""
    unit: str | None = None
    options: dict[str, tuple[str, str]] = {}


def _(zh: str, en: str, meaning: str = "", unit: str | None = None, **options: tuple[str, str]) -> Label:
    return Label(zh, en, meaning, unit, options)


Sex = Literal["male", "female", "other"]
PregnancyState = Literal["pregnant", "lactating", "neither"]
VisitKind = Literal["outpatient", "emergency", "inpatient", "day_surgery", "pharmacy", "internet"]
Insurance = Literal["employee", "resident", "retired_cadre", "maternity", "work_injury", "self_pay"]
ChargeKind = Literal["drug", "decoction_piece", "granule", "service", "consumable", "other"]
Severity = Literal["mild", "moderate", "severe"]

Text = str | None
TextSet = frozenset[str] | None
Number = float | None
Money = Decimal | None
Day = dt.date | None
Moment = Annotated[dt.datetime, msgspec.Meta(tz=False)] | None  # local time of the site, no zone
YesNo = bool | None


class _Known(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shared struct settings: unknown keys are refused, unknown facts are left out when written."""


class Patient(_Known, kw_only=True):
    """The person; ages are filled in from ``birth_date`` and the day of the decision."""

    id: Annotated[Text, _("患者标识", "Patient id", "The caller's own identifier, never a name")] = None
    sex: Annotated[
        Sex | None,
        _("性别", "Sex", male=("男", "male"), female=("女", "female"), other=("其他", "other")),
    ] = None
    birth_date: Annotated[Day, _("出生日期", "Date of birth")] = None
    age_years: Annotated[Number, _("年龄", "Age", "Completed years on the day", "a")] = None
    age_months: Annotated[Number, _("月龄", "Age in months", "Completed months", "mo")] = None
    age_days: Annotated[Number, _("日龄", "Age in days", "Days since birth", "d")] = None
    weight_kg: Annotated[Number, _("体重", "Body weight", "Latest valid weight", "kg")] = None
    height_cm: Annotated[Number, _("身高", "Height", "Latest valid height", "cm")] = None
    surface_m2: Annotated[Number, _("体表面积", "Body surface", "Mosteller", "m2")] = None
    creatinine_umol_l: Annotated[Number, _("血肌酐", "Serum creatinine", "Latest valid value", "umol/L")] = (
        None
    )
    creatinine_clearance: Annotated[
        Number, _("肌酐清除率", "Creatinine clearance", "Cockcroft-Gault, adults", "mL/min")
    ] = None
    egfr: Annotated[Number, _("肾小球滤过率", "eGFR", "As reported", "mL/min/{1.73_m2}")] = None
    pregnancy: Annotated[
        PregnancyState | None,
        _(
            "妊娠哺乳状态",
            "Pregnancy state",
            pregnant=("妊娠期", "pregnant"),
            lactating=("哺乳期", "lactating"),
            neither=("非孕非哺乳", "neither"),
        ),
    ] = None


class Visit(_Known, kw_only=True):
    """One encounter; the visit under decision is ``facts.visit``, earlier ones stand in history."""

    id: Annotated[Text, _("就诊标识", "Visit id")] = None
    kind: Annotated[
        VisitKind | None,
        _(
            "就医方式",
            "Visit kind",
            outpatient=("门诊", "outpatient"),
            emergency=("急诊", "emergency"),
            inpatient=("住院", "inpatient"),
            day_surgery=("日间手术", "day surgery"),
            pharmacy=("药店购药", "pharmacy"),
            internet=("互联网", "internet"),
        ),
    ] = None
    start: Annotated[Moment, _("开始时间", "Start", "Admission or visit time")] = None
    end: Annotated[Moment, _("结束时间", "End", "Discharge; unknown while it lasts")] = None
    department: Annotated[Text, _("科室", "Department", "Code of the site")] = None
    discharge_department: Annotated[Text, _("出院科室", "Discharge department")] = None
    hospital: Annotated[Text, _("医疗机构", "Institution", "National institution code")] = None
    hospital_level: Annotated[
        Number, _("机构级别", "Hospital level", "3 tertiary, 2 secondary, 1 primary, 0 ungraded")
    ] = None
    region: Annotated[Text, _("就医地", "Place of care", "mdtrtarea_admvs, 6 digits")] = None
    insured_region: Annotated[Text, _("参保地", "Place of insurance", "insuplc_admdvs")] = None
    insurance: Annotated[
        Insurance | None,
        _(
            "险种",
            "Insurance type",
            employee=("职工医保", "employee"),
            resident=("居民医保", "resident"),
            retired_cadre=("离休", "retired cadre"),
            maternity=("生育保险", "maternity"),
            work_injury=("工伤保险", "work injury"),
            self_pay=("自费", "self-pay"),
        ),
    ] = None
    main_diagnosis: Annotated[Text, _("主诊断", "Main diagnosis", "ICD-10 code")] = None
    total_amount: Annotated[Money, _("总费用", "Total amount", unit="CNY")] = None
    doctor: Annotated[Text, _("医师", "Doctor", "Code, never a name")] = None


class Item(_Known, kw_only=True):
    """Anything a rule can range over. ``in_focus`` marks what the new or changed action touches."""

    id: Annotated[str, _("标识", "Id", "Reference by which a finding points back")]
    in_focus: Annotated[bool, _("本次操作", "In focus", "Touched by this action")] = True
    visit_id: Annotated[Text, _("所属就诊", "Visit", "Unknown means the current visit")] = None


class Diagnosis(Item, kw_only=True):
    code: Annotated[Text, _("诊断编码", "Diagnosis code", "ICD-10, insurer's edition")] = None
    prefixes: Annotated[
        TextSet, _("编码各级", "Code prefixes", "I63.9 gives I, I6, I63, I63.9; filled in")
    ] = None
    name: Annotated[Text, _("诊断名称", "Diagnosis name")] = None
    main: Annotated[YesNo, _("主诊断", "Main")] = None
    active: Annotated[YesNo, _("有效", "Active")] = None
    onset: Annotated[Day, _("诊断日期", "Onset or date")] = None


class Allergy(Item, kw_only=True):
    name: Annotated[Text, _("过敏原", "Allergen", "As recorded")] = None
    agents: Annotated[TextSet, _("过敏物质", "Agents", "Ingredient and its allergy classes, resolved")] = None
    severity: Annotated[
        Severity | None,
        _(
            "严重程度",
            "Severity",
            mild=("轻", "mild"),
            moderate=("中", "moderate"),
            severe=("重", "severe"),
        ),
    ] = None
    confirmed: Annotated[YesNo, _("已确认", "Confirmed", "False: refuted or in error")] = None
    reaction: Annotated[Text, _("反应", "Reaction")] = None


class Medication(Item, kw_only=True):
    name: Annotated[Text, _("药品", "Drug", "As ordered")] = None
    code: Annotated[Text, _("药品编码", "Drug code", "First code given, system|code")] = None
    ingredients: Annotated[TextSet, _("成分", "Ingredients", "Resolved ingredient ids")] = None
    agents: Annotated[TextSet, _("成分与类别", "Agents", "Ingredients and all their classes, resolved")] = (
        None
    )
    route: Annotated[Text, _("给药途径", "Route", "oral, iv, im, sc, topical, inhaled …")] = None
    form: Annotated[Text, _("剂型", "Dosage form")] = None
    times_per_day: Annotated[Number, _("每日次数", "Times a day", unit="/d")] = None
    as_needed: Annotated[YesNo, _("必要时", "As needed")] = None
    course_days: Annotated[Number, _("疗程天数", "Course", "Days of this order", "d")] = None
    quantity: Annotated[Number, _("数量", "Quantity", "Units dispensed")] = None
    start: Annotated[Moment, _("开始时间", "Start")] = None
    end: Annotated[Moment, _("停止时间", "End", "Unknown end of an active order is open")] = None
    group: Annotated[Text, _("组号", "Group", "Lines infused together")] = None
    prescription: Annotated[Text, _("处方号", "Prescription")] = None
    prescriber_grade: Annotated[Number, _("医师职称", "Prescriber grade", "1 resident … 4 chief")] = None
    discharge: Annotated[YesNo, _("出院带药", "Discharge drug")] = None


class Component(Item, kw_only=True):
    """One ingredient of one medication with its dose; dose rules range over these."""

    medication: Annotated[str, _("所属医嘱", "Medication id")]
    name: Annotated[Text, _("药品", "Drug", "As ordered")] = None
    ingredient: Annotated[Text, _("成分", "Ingredient", "Resolved ingredient id")] = None
    agents: Annotated[TextSet, _("成分与类别", "Agents", "Ingredient and its classes")] = None
    route: Annotated[Text, _("给药途径", "Route")] = None
    single_mg: Annotated[Number, _("单次剂量", "Single dose", "Largest, in a range", "mg")] = None
    daily_mg: Annotated[Number, _("日剂量", "Daily dose", "Largest, in a range", "mg/d")] = None
    single_mg_low: Annotated[Number, _("单次剂量下限", "Lowest single dose", unit="mg")] = None
    daily_mg_low: Annotated[Number, _("日剂量下限", "Lowest daily dose", unit="mg/d")] = None
    single_iu: Annotated[Number, _("单次剂量(单位)", "Single dose, units", unit="[iU]")] = None
    daily_iu: Annotated[Number, _("日剂量(单位)", "Daily dose, units", unit="[iU]/d")] = None
    single_mg_per_kg: Annotated[Number, _("每公斤单次", "Single dose per kg", "Filled in", "mg/kg")] = None
    daily_mg_per_kg: Annotated[Number, _("每公斤每日", "Daily dose per kg", "Filled in", "mg/kg/d")] = None
    times_per_day: Annotated[Number, _("每日次数", "Times a day", unit="/d")] = None
    as_needed: Annotated[YesNo, _("必要时", "As needed")] = None
    course_days: Annotated[Number, _("疗程天数", "Course", unit="d")] = None
    start: Annotated[Moment, _("开始时间", "Start")] = None
    end: Annotated[Moment, _("停止时间", "End")] = None


class Charge(Item, kw_only=True):
    """One line of a bill or an order as the insurer sees it (NHSA ``fsi_order_dtos``)."""

    code: Annotated[Text, _("医保编码", "National code", "hilist_code")] = None
    name: Annotated[Text, _("名称", "Name")] = None
    kind: Annotated[
        ChargeKind | None,
        _(
            "类别",
            "Kind",
            drug=("药品", "drug"),
            decoction_piece=("中药饮片", "decoction piece"),
            granule=("配方颗粒", "granule"),
            service=("医疗服务", "service"),
            consumable=("耗材", "consumable"),
            other=("其他", "other"),
        ),
    ] = None
    quantity: Annotated[Number, _("数量", "Quantity")] = None
    price: Annotated[Money, _("单价", "Unit price", unit="CNY")] = None
    amount: Annotated[Money, _("金额", "Amount", unit="CNY")] = None
    fund_amount: Annotated[Money, _("纳入医保金额", "Amount claimed from the fund", unit="CNY")] = None
    day: Annotated[Day, _("费用日期", "Day charged")] = None
    start: Annotated[Moment, _("开始时间", "Start")] = None
    end: Annotated[Moment, _("停止时间", "End")] = None
    department: Annotated[Text, _("开单科室", "Department")] = None
    doctor: Annotated[Text, _("开单医师", "Doctor", "Code")] = None
    prescriber_grade: Annotated[Number, _("医师职称", "Prescriber grade", "1 resident … 4 chief")] = None
    prescription: Annotated[Text, _("处方号", "Prescription")] = None
    group: Annotated[Text, _("组号", "Group")] = None
    discharge: Annotated[YesNo, _("出院带药", "Discharge drug")] = None


class Procedure(Item, kw_only=True):
    code: Annotated[Text, _("手术操作编码", "Procedure code", "ICD-9-CM-3")] = None
    name: Annotated[Text, _("手术操作名称", "Procedure name")] = None
    main: Annotated[YesNo, _("主手术", "Main")] = None
    day: Annotated[Day, _("日期", "Day")] = None


class Observation(Item, kw_only=True):
    code: Annotated[Text, _("检验项目", "Test", "LOINC")] = None
    name: Annotated[Text, _("名称", "Name")] = None
    value: Annotated[Number, _("结果", "Value", "In the canonical unit of the code")] = None
    unit: Annotated[Text, _("单位", "Unit", "UCUM")] = None
    text: Annotated[Text, _("文字结果", "Text result")] = None
    taken: Annotated[Moment, _("采样时间", "Taken at")] = None
    age_days: Annotated[Number, _("距今天数", "Days ago", "Filled in", "d")] = None


class Imaging(Item, kw_only=True):
    code: Annotated[Text, _("检查项目", "Study code")] = None
    name: Annotated[Text, _("名称", "Name")] = None
    modality: Annotated[Text, _("设备类型", "Modality", "DICOM modality")] = None
    body_site: Annotated[Text, _("部位", "Body site")] = None
    contrast: Annotated[YesNo, _("造影剂", "Contrast")] = None
    day: Annotated[Day, _("日期", "Day")] = None


class Appointment(Item, kw_only=True):
    service: Annotated[Text, _("预约服务", "Service")] = None
    department: Annotated[Text, _("科室", "Department")] = None
    doctor: Annotated[Text, _("医师", "Doctor")] = None
    status: Annotated[Text, _("状态", "Status", "FHIR Appointment.status")] = None
    start: Annotated[Moment, _("开始时间", "Start")] = None
    end: Annotated[Moment, _("结束时间", "End")] = None


class PastVisit(Visit, kw_only=True):
    """A visit of the history; the current one is not among them."""

    in_focus: Annotated[bool, _("本次操作", "In focus")] = False


class Facts(_Known, kw_only=True):
    """All that is known at one decision. A collection that is ``None`` was not supplied: unknown."""

    patient: Patient = msgspec.field(default_factory=Patient)
    visit: Visit = msgspec.field(default_factory=Visit)
    diagnoses: tuple[Diagnosis, ...] | None = None
    allergies: tuple[Allergy, ...] | None = None
    medications: tuple[Medication, ...] | None = None
    components: tuple[Component, ...] | None = None
    charges: tuple[Charge, ...] | None = None
    procedures: tuple[Procedure, ...] | None = None
    observations: tuple[Observation, ...] | None = None
    imaging: tuple[Imaging, ...] | None = None
    appointments: tuple[Appointment, ...] | None = None
    past_charges: tuple[Charge, ...] | None = None
    past_visits: tuple[PastVisit, ...] | None = None


SINGLES: dict[str, type[msgspec.Struct]] = {"patient": Patient, "visit": Visit}
"""Facts of which there is one: name in a rule -> structure."""

COLLECTIONS: dict[str, tuple[str, type[Item | PastVisit]]] = {
    "diagnosis": ("diagnoses", Diagnosis),
    "allergy": ("allergies", Allergy),
    "medication": ("medications", Medication),
    "component": ("components", Component),
    "charge": ("charges", Charge),
    "procedure": ("procedures", Procedure),
    "observation": ("observations", Observation),
    "imaging": ("imaging", Imaging),
    "appointment": ("appointments", Appointment),
    "past_charge": ("past_charges", Charge),
    "past_visit": ("past_visits", PastVisit),
}
"""Facts of which there are many: name in a rule -> (field of :class:`Facts`, structure)."""
