"""Translate an order line of the insurer (``fsi_order_dtos``) to a charge and, if a drug, an order."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal

from adapters.insurance.packs import pack_mg
from adapters.insurance.reading import Node
from adapters.insurance.settings import Settings
from engine.drugs import Drug
from engine.facts import Charge, Component, Medication

__all__ = ["Resolve", "charge_of", "medication_of"]

Resolve = Callable[[tuple[tuple[str, str], ...], str | None], Drug | None]
"""Codes and a name to a drug: the drug dictionary of a release."""


def charge_of(node: Node, item: str, in_focus: bool, settings: Settings) -> Charge:
    """Return the line as a charge. ``fund_amount``: amount − ownpay_amt − selfpay_amt."""
    amount = node.decimal("sumamt")
    own, share = node.decimal("ownpay_amt"), node.decimal("selfpay_amt")
    code = node.text("hilist_code")
    start = node.moment("drord_begn_date")
    return Charge(
        id=item,
        in_focus=in_focus,
        code=None if code is None else code.upper(),
        name=node.text("hilist_name") or node.text("hosplist_name"),
        kind=node.code("hilist_type", settings.charge_kinds),
        quantity=node.number("cnt"),
        price=node.decimal("pric"),
        amount=amount,
        fund_amount=_fund(amount, own, share),
        day=None if start is None else start.date(),
        start=start,
        end=node.moment("drord_stop_date"),
        department=node.text("drord_dept_codg"),
        doctor=node.text("drord_dr_codg"),
        prescriber_grade=node.code("drord_dr_profttl", settings.prescriber_grades),
        prescription=node.text("rxno"),
        group=node.text("grpno"),
        discharge=node.flag("drord_bhvr"),
    )


def _fund(amount: Decimal | None, own: Decimal | None, share: Decimal | None) -> Decimal | None:
    if amount is None or own is None or share is None:
        return None
    return amount - own - share


def medication_of(
    node: Node,
    charge: Charge,
    settings: Settings,
    resolve: Resolve,
) -> tuple[Medication, tuple[Component, ...]]:
    """Return the drug line as an order and its components; a drug nobody knows has one unknown component."""
    codes = (("nhsa", charge.code),) if charge.code else ()
    drug = resolve(codes, charge.name)
    days = _days(charge.start, charge.end)
    medication = Medication(
        id=f"{charge.id}/drug",
        in_focus=charge.in_focus,
        name=charge.name,
        code=f"nhsa|{charge.code}" if charge.code else None,
        ingredients=drug.ingredients if drug else None,
        agents=drug.agents if drug else None,
        form=node.text("hilist_dosform") or node.text("hosplist_dosform"),
        course_days=days,
        quantity=charge.quantity,
        start=charge.start,
        end=charge.end,
        group=charge.group,
        prescription=charge.prescription,
        prescriber_grade=charge.prescriber_grade,
        discharge=charge.discharge,
    )
    daily = _pack_dose(node, charge, days) if settings.dose_from_pack else None
    known: list[str | None] = [*sorted(drug.ingredients)] if drug else [None]
    parts = tuple(
        Component(
            id=f"{charge.id}/{ingredient or 'unknown'}",
            in_focus=charge.in_focus,
            medication=medication.id,
            name=charge.name,
            ingredient=ingredient,
            agents=_agents(drug, ingredient, resolve),
            daily_mg=daily if drug and len(known) == 1 else None,
            course_days=days,
            start=charge.start,
            end=charge.end,
        )
        for ingredient in known
    )
    return medication, parts


def _agents(drug: Drug | None, ingredient: str | None, resolve: Resolve) -> frozenset[str] | None:
    if drug is None or ingredient is None:
        return None
    if len(drug.ingredients) == 1:
        return drug.agents
    alone = resolve((), ingredient)
    return alone.agents if alone else None


def _days(start: dt.datetime | None, end: dt.datetime | None) -> float | None:
    if start is None or end is None or end <= start:
        return None
    return float(math.ceil((end - start) / dt.timedelta(days=1)))


def _pack_dose(node: Node, charge: Charge, days: float | None) -> float | None:
    """Return quantity × pack ÷ days in mg a day: the only dose that this wire allows."""
    spec = node.text("spec")
    pack = pack_mg(spec) if spec else None
    if pack is None or days is None or charge.quantity is None:
        return None
    return charge.quantity * pack / days
