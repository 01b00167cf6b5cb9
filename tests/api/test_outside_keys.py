"""Keys of trusted issuers are fetched as every system outside is called: bounded, again, and left alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from joserfc import jwk

from adapters.identity.keys import RemoteKeys, discover, fetching
from adapters.identity.refusal import TokenRefused
from api.outside import OutsideSettings, OutsideTransport
from api.settings import read_settings
from api.wire import Worker

ISSUER = "https://sso.hospital.example"
KEYS = f"{ISSUER}/keys"
QUICK = OutsideSettings(wait_seconds=0.001, jitter_seconds=0.002, failures=3, open_seconds=60.0)


class Provider(httpx.AsyncBaseTransport):
    """An OpenID provider that answers by plan, one status a request, and then well."""

    def __init__(self) -> None:
        self.plan: list[int] = []
        self.asked: list[str] = []
        self.key = jwk.ECKey.generate_key("P-256", {"kid": "one"})
        self.length = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        status = self.plan.pop(0) if self.plan else 200
        if status == 0:
            raise httpx.ConnectError("no answer")
        if status != 200:
            return httpx.Response(status, headers={"Location": "http://127.0.0.1:1/"}, request=request)
        told: dict[str, object] = {"issuer": ISSUER, "jwks_uri": KEYS}
        if request.url.path == "/keys":
            told = {"keys": [self.key.as_dict(private=False)], "filling": "x" * self.length}
        return httpx.Response(200, content=json.dumps(told).encode(), request=request)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def outside(provider: Provider) -> Callable[..., OutsideTransport]:
    """Return what makes the transport of a worker, whose connections all end at the provider."""

    def make(address: str = "10.1.2.3") -> OutsideTransport:
        async def resolve(_host: str, _port: int) -> tuple[str, ...]:
            return (address,)

        return OutsideTransport(QUICK, resolve, lambda _context: provider)

    return make


def remote(transport: OutsideTransport) -> RemoteKeys:
    fetch = fetching(transport)

    async def address() -> str:
        return await discover(ISSUER, fetch)

    return RemoteKeys(address, fetch=fetch, pause=0.0)


async def test_discovery_and_keys_come_over_the_transport_and_a_passing_fault_is_tried_again(
    provider: Provider, outside: Callable[..., OutsideTransport]
) -> None:
    provider.plan = [503, 200, 0, 200]
    transport = outside()
    assert await remote(transport).find("one") is not None
    assert provider.asked == ["/.well-known/openid-configuration"] * 2 + ["/keys"] * 2
    assert transport.states == {ISSUER: False}
    # The connection stays open for the next who needs it.
    assert await remote(transport).find("one") is not None


async def test_a_provider_that_fails_is_left_alone_and_no_token_counts_meanwhile(
    provider: Provider, outside: Callable[..., OutsideTransport]
) -> None:
    provider.plan = [0] * 50
    transport = outside()
    keys = remote(transport)
    for _ in range(6):
        with pytest.raises(TokenRefused):
            await keys.find("one")
    assert transport.states == {ISSUER: True}
    assert len(provider.asked) == QUICK.failures


async def test_a_name_that_leads_into_the_machine_itself_is_not_asked_for_keys(
    provider: Provider, outside: Callable[..., OutsideTransport]
) -> None:
    for address in ("127.0.0.1", "169.254.169.254"):
        with pytest.raises(TokenRefused):
            await fetching(outside(address))(KEYS)
    assert provider.asked == []


@pytest.mark.parametrize("status", [302, 401, 404])
async def test_neither_a_redirect_nor_a_refusal_gives_keys(
    provider: Provider, outside: Callable[..., OutsideTransport], status: int
) -> None:
    provider.plan = [status]
    with pytest.raises(TokenRefused, match=str(status)):
        await fetching(outside())(KEYS)
    assert len(provider.asked) == 1


async def test_an_answer_that_is_too_large_is_not_read(
    provider: Provider, outside: Callable[..., OutsideTransport]
) -> None:
    provider.length = 300_000
    with pytest.raises(TokenRefused, match="too large"):
        await fetching(outside())(KEYS)


async def test_a_worker_fetches_keys_over_its_transport(
    tmp_path: Path,
    provider: Provider,
    outside: Callable[..., OutsideTransport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.wire.OutsideTransport", lambda _settings: outside())
    (tmp_path / "clients.json").write_text(json.dumps([{"iss": "https://his.example", "jku": KEYS}]))
    environment = {
        "RULEWARD_DATA": str(tmp_path),
        "RULEWARD_CDS_CLIENTS": str(tmp_path / "clients.json"),
        "RULEWARD_OIDC_ISSUER": ISSUER,
        "RULEWARD_OIDC_AUDIENCE": "ruleward",
    }
    worker = Worker(read_settings(environment, tmp_path / "rules"))
    assert await worker.identity.tokens._issuers[ISSUER].keys.find("one") is not None
    assert await worker.identity.access._cds._clients["https://his.example"].keys.find("one") is not None
    assert provider.asked == ["/.well-known/openid-configuration", "/keys", "/keys"]
    worker.engine.dispose()
