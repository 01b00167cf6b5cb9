"""Whatever anyone sends to any operation, in either mode: a declared answer, and no 5xx but a declared 503.

Every operation gets generated requests, as they are described and otherwise, from each role, from nobody and
from one with a token that is none. ``RULEWARD_FUZZ_REQUESTS`` sets the number of the long run (20 000).
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import build_app
from api.settings import read_settings
from engine.access import Role

LONG = int(os.environ.get("RULEWARD_FUZZ_REQUESTS", "20000"))
SEED = int(os.environ.get("RULEWARD_FUZZ_SEED", "20260301"))
CHECKS: list[Any] = [status_code_conformance, content_type_conformance, response_schema_conformance]
NOBODY, STRANGER = "nobody", "stranger"
TOKEN_SECONDS = 120.0
WORDS = {
    "grant_type": ["authorization_code", "refresh_token", "client_credentials", "password"],
    "response_type": ["code", "token"],
    "client_id": ["his", "ruleset-editor", "nobody"],
    "redirect_uri": ["https://ruleward.example/editor/callback", "https://evil.example/"],
    "post_logout_redirect_uri": ["https://ruleward.example/editor/", "javascript:alert(1)"],
    "code_challenge_method": ["S256", "plain"],
    "scope": ["openid", "check:order", "check:bill read:account"],
    "prompt": ["none", "login"],
    "max_age": ["0", "-1", "x"],
    "name": ["one-doctor", "one-auditor", "nobody"],
    "next": ["/account", "//evil.example"],
    "token_type_hint": ["access_token", "refresh_token"],
}
FORMS = {
    "/sign-in": "form name password next",
    "/sign-in/code": "form code next",
    "/account/one-time": "form code next",
    "/account/password": "form old new next",
    "/sign-out": "form",
    "/oauth/token": "grant_type code redirect_uri client_id client_secret code_verifier refresh_token scope",
    "/oauth/revoke": "token token_type_hint client_id client_secret",
}
QUERIES = {
    "/oauth/authorize": "response_type client_id redirect_uri scope state nonce code_challenge"
    " code_challenge_method prompt max_age",
    "/oauth/logout": "id_token_hint client_id post_logout_redirect_uri state",
}
"""What standards say and our description leaves out: fields of forms and of queries."""


class Callers(Protocol):
    accounts: dict[Role, str]
    clients: tuple[str, ...]

    def token(self, role: Role) -> str: ...
    def close(self) -> None: ...


class Service(Protocol):
    base: str

    def start(self) -> None: ...
    def workers(self) -> list[int]: ...
    def log(self) -> str: ...
    def callers(self) -> Callers: ...


class Folder(Protocol):
    root: Path


class Headers:
    """What each caller sends to say who he is; tokens are made anew before they end."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._made: dict[str, tuple[float, str]] = {}
        self.names = [NOBODY, STRANGER, *map(str, Role)]

    def of(self, name: str) -> dict[str, str]:
        """Return the headers."""
        if name == NOBODY:
            return {}
        if name == STRANGER:
            return {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."}
        at, token = self._made.get(name, (float("-inf"), ""))
        if time.monotonic() - at > TOKEN_SECONDS:
            token = self._callers.token(Role(name))
            self._made[name] = (time.monotonic(), token)
        return {"Authorization": f"Bearer {token}"}


def described(place: Path) -> dict[str, Any]:
    """Return the description of the service, with the forms and queries that it leaves out."""
    environment = {"RULEWARD_DATA": str(place), "RULEWARD_FIRST_RELEASE": "0.01"}
    told: dict[str, Any] = build_app(read_settings(environment, place / "rules")).openapi()

    def schema(name: str) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string", "maxLength": 300}
        return {"anyOf": [{"enum": WORDS[name]}, text]} if name in WORDS else text

    for path, names in FORMS.items():
        properties = {name: schema(name) for name in names.split()}
        content = {
            "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": properties}}
        }
        told["paths"][path]["post"]["requestBody"] = {"content": content}
    for path, names in QUERIES.items():
        told["paths"][path]["get"]["parameters"] = [
            {"name": name, "in": "query", "schema": schema(name)} for name in names.split()
        ]
    return told


def cases(operation: Any, count: int) -> list[Case[Any]]:
    """Return generated requests of an operation, half of them against its description where that can be."""
    found: list[Case[Any]] = []
    for mode in (GenerationMode.NEGATIVE, GenerationMode.POSITIVE):
        wanted = count // 2 if mode is GenerationMode.NEGATIVE else count - len(found)

        @seed(SEED)
        @settings(
            max_examples=max(1, wanted), phases=[Phase.generate], database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operation.as_strategy(mode))
        def take(case: Case[Any]) -> None:
            found.append(case)

        try:
            take()
        except Unsatisfiable:  # nothing can be wrong with a request that takes nothing
            continue
    return found


