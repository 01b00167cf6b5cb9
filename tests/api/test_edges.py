"""The edge refuses hosts, sizes, rates and slow senders, and every answer carries its headers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Protocol

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Message

from api.edges import Edges, EdgeSettings, RateLimiter, build_edges, read_edge_settings

CANARY = "王小明-canary-4711"


class Redis(Protocol):
    url: str

    def kill(self) -> None: ...


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/page")
    def page() -> Response:
        answer = Response("<p>", media_type="text/html")
        answer.headers.append("Set-Cookie", "session=1; Path=/")
        answer.headers.append("Set-Cookie", "other=1; SameSite=Strict; Secure; HttpOnly")
        return answer

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(str(len(await request.body())))

    @app.get("/fault")
    def fault() -> Response:
        raise KeyError(CANARY)

    @app.get("/live")
    def live() -> dict[str, bool]:
        return {"alive": True}

    return app


def behind(settings: EdgeSettings, **client: str) -> httpx.AsyncClient:
    return of(build_edges(application(), settings), **client)


def of(app: ASGIApp, scheme: str = "http", host: str = "ruleward.example") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}")


async def test_every_answer_carries_the_headers_refusals_and_faults_too() -> None:
    async with behind(EdgeSettings(max_body=10), scheme="https") as client:
        for answer in (
            await client.get("/live"),
            await client.get("/page"),
            await client.get("/nowhere"),
            await client.get("/fault"),
            await client.post("/echo", content=b"x" * 11),
        ):
            headers = answer.headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["strict-transport-security"].startswith("max-age=31536000")


async def test_hsts_is_only_said_over_tls() -> None:
    async with behind(EdgeSettings()) as client:
        assert "strict-transport-security" not in (await client.get("/live")).headers


async def test_data_may_load_nothing_and_a_page_only_what_is_its_own() -> None:
    async with behind(EdgeSettings()) as client:
        assert "default-src 'none'" in (await client.get("/live")).headers["content-security-policy"]
        policy = (await client.get("/page")).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "script-src" not in policy  # so that of default-src holds: no inline script, no eval


async def test_cookies_get_the_flags_that_whoever_set_them_forgot() -> None:
    async with behind(EdgeSettings()) as client:
        first, second = (await client.get("/page")).headers.get_list("set-cookie")
    assert first == "session=1; Path=/; HttpOnly; SameSite=Lax; Secure"
    assert second == "other=1; SameSite=Strict; Secure; HttpOnly"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("ruleward.example", 200),
        ("RuleWard.Example:8443", 200),
        ("a.hospital.example", 200),
        ("[::1]:80", 200),
        ("hospital.example", 400),
        ("evil.example", 400),
        ("ruleward.example.evil.example", 400),
        ("evil-hospital.example", 400),
        ("ruleward.example@evil.example", 400),
        ("", 400),
    ],
)
async def test_only_the_names_of_the_service_are_answered(host: str, status: int) -> None:
    settings = EdgeSettings(hosts=("ruleward.example", "*.hospital.example", "[::1]"))
    async with behind(settings) as client:
        assert (await client.get("/page", headers={"Host": host})).status_code == status
        assert (await client.get("/live", headers={"Host": host})).status_code == 200


async def test_a_body_is_refused_by_what_it_says_and_by_what_it_is() -> None:
    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 10

    async with behind(EdgeSettings(max_body=100)) as client:
        assert (await client.post("/echo", content=b"x" * 100)).text == "100"
        assert (await client.post("/echo", content=b"x" * 101)).status_code == 413
        assert (await client.post("/echo", content=chunks(10))).text == "100"
        assert (await client.post("/echo", content=chunks(11))).status_code == 413
        huge = await client.post("/echo", content=b"", headers={"Content-Length": "9" * 30})
        assert huge.status_code == 413


async def test_a_body_that_comes_too_slowly_is_not_waited_for() -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            await asyncio.sleep(0.02)
            yield b"x"

    # httpx hands an ASGI application whole chunks as they come, so the time runs here as over a socket.
    async with behind(EdgeSettings(upload_seconds=0.1)) as client:
        answer = await asyncio.wait_for(client.post("/echo", content=drip()), 5)
    assert answer.status_code == 408
    assert answer.json()["title"] == "Body too slow"


async def test_headers_that_are_too_many_or_too_long_are_refused() -> None:
    async with behind(EdgeSettings(max_head=1000, max_headers=20)) as client:
        assert (await client.get("/live", headers={"X-Long": "x" * 1000})).status_code == 431
        many = {f"X-{number}": "1" for number in range(20)}
        assert (await client.get("/live", headers=many)).status_code == 431
        assert (await client.get("/live")).status_code == 200


async def test_two_host_headers_are_no_host_header() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope: dict[str, object] = {"type": "http", "path": "/page", "scheme": "http", "client": None}
    scope["headers"] = [(b"host", b"a"), (b"host", b"b")]
    await build_edges(application(), EdgeSettings())(scope, receive, send)
    assert sent[0]["status"] == 400


async def test_a_client_that_asks_too_often_waits_and_another_does_not() -> None:
    limiter = RateLimiter("3/minute", None)
    assert [await limiter.admit("a") for _ in range(5)] == [True, True, True, False, False]
    assert await limiter.admit("b")


async def test_too_many_requests_are_429_and_probes_are_always_answered() -> None:
    async with behind(EdgeSettings(rate="2/minute")) as client:
        statuses = [(await client.get("/page")).status_code for _ in range(4)]
        assert statuses == [200, 200, 429, 429]
        refused = await client.get("/page")
        assert refused.headers["retry-after"] == "1"
        assert [(await client.get("/live")).status_code for _ in range(4)] == [200] * 4


@pytest.mark.redis
async def test_workers_count_together_in_redis_and_alone_when_it_is_away(redis_server: Redis) -> None:
    one, other = (RateLimiter("4/minute", redis_server.url) for _ in range(2))
    assert [await limiter.admit("a") for limiter in (one, other) * 3] == [True] * 4 + [False] * 2
    redis_server.kill()
    assert [await one.admit("a") for _ in range(5)] == [True] * 4 + [False]


async def test_a_fault_of_ours_is_told_without_the_words_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with behind(EdgeSettings()) as client:
            answer = await client.get("/fault", headers={"X-Name": "canary-4711"})
    assert answer.status_code == 500
    assert (
        answer.json()
        == {
            "title": "Internal error",
            "status": 500,
            "detail": "It is in the log of the service.",
            "type": "about:blank",
        }
        or "type" not in answer.json()
    )
    assert "canary-4711" not in answer.text
    assert "canary-4711" not in caplog.text
    assert "KeyError at" in caplog.text
    assert "test_edges.py:" in caplog.text


async def test_an_answer_that_broke_off_does_not_look_whole() -> None:
    async def breaks_off(_scope: object, _receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        raise ValueError

    app = Edges(breaks_off, EdgeSettings(), None)
    with pytest.raises(RuntimeError, match="had begun"):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://a") as client:
            await client.get("/")


async def test_there_is_no_way_in_by_websocket() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await build_edges(application(), EdgeSettings())({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("name", "value"),
    [("RULEWARD_RATE", "many"), ("RULEWARD_MAX_BODY", "-1"), ("RULEWARD_UPLOAD_SECONDS", "soon")],
)
def test_a_setting_that_cannot_be_meant_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        read_edge_settings({name: value}, demo=False, base_url="https://a", redis_url=None)


def test_production_marks_cookies_secure_and_counts_in_redis_only_when_asked() -> None:
    plain = read_edge_settings({}, demo=False, base_url="https://r.example:8443", redis_url="redis://r")
    assert plain.hosts == ("r.example", "localhost", "127.0.0.1", "[::1]")
    assert plain.secure_cookies
    assert plain.rate_store is None
    limited = read_edge_settings(
        {"RULEWARD_RATE": "9/second", "RULEWARD_HOSTS": "A.example, *.b.example"},
        demo=True, base_url="http://localhost", redis_url="redis://r",
    )  # fmt: skip
    assert limited.rate_store == "redis://r"
    assert limited.hosts == ("a.example", "*.b.example")
    assert not limited.secure_cookies
