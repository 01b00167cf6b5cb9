from __future__ import annotations

import uuid

import pytest

from api.identifiers import name_uuid


@pytest.mark.parametrize("number", range(64))
def test_an_id_is_the_one_that_the_standard_library_makes(number: int) -> None:
    name = f"ruleward|{number}|布洛芬"
    assert name_uuid(uuid.NAMESPACE_OID, name) == str(uuid.uuid5(uuid.NAMESPACE_OID, name))