def with_known_ids(case: Case[Any], ids: dict[str, list[str]], chance: random.Random) -> Case[Any]:
    """Name things that are there in half of the requests, so that more than *not found* is reached."""
    for name in case.path_parameters or {}:
        if ids.get(name) and chance.random() < 0.5:
            case.path_parameters[name] = chance.choice(ids[name])
    return case


class Found:
    """What was answered, and every answer that should not have been."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.met: set[tuple[str, str]] = set()

    def judge(self, case: Case[Any], name: str, answer: Any) -> None:
        """Take note of one answer."""
        label = case.operation.label
        self.statuses[answer.status_code] += 1
        self.met.add((label, name))
        if answer.status_code >= 500 and answer.status_code != 503:
            self.faults[f"{label} as {name}: {answer.status_code}"] += 1
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            for one in group.exceptions:
                kind = f"{type(one).__name__} at {answer.status_code}"
                self.faults[f"{label} as {name}: {kind}: {str(one)[:300]}"] += 1


def fuzz(
    schema: Any, service: Service, headers: Headers, ids: dict[str, list[str]], total: int, found: Found
) -> None:
    """Send so many requests, dealt out evenly over operations and callers."""
    chance = random.Random(SEED)
    operations = [one.ok() for one in schema.get_all_operations()]
    each, more = divmod(total, len(operations))
    first = itertools.count()
    with requests.Session() as session:
        session.trust_env = False
        for number, operation in enumerate(operations):
            wanted = each + (number < more)
            made = cases(operation, wanted)
            start = next(first)
            for turn in range(wanted):
                name = headers.names[(start + turn) % len(headers.names)]
                case = with_known_ids(made[turn % len(made)], ids, chance)
                session.cookies.clear()
                answer = case.call(
                    base_url=service.base, session=session, headers=headers.of(name), timeout=60
                )
                found.judge(case, name, answer)


@pytest.fixture(
    params=[pytest.param(1500, id="1500"), pytest.param(LONG, id="long", marks=[pytest.mark.long])]
)
def total(request: pytest.FixtureRequest) -> int:
    """Give the number of requests of both modes."""
    number: int = request.param
    return number


@pytest.fixture
def schema(tmp_path: Path) -> Any:
    """Give the description, read by schemathesis; who calls is ours to say."""
    read = schemathesis.openapi.from_dict(described(tmp_path / "described"))
    read.config.generation.with_security_parameters = False
    return read


@pytest.fixture(params=["demo", "production"])
def mode(request: pytest.FixtureRequest, production: dict[str, str]) -> dict[str, str]:
    """Give the settings of either mode."""
    return production if request.param == "production" else {}


@pytest.fixture
def callers_of(
    new_service: Callable[..., Service], free_port: int, rules_folder: Folder, mode: dict[str, str]
) -> Iterator[tuple[Service, Callers]]:
    """Give a service of this mode and an account of each role in it."""
    service = new_service(free_port, RULEWARD_RULES=str(rules_folder.root), **mode)
    service.start()
    callers = service.callers()
    yield service, callers
    callers.close()


@pytest.mark.fuzz
def test_generated_requests_of_every_role_get_declared_answers_and_no_server_error(
    schema: Any, callers_of: tuple[Service, Callers], order_sign: bytes, total: int
) -> None:
    service, callers = callers_of
    headers, found = Headers(callers), Found()
    before = service.workers()
    signed = httpx.post(
        f"{service.base}/cds-services/ruleward-order-sign",
        content=order_sign, headers=headers.of(Role.SERVICE), trust_env=False,
    )  # fmt: skip
    ids = {
        "service_id": ["ruleward-order-sign", "ruleward-order-select"],
        "decision_id": [signed.json()["extension"]["com.ruleward.decision"]["id"]],
        "account_id": [callers.accounts[Role.CODER], callers.accounts[Role.REGISTRAR]],
    }
    began = time.monotonic()
    fuzz(schema, service, headers, ids, total // 2, found)
    seconds = time.monotonic() - began
    sent = sum(found.statuses.values())
    print(
        f"\n{sent} requests in {seconds:.0f} s (seed {SEED}), answers {dict(sorted(found.statuses.items()))}"
    )
    for what, times in found.faults.most_common():
        print(f"  {times} x {what}")
    assert sent == total // 2
    assert not found.faults
    assert service.workers() == before, "a worker died"
    assert "a request ended in" not in service.log()
