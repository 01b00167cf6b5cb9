"""A canary goes through the service, well and badly formed, and is found nowhere that it should not be."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from adapters.emr.client import FhirReader
from adapters.gm_crypto import settings as crypto
from adapters.gm_crypto.envelope import EnvelopeSeal
from adapters.store.database import upgrade
from adapters.store.decisions import StoredDecisions
from api import cds_hooks, wire
from api.settings import read_settings

PATIENT, PERSON, ALLERGY, COMMENT = (
    "canary-4417",
    "金丝雀四四一七",
    "对金丝雀羽毛过敏四四一七",
    "金丝雀意见四四一七",
)
CANARIES = (PATIENT, PERSON, ALLERGY, COMMENT)


def seen(content: bytes) -> set[str]:
    """Return the canaries that ``content`` shows, as text, as JSON escapes or as hexadecimal digits."""
    return {
        text
        for text in CANARIES
        if text.encode() in content
        or json.dumps(text)[1:-1].encode() in content
        or text.encode().hex().encode() in content
    }


def order() -> dict[str, Any]:
    """Return a call of order-sign by which a man gets a drug for women."""
    medication = {
        "resourceType": "MedicationRequest",
        "id": "order-1",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": "alpha"},
        "subject": {"reference": f"Patient/{PATIENT}", "display": PERSON},
        "note": [{"text": COMMENT}],
    }
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "allergy-1",
        "patient": {"reference": f"Patient/{PATIENT}"},
        "code": {"text": ALLERGY},
    }
    nothing = ("encounter", "conditions", "meds", "medStatements", "labs", "vitals", "coverage", "imaging")
    return {
        "hook": "order-sign",
        "hookInstance": "0b0e8a52-5ff1-4c53-8f9c-6d2a30a5a001",
        "context": {
            "userId": "Practitioner/1",
            "patientId": PATIENT,
            "draftOrders": {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [{"resource": medication}],
            },
        },
        "prefetch": {
            "patient": {
                "resourceType": "Patient",
                "id": PATIENT,
                "name": [{"text": PERSON}],
                "gender": "male",
                "birthDate": "1980-05-01",
            },
            "allergies": {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": allergy}]},
            **dict.fromkeys(nothing),
        },
    }


def badly_formed() -> list[bytes]:
    """Return calls that must be refused, each with canaries in another place."""
    whole = json.dumps(order(), ensure_ascii=False)
    wrong_type = order()
    wrong_type["context"]["patientId"] = [PATIENT, PERSON]
    wrong_hook = order() | {"hook": "patient-view"}
    return [
        whole[:-30].encode(),
        json.dumps(wrong_type).encode(),
        json.dumps(wrong_hook).encode(),
        json.dumps([PERSON, ALLERGY]).encode(),
        whole.encode("gb18030"),
    ]


@pytest.fixture
def seal(tmp_path: Path) -> EnvelopeSeal:
    """Give the keys of a production site."""
    environment = {"RULEWARD_KEY_PASSPHRASE": "correct horse battery"}
    return EnvelopeSeal(*crypto.open_keys(crypto.read(environment, tmp_path / "var", demo=False)))


async def test_a_canary_is_in_no_file_table_log_metric_or_refusal(
    tmp_path: Path,
    empty_url: str,
    rules_folder: Any,
    seal: EnvelopeSeal,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(wire, "StoredDecisions", partial(StoredDecisions, seal=seal))
    environment = dict(os.environ) | {
        "RULEWARD_DATA": str(tmp_path / "var"),
        "RULEWARD_DATABASE_URL": empty_url,
        "RULEWARD_KEY_PASSPHRASE": "correct horse battery",
    }
    settings = read_settings(environment, rules_folder.root)
    worker = wire.build_worker(settings)
    upgrade(worker.engine)
    assert wire.build_publisher(settings).publish()
    worker.follower.start(settings.first_release_seconds)
    app = FastAPI()
    reader = FhirReader.over_http(settings.record)
    app.include_router(cds_hooks.router(worker.service, settings.record, reader, worker.clock))
    refusals: list[bytes] = []
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        path = "/cds-services/ruleward-order-sign"
        answer = await client.post(path, json=order())
        assert answer.status_code == 200
        card = answer.json()["cards"][0]  # others say what could not be checked
        assert (await client.post(path, json=order())).content == answer.content
        for body in badly_formed():
            refused = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= refused.status_code < 500
            refusals.append(refused.content)
        said = await client.post(
            f"{path}/feedback",
            json={
                "feedback": [
                    {
                        "card": card["uuid"],
                        "outcome": "overridden",
                        "outcomeTimestamp": dt.datetime.now(dt.UTC).isoformat(),
                        "overrideReason": {"reason": {"code": "x", "system": "y"}, "userComment": COMMENT},
                    }
                ]
            },
        )
        assert said.status_code == 200
    [kept] = await worker.log.recent(9, patient=PATIENT)
    assert PATIENT in kept.patient
    everything = {
        "log": caplog.text.encode(),
        "terminal": "".join(capfd.readouterr()).encode(),
        "metrics": worker.metrics.text(),
        "refusals": b"".join(refusals),
        "tables": dumped(worker.engine),
        "files": written(tmp_path),
    }
    await worker.close()
    assert {place: found for place, content in everything.items() if (found := seen(content))} == {}
    assert b"order_sign" in everything["tables"]


def written(folder: Path) -> bytes:
    """Return what all files of a folder hold."""
    return b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())


def dumped(engine: sa.Engine) -> bytes:
    """Return every value of every table."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    values: list[bytes] = []
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(sa.select(table)):
                values += [
                    bytes(one) if isinstance(one, bytes | memoryview) else str(one).encode() for one in row
                ]
    return b"\n".join(values)
