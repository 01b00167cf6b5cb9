"""Every live route is described and every described one is live; production tells and takes less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount, Route

from api.app import build_app
from api.edges import build_edges
from api.settings import read_settings

UNDESCRIBED = {
    ("GET", "/openapi.json"): "the description itself; in production off",
    ("OPTIONS", "/cds-services"): "preflight without an origin: 204 and Allow",
    ("OPTIONS", "/cds-services/{service_id}"): "preflight without an origin: 204 and Allow",
    ("OPTIONS", "/cds-services/{service_id}/feedback"): "preflight without an origin: 204 and Allow",
}
"""Routes that the description leaves out, each with its reason; anything else fails."""


class Folder(Protocol):
    root: Path


def app_in(mode: str, place: Path, rules: Path, **settings: str) -> tuple[FastAPI, httpx.AsyncClient]:
    environment = {
        "RULEWARD_DATA": str(place), "RULEWARD_RULES": str(rules), "RULEWARD_MODE": mode, **settings,
    }  # fmt: skip
    read = read_settings(environment, rules)
    app = build_app(read)
    transport = httpx.ASGITransport(app=build_edges(app, read.edges), raise_app_exceptions=False)
    return app, httpx.AsyncClient(transport=transport, base_url="https://ruleward.hospital.example")


@pytest.fixture
def production(tmp_path: Path, rules_folder: Folder) -> tuple[FastAPI, httpx.AsyncClient]:
    """Give the service as a hospital runs it."""
    key = tmp_path / "seal-key"
    key.write_bytes(bytes(range(32)))
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple")
    return app_in(
        "production", tmp_path / "data", rules_folder.root,
        RULEWARD_BASE_URL="https://ruleward.hospital.example",
        RULEWARD_SEAL_KEY_FILE=str(key), RULEWARD_KEY_PASSPHRASE_FILE=str(passphrase),
    )  # fmt: skip


def live(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Yield (method, path) of every route that answers, mounted and included ones too."""
    for route in routes:
        assert not isinstance(route, Mount), f"{route.path} is mounted: what is below it is not described"
        if isinstance(route, Route | APIRoute):
            for method in (route.methods or set()) - {"HEAD"}:
                yield method, re.sub(r":\w+\}", "}", route.path)
        else:
            inner = getattr(route, "effective_candidates", None)
            assert inner is not None, f"{route!r} is of a kind that this test does not know"
            for one in inner():
                for method in (one.methods or set()) - {"HEAD"}:
                    yield method, re.sub(r":\w+\}", "}", one.path)


def test_every_live_route_is_described_and_every_described_one_is_live(
    tmp_path: Path, rules_folder: Folder
) -> None:
    app, _ = app_in("demo", tmp_path / "data", rules_folder.root)
    described = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    answering = set(live(app.routes))
    assert len(described) > 15
    assert answering - described == set(UNDESCRIBED)
    assert described - answering == set()


@pytest.mark.parametrize("path", ["/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"])
async def test_production_does_not_describe_itself(
    production: tuple[FastAPI, httpx.AsyncClient], path: str
) -> None:
    _, client = production
    assert (await client.get(path)).status_code == 404


async def test_production_knows_its_own_name_alone(production: tuple[FastAPI, httpx.AsyncClient]) -> None:
    _, client = production
    assert (await client.get("/cds-services", headers={"Host": "evil.example"})).status_code == 400
    assert (await client.get("/live", headers={"Host": "10.0.0.7:8000"})).status_code == 200


async def test_production_answers_no_check_without_a_token(
    production: tuple[FastAPI, httpx.AsyncClient],
) -> None:
    _, client = production
    for path in ("/decisions", "/nhsa", "/cds-services/ruleward-order-sign", "/decisions/explain"):
        assert (await client.post(path, json={})).status_code == 401
    for path in ("/metrics", "/releases/status", "/decisions/1"):
        assert (await client.get(path)).status_code == 401
