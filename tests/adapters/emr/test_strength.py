"""Strengths are read from names and specifications; what is ambiguous is left out."""

from __future__ import annotations

import pytest

from adapters.emr.strength import Strength, read_strengths, strength_of_ratio
from adapters.emr.units import measure


@pytest.mark.parametrize(
    ("written", "mg_per_piece", "mg_per_ml"),
    [
        ("0.25g×12片/盒", 250, None),
        ("布洛芬片 0.2g*20片", 200, None),
        ("0.5g*24s", 500, None),
        ("100μg×30片", 0.1, None),
        ("5ml:0.25g", 250, 50),
        ("0.25g:5ml", 250, 50),
        ("100ml：0.5g", 500, 5),
        ("10mg/5ml", 10, 2),
        ("10 MG/ML", None, 10),
        ("1 ML Epinephrine 1 MG/ML Injection", 1, 1),
        ("5%葡萄糖注射液 250ml", 12_500, 50),
        ("24 HR Metformin hydrochloride 500 MG Extended Release Oral Tablet", 500, None),
        ("100 ACTUAT salbutamol 0.09 MG/ACTUAT", 0.09, None),
        ("Paracetamol 1,000 MG Oral Tablet", 1000, None),
        ("0.3g/粒×20粒", 300, None),
    ],
)
def test_a_specification_gives_the_strength(
    written: str, mg_per_piece: float | None, mg_per_ml: float | None
) -> None:
    (found,) = read_strengths(written)
    assert found.mg_per_piece == pytest.approx(mg_per_piece)
    assert found.mg_per_ml == pytest.approx(mg_per_ml)


@pytest.mark.parametrize(
    ("written", "iu_per_piece", "iu_per_ml"),
    [
        ("注射用青霉素钠 80万单位/支", 800_000, None),
        ("160万U×50支", 1_600_000, None),
        ("insulin 100 UNT/ML", None, 100),
        ("胰岛素注射液 10ml:400单位", 400, 40),
    ],
)
def test_units_are_kept_apart_from_milligrams(
    written: str, iu_per_piece: float | None, iu_per_ml: float | None
) -> None:
    (found,) = read_strengths(written)
    assert found.iu_per_piece == pytest.approx(iu_per_piece)
    assert found.iu_per_ml == pytest.approx(iu_per_ml)
    assert found.mg_per_piece is None
    assert found.mg_per_ml is None


def test_a_product_of_two_ingredients_gives_two_parts() -> None:
    one, two = read_strengths("Acetaminophen 325 MG / Hydrocodone Bitartrate 5 MG Oral Tablet")
    assert (one.fragment, one.mg_per_piece) == ("Acetaminophen", 325)
    assert (two.fragment, two.mg_per_piece) == ("Hydrocodone Bitartrate", 5)


@pytest.mark.parametrize(
    "written", ["阿莫西林克拉维酸钾片 0.25g/0.0625g", "芬太尼透皮贴剂 25μg/h", "阿司匹林", "", "x" * 1000]
)
def test_an_ambiguous_or_absent_strength_is_none(written: str) -> None:
    assert read_strengths(written) == ()


@pytest.mark.parametrize(
    ("pack", "dose", "mg"),
    [
        ("tablet", "片", 500),
        ("tablet", "粒", 500),
        ("tablet", "瓶", None),
        ("puff", "片", None),
        ("", "片", 500),
        ("", "喷", None),
        ("ampoule", "vial", 500),
    ],
)
def test_a_dose_in_pieces_needs_the_piece_that_the_strength_is_of(
    pack: str, dose: str, mg: float | None
) -> None:
    unit = measure(dose)
    assert unit is not None
    assert Strength(mg_per_piece=500, piece=pack).of(1, unit)[0] == mg


def test_the_ratio_of_a_medication_resource_gives_the_strength() -> None:
    assert strength_of_ratio(0.5, "g", 1, "片") == Strength("", 500, None, None, None, "tablet")
    assert strength_of_ratio(250, "mg", 5, "mL") == Strength("", None, 50, None, None, "")
    assert strength_of_ratio(1, "g", 0, "片") is None
    assert strength_of_ratio(1, "mmol", 1, "mL") is None
