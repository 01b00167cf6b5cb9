"""A drug is understood whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from engine.drugs import Dictionary

INGREDIENTS = [
    "acetaminophen,对乙酰氨基酚,acetaminophen,analgesic",
    "hydrocodone,氢可酮,hydrocodone,opioid",
    "amoxicillin,阿莫西林,amoxicillin,penicillin|beta_lactam",
    "clavulanic_acid,克拉维酸,clavulanic acid,beta_lactamase_inhibitor",
    "acetylsalicylic_acid,阿司匹林,acetylsalicylic acid,nsaid|antiplatelet",
    "calcium,钙,calcium,mineral",
    "carbonate,碳酸,carbonate,",
    "atorvastatin,阿托伐他汀,atorvastatin,statin",
    "chlorphenamine,氯苯那敏,chlorphenamine,antihistamine",
    "glucose,葡萄糖,glucose,",
    "vitamin_b1,维生素B1,vitamin B1,",
    "diltiazem,地尔硫䓬,diltiazem,",
]
WORDS = {
    "salt": "calcium carbonate bitartrate sodium 盐酸 钠 钾 葡萄糖酸",
    "form": "tablet capsule injection solution 片 胶囊 颗粒 注射液 溶液",
    "release": "extended release 肠溶 缓释",
    "route": "oral 口服 注射用",
    "population": "小儿",
    "packaging": "prefilled syringe",
    "qualifier": "ii 重组",
}
NAMES = [
    "Tylenol,acetaminophen",
    "Augmentin,amoxicillin|clavulanic_acid",
    "扑热息痛,acetaminophen",
    "aspirin,acetylsalicylic_acid",
    "氨酚黄那敏,acetaminophen|chlorphenamine",
    "复方对乙酰氨基酚,acetaminophen|acetylsalicylic_acid",
    "阿莫西林甲,",
]


def put_ingredients_and_names(files: Any) -> None:
    types = {"ingredient": "text", "zh": "text", "en": "text", "classes": "text_set"}
    files.table("drug_ingredients", ["ingredient"], types, *INGREDIENTS)
    files.table("drug_names", ["name"], {"name": "text", "ingredients": "text_set"}, *NAMES)


@pytest.fixture
def drugs(files: Any) -> Dictionary:
    """Return a small dictionary."""
    put_ingredients_and_names(files)
    words = [f"{word},{kind}" for kind, listed in WORDS.items() for word in listed.split()]
    files.table("drug_name_words", ["word"], {"word": "text", "kind": "text"}, *words)
    files.table(
        "drug_classes",
        ["class"],
        {"class": "text", "zh": "text", "en": "text"},
        "penicillin,青霉素类,penicillins",
    )
    codes = [
        "rxnorm,313782,acetaminophen,acetaminophen=325 mg",
        "nhsa,XJ01CAA040,amoxicillin,",
        "atc,n02be01,acetaminophen,",
    ]
    types = {"system": "text", "code": "text", "ingredients": "text_set", "strengths": "text_set"}
    files.table("drug_codes", ["system", "code"], types, *codes)
    return Dictionary(files.release().tables)


def found(drugs: Dictionary, name: str) -> set[str] | None:
    drug = drugs.resolve((), name)
    return None if drug is None else set(drug.ingredients)


@pytest.mark.parametrize(
    ("name", "ingredients"),
    [
        ("acetaminophen", {"acetaminophen"}),
        ("  ACETAMINOPHEN ", {"acetaminophen"}),
        ("acetylsalicylic_acid", {"acetylsalicylic_acid"}),
        ("Aspirin 81 MG Oral Tablet", {"acetylsalicylic_acid"}),
        ("Acetaminophen 325 MG / Hydrocodone Bitartrate 5 MG Oral Tablet", {"acetaminophen", "hydrocodone"}),
        ("amoxicillin/clavulanic acid", {"amoxicillin", "clavulanic_acid"}),
        ("Augmentin", {"amoxicillin", "clavulanic_acid"}),
        ("Atorvastatin calcium 20 MG Oral Tablet", {"atorvastatin"}),
        ("calcium carbonate 500 MG", {"calcium"}),
        ("阿莫西林胶囊", {"amoxicillin"}),
        ("阿司匹林肠溶片100mg", {"acetylsalicylic_acid"}),
        ("阿莫西林/克拉维酸钾片", {"amoxicillin", "clavulanic_acid"}),
        ("扑热息痛片", {"acetaminophen"}),
        ("Tylenol片", {"acetaminophen"}),
        ("小儿氨酚黄那敏颗粒", {"acetaminophen", "chlorphenamine"}),
        ("复方对乙酰氨基酚片", {"acetaminophen", "acetylsalicylic_acid"}),
        ("盐酸地尔硫䓬缓释片", {"diltiazem"}),
        ("阿莫西林胶囊 0.25g×24粒/盒", {"amoxicillin"}),
        ("注射用阿莫西林钠 0.5克 10支/盒", {"amoxicillin"}),
        ("[某某制药]阿莫西林胶囊(某某牌)", {"amoxicillin"}),
        ("阿莫西林片Ⅱ", {"amoxicillin"}),
        ("维生素B1片", {"vitamin_b1"}),
        ("0.5 ML Amoxicillin 20 MG/ML Prefilled Syringe", {"amoxicillin"}),
        ("Acetaminophen 325 MG Oral Tablet [Unheardol PM]", {"acetaminophen"}),
        ("Acetaminophen 325 MG [Tylenol PM]", {"acetaminophen"}),
        ("Acetaminophen-Hydrocodone", {"acetaminophen", "hydrocodone"}),
        ("NDA020800 0.3 ML Hydrocodone Injection", {"hydrocodone"}),
    ],
)
def test_a_product_name_gives_its_ingredients(drugs: Dictionary, name: str, ingredients: set[str]) -> None:
    assert found(drugs, name) == ingredients


@pytest.mark.parametrize(
    "name",
    [
        "",
        "unheard-of remedy",
        "Acetaminophen 325 MG / Unheardol 5 MG Oral Tablet",
        "amoxicillin/unheardol",
        "复方对乙酰氨基酚片(Ⅱ)",
        "复方阿莫西林片",
        "阿莫西林/舒巴坦片",
        "Amoxicillin Unheardol 500 MG",
        "Unheardol Amoxicillin Tablet",
        "Amoxicillin DM",
        "Sodium-Amoxicillin Tablet",
        "Atorvastatin Calcium Unheardol",
        "阿莫西林某某坦片",
        "某某坦阿莫西林片",
        "去阿莫西林片",
        "阿莫西林(含某某坦)片",
        "阿莫西林(阿司匹林某某坦)片",
        "阿莫西林(某某坦、某某酸)片",
        "阿莫西林β片",
        "葡萄糖酸亚铁片",
        "维生素B15片",
        "阿莫西林甲片",
        "阿莫西林甲",
        "片",
        "阿莫西林" * 300,
        "感冒灵颗粒",
    ],
)
def test_a_name_understood_in_part_is_not_understood(drugs: Dictionary, name: str) -> None:
    assert found(drugs, name) is None


def test_agents_are_ingredients_with_all_their_classes(drugs: Dictionary) -> None:
    drug = drugs.resolve((), "阿莫西林")
    assert drug is not None
    assert drug.agents == {"amoxicillin", "penicillin", "beta_lactam"}


def test_a_code_comes_before_a_name_and_brings_its_strength(drugs: Dictionary) -> None:
    drug = drugs.resolve((("rxnorm", "313782"),), "aspirin")
    assert drug is not None
    assert drug.ingredients == {"acetaminophen"}
    assert drug.strengths == {"acetaminophen": 325.0}
    assert drugs.resolve((("atc", "N02BE01"),), None) is not None
    assert drugs.resolve((("rxnorm", "1"),), None) is None
    fallen_back = drugs.resolve((("rxnorm", "1"),), "aspirin")
    assert fallen_back is not None
    assert fallen_back.ingredients == {"acetylsalicylic_acid"}


def test_a_national_code_is_understood_by_its_beginning(drugs: Dictionary) -> None:
    drug = drugs.resolve((("nhsa", "XJ01CAA040B001010100001"),), None)
    assert drug is not None
    assert drug.ingredients == {"amoxicillin"}
    assert drugs.resolve((("nhsa", "XJ01CAB"),), None) is None


def test_an_allergen_is_a_drug_or_a_class(drugs: Dictionary) -> None:
    assert drugs.allergen((), "青霉素类") == frozenset({"penicillin"})
    assert drugs.allergen((), "Penicillins") == frozenset({"penicillin"})
    assert drugs.allergen((), "阿莫西林") == frozenset({"amoxicillin", "penicillin", "beta_lactam"})
    assert drugs.allergen((), "花粉") is None
    assert drugs.allergen((), None) is None


def test_ids_are_said_in_words(drugs: Dictionary) -> None:
    label = drugs.label("penicillin")
    assert label is not None
    assert (label.zh, label.en) == ("青霉素类", "penicillins")
    assert drugs.label("unheardol") is None
    assert len(drugs) == len(INGREDIENTS)


def test_an_empty_dictionary_understands_nothing() -> None:
    assert Dictionary({}).resolve((("atc", "N02BE01"),), "aspirin") is None


def test_without_words_only_names_with_nothing_beside_them_are_understood(files: Any) -> None:
    put_ingredients_and_names(files)
    drugs = Dictionary(files.release().tables)
    assert found(drugs, "阿莫西林") == {"amoxicillin"}
    assert found(drugs, "Amoxicillin 500 MG") == {"amoxicillin"}
    assert found(drugs, "amoxicillin/clavulanic acid") == {"amoxicillin", "clavulanic_acid"}
    assert found(drugs, "阿莫西林胶囊") is None
    assert found(drugs, "Amoxicillin Tablet") is None
