"""What is logged: fields of the Elastic Common Schema, and nobody's name."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from api.logging import MODES, Traced, configuration, hide, trace_id
from engine.errors import NotRecorded

_NAME = "欧阳测试金丝雀"
_NUMBER = "11010519491231002X"
_PHONE = "13800138000"


@pytest.fixture(params=MODES)
def logged(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Log as a process would, into a buffer."""
    made = configuration(request.param)
    out = io.StringIO()
    made["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logging.config.dictConfig(made)
    yield out.getvalue
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Log as JSON and read it back."""
    made = configuration("json")
    out = io.StringIO()
    made["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logging.config.dictConfig(made)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def _canary_application() -> FastAPI:
    """Fail with a patient's data in every way in which code does."""
    app = FastAPI()
    log = logging.getLogger("ruleward.test")

    @app.post("/{way}")
    async def fail(way: str, request: Request) -> dict[str, str]:
        body = await request.json()
        hide(body["name"], body["id"])
        match way:
            case "template":
                log.warning(f"patient {body['name']} of {body['id']} is here")
            case "argument":
                log.warning("patient %s", body["name"])
            case "structure":
                log.warning("body %s", body)
            case "exception":
                try:
                    raise KeyError(body["name"])
                except KeyError:
                    log.exception("it failed")
            case "chained":
                try:
                    try:
                        raise KeyError(body["name"])
                    except KeyError as error:
                        raise NotRecorded(f"not recorded: {body['name']}") from error
                except NotRecorded:
                    log.exception("it failed")
            case "field":
                log.warning("a field", extra={"user.full_name": body["name"], "labels": {"id": body["id"]}})
            case "crash":
                raise ValueError(body["name"])
        return {"trace": trace_id()}

    return app


@pytest.mark.parametrize(
    "way", ["template", "argument", "structure", "exception", "chained", "field", "crash"]
)
async def test_a_canary_in_a_request_does_not_reach_the_log(way: str, logged: Callable[[], str]) -> None:
    app = _canary_application()
    transport = httpx.ASGITransport(Traced(app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post(f"/{way}", json={"name": _NAME, "id": "P-000123"})
        if way == "crash":
            logging.getLogger("uvicorn.error").error("crashed", exc_info=ValueError(_NAME))
    text = logged()
    assert text
    for canary in (_NAME, json.dumps(_NAME).strip('"'), "P-000123"):
        assert canary not in text


def test_what_looks_like_an_identifier_is_blanked_outside_of_requests_too(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    log = logging.getLogger("ruleward.test")
    log.warning("for %s, call %s or a.b@example.org", _NUMBER, _PHONE)
    log.warning("GET http://host/fhir/Patient/77?name=Zhang&x=1 failed")
    log.warning("token Bearer abc.def.ghi")
    log.warning(
        "release sm3:66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0 holds 138 rules"
    )
    texts = [line["message"] for line in lines()]
    assert texts[0] == "for [hidden], call [hidden] or [hidden]"
    assert texts[1] == "GET http://host/fhir/Patient/[hidden]?[hidden] failed"
    assert texts[2] == "token Bearer [hidden]"
    assert "66c7f0f4" in texts[3]
    assert "138 rules" in texts[3]


async def test_a_line_has_the_fields_of_the_elastic_common_schema(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    app = _canary_application()
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Traced(app)), base_url="http://test"
    ) as client:
        answer = await client.post(
            "/exception",
            json={"name": _NAME, "id": "P-1"},
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
        )
    assert answer.json() == {"trace": trace}
    (line,) = lines()
    assert line["@timestamp"].endswith("Z")
    assert line["log.level"] == "error"
    assert line["message"] == "it failed"
    assert line["log"]["logger"] == "ruleward.test"
    assert line["service"]["name"] == "ruleward"
    assert line["event"]["action"] == "ruleward.test.fail"
    assert line["trace"]["id"] == trace
    assert line["error"]["type"] == "KeyError"
    assert "raise KeyError" in line["error"]["stack_trace"]
    assert line["ecs.version"]


def test_numbers_and_our_own_errors_say_what_they_say(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log = logging.getLogger("ruleward.test")
    log.info("%d of %.1f s: %s", 3, 0.25, NotRecorded("the database does not answer"))
    log.info("%(count)d rows", {"count": 4})
    log.info("100 % sure")
    assert [line["message"] for line in lines()] == [
        "3 of 0.2 s: the database does not answer",
        "4 rows",
        "100 % sure",
    ]


async def test_each_request_has_a_trace_of_its_own() -> None:
    app = _canary_application()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Traced(app)), base_url="http://test"
    ) as client:
        seen = {
            (await client.post("/none", json={"name": "ab", "id": "cd"})).json()["trace"] for _ in range(3)
        }
    assert len(seen) == 3
    assert all(len(one) == 32 for one in seen)
    assert trace_id() == ""


def test_a_mode_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="RULEWARD_LOG: xml is neither text nor json"):
        configuration("xml")
