"""A decision belongs to a site and a department, and is read by those whose reach holds both."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from adapters.store.database import upgrade
from api.app import build_app
from api.deciding import DecisionService
from api.settings import read_settings
from engine.access import Role
from engine.snapshot import Snapshot, build_snapshot

BASE = "https://ruleward.example"
Headers = Callable[..., dict[str, str]]


class NoRules:
    """A release without rules, in force."""

    def now(self) -> Snapshot:
        return build_snapshot("sm3:00ff", (), {}, {})[0]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """Give the whole service in production mode, at the site *east*."""
    monkeypatch.setattr(DecisionService, "in_force", lambda _: NoRules().now())
    environment = {
        "RULEWARD_DATA": str(tmp_path),
        "RULEWARD_MODE": "production",
        "RULEWARD_BASE_URL": BASE,
        "RULEWARD_SITE": "east",
        "RULEWARD_KEY_PASSPHRASE": "of this test alone",
        "RULEWARD_FIRST_RELEASE": "0.01",
    }
    made = build_app(read_settings(environment, tmp_path / "rules"))
    upgrade(made.state.worker.engine)
    return made


@pytest.fixture
def browser(app: FastAPI) -> Iterator[TestClient]:
    """Give what calls it while it runs."""
    with TestClient(app, base_url=BASE) as client:
        yield client


@pytest.fixture
def headers(app: FastAPI) -> Headers:
    """Return what makes the headers of a caller, as the embedded provider signs them."""
    worker = app.state.worker

    def make(role: Role, *departments: str, site: str = "east", scope: str = "") -> dict[str, str]:
        now = int(worker.clock().timestamp())
        claims: dict[str, object] = {
            "iss": BASE, "aud": BASE, "sub": f"sub-{role}", "iat": now, "exp": now + 300, "scope": scope,
            "jti": secrets.token_hex(8), "roles": [str(role)], "site": site,
            "departments": list(departments), "amr": ["pwd", "otp"],
        }  # fmt: skip
        return {"Authorization": f"Bearer {worker.identity.keys.sign(claims, 'at+jwt')}"}

    return make


def decided(browser: TestClient, headers: dict[str, str], visit: dict[str, str]) -> str:
    body = {"stage": "order_sign", "facts": {"patient": {}, "visit": visit}}
    answer = browser.post("/decisions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_a_doctor_of_the_department_reads_a_decision_and_one_of_another_does_not_find_it(
    browser: TestClient, headers: Headers
) -> None:
    his = headers(Role.SERVICE, scope="check:facts")
    of_icu = decided(browser, his, {"department": "icu"})

    def status(caller: dict[str, str]) -> int:
        return int(browser.get(f"/decisions/{of_icu}", headers=caller).status_code)

    assert status(headers(Role.DOCTOR, "icu")) == 200
    assert status(headers(Role.NURSE, "surgery", "icu")) == 200
    assert status(headers(Role.DOCTOR, "surgery")) == 404
    assert status(headers(Role.DOCTOR)) == 404
    assert status(headers(Role.DOCTOR, "icu", site="west")) == 404
    assert status(headers(Role.CLINICAL_PHARMACIST)) == 200
    assert status(headers(Role.CLINICAL_PHARMACIST, site="west")) == 404
    assert status(headers(Role.SYSTEM_ADMINISTRATOR)) == 403


def test_a_decision_whose_department_nobody_said_is_read_by_those_who_read_the_site(
    browser: TestClient, headers: Headers
) -> None:
    one = decided(browser, headers(Role.SERVICE, scope="check:facts"), {})
    assert browser.get(f"/decisions/{one}", headers=headers(Role.DOCTOR, "icu")).status_code == 404
    assert browser.get(f"/decisions/{one}", headers=headers(Role.CLINICAL_PHARMACIST)).status_code == 200


def test_a_department_that_is_empty_opens_nothing_that_has_none(
    browser: TestClient, headers: Headers
) -> None:
    one = decided(browser, headers(Role.SERVICE, scope="check:facts"), {})
    assert browser.get(f"/decisions/{one}", headers=headers(Role.DOCTOR, "")).status_code == 404
