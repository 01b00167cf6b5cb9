"""The doorkeeper and the embedded provider over HTTP: sign-in, OAuth, sessions, emergency access, matrix."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import html
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import argon2
import httpx
import msgspec
import pyotp
import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from joserfc import jwk, jwt

from adapters.identity.settings import CdsTrust, Settings, read
from adapters.store.database import open_database, upgrade, writing
from api.access import Revocations, requires, sees
from api.accounts import NewAccount, account_of
from api.identity import Identity, make_demo_accounts, make_editor_client
from engine.access import GRANTS, SCOPES, Permission, Place, Resource, Role, Verb
from engine.identity import Client, Happening

BASE = "https://ruleward.example"
CALLBACK = "https://app.example/callback"
NEW_PASSWORD = "Correct-Horse-Battery-9"


class SetClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = dt.datetime(2026, 3, 1, 10, 0, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += dt.timedelta(**by)


PLACES = {
    "d-icu": Place("east", "icu"),
    "d-surgery": Place("east", "surgery"),
    "d-west": Place("west", "icu"),
}


class House:
    """A service with identity and a few routes of other nouns."""

    def __init__(self, folder: Path, tables: Path, *, production: bool = True) -> None:
        self.clock = SetClock()
        self.events: list[Happening] = []
        shutil.copy(tables, folder / "ruleward.db")
        self.engine = open_database(f"sqlite:///{folder}/ruleward.db", patience=5.0)
        self.settings = Settings(production=production, base_url=BASE, site="east")
        self.identity = Identity(
            self.settings,
            self.engine,
            self.clock,
            folder,
            watch=self.events.append,
            hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
        )
        self.identity.revocations._seconds = 0.0
        self.app = FastAPI()
        self.identity.install(self.app)
        _other_routes(self.app)
        self.store = self.identity.store
        self.store.put_client(
            Client(
                id="app",
                title="App",
                kind="public",
                redirect_uris=(CALLBACK,),
                logout_uris=("https://app.example/",),
            )
        )

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=BASE, follow_redirects=False)

    def account(
        self, *roles: Role, name: str = "", departments: tuple[str, ...] = ("icu",)
    ) -> tuple[str, str, str]:
        """Add an account whose password needs no change; returns (id, name, password)."""
        wanted = NewAccount(
            name=name or f"u{secrets.token_hex(4)}",
            title="王医生",
            staff_number=secrets.token_hex(4),
            roles=roles,
            site="east",
            departments=departments,
        )
        account, password = account_of(wanted, self.identity.passwords, self.clock())
        self.store.add(account)
        self.store.change(account.id, must_change_password=False)
        return account.id, account.name, password

    def token(self, *roles: Role, departments: tuple[str, ...] = ("icu",), **claims: object) -> str:
        """Return an access token as the provider makes them, for an account of these roles."""
        now = int(self.clock().timestamp())
        told: dict[str, object] = {
            "iss": BASE, "aud": BASE, "sub": f"sub-{'-'.join(roles)}", "iat": now, "exp": now + 300,
            "jti": secrets.token_hex(8), "roles": [str(role) for role in roles], "site": "east",
            "departments": list(departments), "amr": ["pwd", "otp"], "scope": "",
        }  # fmt: skip
        return self.identity.keys.sign(told | claims, "at+jwt")


def _other_routes(app: FastAPI) -> None:
    @app.post("/cds-services/{service}", dependencies=[requires(Verb.CHECK, Resource.ORDER, demo=True)])
    async def check(service: str) -> dict[str, str]:
        return {"service": service}

    @app.get("/decisions/{decision_id}", dependencies=[requires(Verb.READ, Resource.DECISION, demo=True)])
    async def decision(decision_id: str, request: Request) -> Response:
        place = PLACES.get(decision_id)
        if place is None or not sees(request, Verb.READ, Resource.DECISION, place):
            return Response(status_code=404)
        return Response("found")

    @app.post("/releases/{digest}/approval", dependencies=[requires(Verb.APPROVE, Resource.RELEASE)])
    async def approve(digest: str) -> dict[str, str]:
        return {"digest": digest}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the tables once; each test takes a copy."""
    path = tmp_path_factory.mktemp("tables") / "ruleward.db"
    engine = open_database(f"sqlite:///{path}", patience=5.0)
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def house(tmp_path: Path, tables: Path) -> Iterator[House]:
    made = House(tmp_path, tables)
    yield made
    made.engine.dispose()


@pytest.fixture
def demo(tmp_path: Path, tables: Path) -> Iterator[House]:
    made = House(tmp_path, tables, production=False)
    yield made
    made.engine.dispose()


def form_of(page: httpx.Response) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def enter(browser: TestClient, name: str, password: str, wanted: str = "") -> httpx.Response:
    page = browser.get("/sign-in", params={"next": wanted})
    data = {"form": form_of(page), "name": name, "password": password, "next": wanted}
    answer: httpx.Response = browser.post("/sign-in", data=data)
    return answer


def enrol(browser: TestClient, house: House, wanted: str = "") -> tuple[str, httpx.Response]:
    page = browser.get("/account/second-factor", params={"next": wanted})
    key = re.search(r"<code>([A-Z2-7]+)</code>", page.text)
    assert key
    code = pyotp.TOTP(key[1]).at(house.clock())
    answer = browser.post("/account/one-time", data={"form": form_of(page), "code": code, "next": wanted})
    return key[1], answer


def authorization(verifier: str = "v" * 50, **given: str) -> str:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    told = {
        "response_type": "code", "client_id": "app", "redirect_uri": CALLBACK, "scope": "openid profile",
        "state": "s1", "nonce": "n1", "code_challenge": challenge, "code_challenge_method": "S256",
    } | given  # fmt: skip
    return "/oauth/authorize?" + urlencode({name: value for name, value in told.items() if value})


def signed_in(house: House, *roles: Role) -> tuple[TestClient, str]:
    account, name, password = house.account(*(roles or (Role.NURSE,)))
    browser = house.browser()
    assert enter(browser, name, password).status_code == 303
    return browser, account


def tokens_for(house: House, browser: TestClient) -> dict[str, Any]:
    at = browser.get(authorization())
    assert at.status_code == 302, at.text
    told = parse_qs(urlsplit(at.headers["location"]).query)
    assert told["state"] == ["s1"]
    assert told["iss"] == [BASE]
    answer = exchange(house, told["code"][0])
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def exchange(house: House, code: str, /, **given: str) -> httpx.Response:
    data = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "client_id": "app",
        "code_verifier": "v" * 50,
    } | given  # fmt: skip
    answer: httpx.Response = house.browser().post("/oauth/token", data=data)
    return answer


def refresh(house: House, token: str) -> httpx.Response:
    data = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "app"}
    answer: httpx.Response = house.browser().post("/oauth/token", data=data)
    return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# Sign-in


def test_a_person_signs_in_and_an_application_gets_tokens_for_him(house: House) -> None:
    account, name, password = house.account(Role.NURSE)
    browser = house.browser()
    wanted = authorization()
    away = browser.get(wanted)
    assert away.headers["location"].startswith("/sign-in?")
    onward = enter(browser, name, password, wanted)
    assert onward.headers["location"] == wanted
    told = tokens_for(house, browser)
    described = house.browser().get("/.well-known/openid-configuration").json()
    keys = jwk.KeySet.import_key_set(house.browser().get(urlsplit(described["jwks_uri"]).path).json())
    claims = jwt.decode(told["id_token"], keys, ["ES256"]).claims
    assert (claims["iss"], claims["aud"], claims["sub"], claims["nonce"]) == (BASE, "app", account, "n1")
    info = house.browser().get("/oauth/userinfo", headers=bearer(told["access_token"])).json()
    assert (info["sub"], info["name"], info["roles"]) == (account, "王医生", ["nurse"])


def test_a_signer_must_enrol_a_second_factor_before_anything_else(house: House) -> None:
    _, name, password = house.account(Role.DOCTOR)
    browser = house.browser()
    wanted = authorization()
    onward = enter(browser, name, password, wanted)
    assert onward.headers["location"].startswith("/account/second-factor?")
    assert browser.get(wanted).headers["location"].startswith("/account/second-factor?")
    key, answer = enrol(browser, house, wanted)
    assert answer.headers["location"] == wanted
    token = tokens_for(house, browser)["access_token"]
    assert house.browser().post("/cds-services/x", headers=bearer(token)).status_code == 200
    again = house.browser()
    house.clock.move(seconds=60)
    assert enter(again, name, password).headers["location"].startswith("/sign-in/code?")
    page = again.get("/sign-in/code")
    code = pyotp.TOTP(key).at(house.clock())
    data = {"form": form_of(page), "code": code}
    assert again.post("/sign-in/code", data=data).headers["location"] == "/account"
    # The same code counts once, also in another browser.
    third = house.browser()
    enter(third, name, password)
    page = third.get("/sign-in/code")
    assert third.post("/sign-in/code", data={"form": form_of(page), "code": code}).status_code == 401


def test_a_password_alone_adds_no_factor_to_an_account_that_has_one(house: House) -> None:
    _, name, password = house.account(Role.DOCTOR)
    browser = house.browser()
    enter(browser, name, password)
    enrol(browser, house)
    thief = house.browser()
    enter(thief, name, password)
    assert thief.get("/account/second-factor").headers["location"].startswith("/sign-in/code")
    page = thief.get("/sign-in/code")
    headers = {"X-Form": form_of(page)}
    assert thief.post("/account/passkey/options", json={}, headers=headers).status_code == 401


def test_a_token_of_a_signer_without_a_second_factor_opens_nothing(house: House) -> None:
    token = house.token(Role.DOCTOR, amr=["pwd"])
    answer = house.browser().post("/cds-services/x", headers=bearer(token))
    assert answer.status_code == 403
    assert "insufficient_user_authentication" in answer.headers["www-authenticate"]


def test_five_failures_lock_an_account_longer_each_time_and_many_at_once_do_not_slip_past(
    house: House,
) -> None:
    _, name, password = house.account(Role.NURSE)
    browser = house.browser()
    for _ in range(5):
        assert enter(browser, name, "wrong").status_code == 401
    assert enter(browser, name, password).status_code == 401
    house.clock.move(seconds=61)
    assert enter(browser, name, "wrong").status_code == 401
    house.clock.move(seconds=61)  # the sixth failure locks for two minutes
    assert enter(browser, name, password).status_code == 401
    house.clock.move(seconds=61)
    assert enter(browser, name, password).status_code == 303
    assert any(event.result == "locked" for event in house.events)


def test_guessing_the_second_factor_locks_although_the_password_is_known(house: House) -> None:
    _, name, password = house.account(Role.DOCTOR)
    owner = house.browser()
    enter(owner, name, password)
    enrol(owner, house)
    thief = house.browser()
    for _ in range(3):
        if enter(thief, name, password).status_code != 303:
            break
        page = thief.get("/sign-in/code")
        thief.post("/sign-in/code", data={"form": form_of(page), "code": "000000"})
        thief.cookies.delete("__Host-rw-session")
    assert enter(thief, name, password).status_code == 401


def test_unknown_names_wrong_passwords_and_disabled_accounts_look_alike(house: House) -> None:
    account, name, password = house.account(Role.NURSE)
    house.store.change(account, disabled=True)
    browser = house.browser()
    answers = [enter(browser, *pair) for pair in ((name, password), (name, "no"), ("nobody", "no"))]
    texts = {re.sub(r'value="[^"]*"', "", answer.text) for answer in answers}
    assert {answer.status_code for answer in answers} == {401}
    assert len(texts) == 1


def test_a_form_from_elsewhere_is_refused(house: House) -> None:
    _, name, password = house.account(Role.NURSE)
    browser = house.browser()
    data = {"form": "guessed-guessed-guessed", "name": name, "password": password}
    assert browser.post("/sign-in", data=data).status_code == 403
    browser.get("/sign-in")
    assert browser.post("/sign-in", data=data).status_code == 403
    assert browser.post("/sign-out", data={"form": ""}).status_code == 403


def test_pages_are_bound_by_policy_and_cookies_are_strict(house: House) -> None:
    _, name, password = house.account(Role.NURSE)
    browser = house.browser()
    page = browser.get("/sign-in")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert f"form-action 'self' {CALLBACK.removesuffix('/callback')}" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick=|<style", page.text)
    cookie = page.headers["set-cookie"].lower()
    assert cookie.startswith("__host-rw-form=")
    assert all(word in cookie for word in ("secure", "httponly", "samesite=strict", "path=/"))
    entered = enter(browser, name, password).headers["set-cookie"].lower()
    assert all(word in entered for word in ("__host-rw-session=", "secure", "httponly", "samesite=lax"))
    for text in ("/sign-in/style.css", "/sign-in/passkey.js"):
        assert browser.get(text).status_code == 200


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil", "javascript:alert(1)", "/x"]
)
def test_sign_in_leads_to_our_own_pages_only(house: House, wanted: str) -> None:
    _, name, password = house.account(Role.NURSE)
    assert enter(house.browser(), name, password, wanted).headers["location"] == "/account"


def test_names_and_problems_are_escaped(house: House) -> None:
    page = house.browser().get("/sign-in", params={"next": '"><script>alert(1)</script>'})
    assert "<script>alert" not in page.text
    assert html.escape('"><script>').replace("&quot;", "&#34;") in page.text


def test_a_session_ends_when_idle_and_after_half_a_day(house: House) -> None:
    browser, _ = signed_in(house)
    assert browser.get("/account").status_code == 200
    house.clock.move(minutes=31)
    assert browser.get("/account").status_code == 303
    browser, _ = signed_in(house)
    statuses = []
    for _ in range(25):
        house.clock.move(minutes=29)
        statuses.append(browser.get("/account").status_code)
    assert statuses == [200] * 24 + [303]


def test_the_first_password_must_be_changed_and_a_bad_one_is_refused(house: House) -> None:
    account, name, password = house.account(Role.NURSE)
    house.store.change(account, must_change_password=True)
    browser = house.browser()
    assert enter(browser, name, password).headers["location"].startswith("/account/password?")
    for new in (
        "short-A1",
        "alllowercaseletters",
        f"{name}-Aa1-xyz",
        "Password-123456",
        password,
        "Aaaaaaaaaaa1",
    ):
        data = {"form": form_of(browser.get("/account/password")), "old": password, "new": new, "again": new}
        assert browser.post("/account/password", data=data).status_code == 422, new
        house.store.change(account, failures=0, locked_until=None)
    data = {"form": form_of(browser.get("/account/password")), "old": password}
    good = data | {"new": NEW_PASSWORD, "again": NEW_PASSWORD}
    assert browser.post("/account/password", data=good).headers["location"] == "/account"
    assert enter(house.browser(), name, NEW_PASSWORD).headers["location"] == "/account"
    assert enter(house.browser(), name, password).status_code == 401


def test_a_changed_password_ends_other_sessions_and_all_tokens(house: House) -> None:
    account, name, password = house.account(Role.NURSE)
    browser, other = house.browser(), house.browser()
    enter(browser, name, password)
    enter(other, name, password)
    token = tokens_for(house, other)
    data = {"form": form_of(browser.get("/account/password")), "old": password}
    browser.post("/account/password", data=data | {"new": NEW_PASSWORD, "again": NEW_PASSWORD})
    assert other.get("/account").status_code == 303
    assert browser.get("/account").status_code == 200
    assert house.browser().get("/oauth/userinfo", headers=bearer(token["access_token"])).status_code == 401
    assert refresh(house, token["refresh_token"]).status_code == 400
    assert house.store.by_id(account) is not None


# OAuth


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"client_id": "nobody"}, 400),
        ({"redirect_uri": "https://evil.example/callback"}, 400),
        ({"redirect_uri": f"{CALLBACK}/../other"}, 400),
        ({"redirect_uri": f"{CALLBACK}?x=1"}, 400),
    ],
)
def test_a_faulty_client_or_address_is_never_redirected(
    house: House, given: dict[str, str], status: int
) -> None:
    browser, _ = signed_in(house)
    answer = browser.get(authorization(**given))
    assert answer.status_code == status
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "given",
    [
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": "short"},
        {"response_type": "token"},
    ],
)
def test_pkce_by_s256_and_codes_are_the_only_way(house: House, given: dict[str, str]) -> None:
    browser, _ = signed_in(house)
    answer = browser.get(authorization(**given))
    assert "code=" not in answer.headers.get("location", "")
    assert answer.status_code in {302, 400}


def test_prompt_none_asks_nobody(house: House) -> None:
    answer = house.browser().get(authorization(prompt="none"))
    assert parse_qs(urlsplit(answer.headers["location"]).query)["error"] == ["login_required"]


def code_for(browser: TestClient) -> str:
    location: str = browser.get(authorization()).headers["location"]
    return dict(parse_qsl(urlsplit(location).query))["code"]


@pytest.mark.parametrize(
    "given",
    [
        {"code_verifier": "w" * 50},
        {"code_verifier": ""},
        {"redirect_uri": "https://app.example/other"},
        {"client_id": "nobody"},
        {"code": "guessed"},
        {"grant_type": "password"},
    ],
)
def test_a_code_is_bound_to_its_verifier_address_and_client(house: House, given: dict[str, str]) -> None:
    browser, _ = signed_in(house)
    answer = exchange(house, code_for(browser), **given)
    assert answer.status_code in {400, 401}
    assert "access_token" not in answer.text


def test_a_code_lives_a_minute(house: House) -> None:
    browser, _ = signed_in(house)
    code = code_for(browser)
    house.clock.move(seconds=61)
    assert exchange(house, code).status_code == 400


def test_a_code_that_comes_twice_ends_the_tokens_of_the_first(house: House) -> None:
    browser, _ = signed_in(house)
    code = code_for(browser)
    told = exchange(house, code).json()
    assert exchange(house, code).status_code == 400
    assert refresh(house, told["refresh_token"]).status_code == 400
    assert house.browser().get("/oauth/userinfo", headers=bearer(told["access_token"])).status_code == 401


def test_refresh_tokens_rotate_and_a_stolen_one_ends_the_family(house: House) -> None:
    browser, _ = signed_in(house)
    first = tokens_for(house, browser)
    second = refresh(house, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert refresh(house, first["refresh_token"]).status_code == 400
    assert refresh(house, second["refresh_token"]).status_code == 400
    assert house.browser().get("/oauth/userinfo", headers=bearer(second["access_token"])).status_code == 401
    assert any(event.result == "refresh_reused" for event in house.events)


def test_a_refresh_token_serves_its_own_client_only(house: House) -> None:
    house.store.put_client(Client(id="other", title="", kind="public", redirect_uris=(CALLBACK,)))
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    data = {"grant_type": "refresh_token", "refresh_token": told["refresh_token"], "client_id": "other"}
    assert house.browser().post("/oauth/token", data=data).status_code == 400
    assert refresh(house, told["refresh_token"]).status_code == 200


def test_a_disabled_account_gets_no_new_tokens(house: House) -> None:
    browser, account = signed_in(house)
    told = tokens_for(house, browser)
    house.store.change(account, disabled=True)
    assert refresh(house, told["refresh_token"]).status_code == 400
    assert browser.get(authorization()).headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_revoked_token_is_dead(house: House, kind: str) -> None:
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    answer = house.browser().post("/oauth/revoke", data={"token": told[kind], "client_id": "app"})
    assert answer.status_code == 200
    assert house.browser().get("/oauth/userinfo", headers=bearer(told["access_token"])).status_code == 401
    assert house.browser().post("/oauth/revoke", data={"token": "x", "client_id": "app"}).status_code == 200


def test_signing_out_ends_the_tokens_of_every_application(house: House) -> None:
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    browser.post("/sign-out", data={"form": form_of(browser.get("/sign-out"))})
    assert browser.get("/account").status_code == 303
    assert house.browser().get("/oauth/userinfo", headers=bearer(told["access_token"])).status_code == 401


def test_an_application_signs_its_person_out_and_is_led_back_to_its_own_address_only(house: House) -> None:
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    query = {
        "id_token_hint": told["id_token"],
        "post_logout_redirect_uri": "https://app.example/",
        "state": "z",
    }
    answer = browser.get("/oauth/logout", params=query)
    assert answer.headers["location"] == "https://app.example/?state=z"
    assert browser.get("/account").status_code == 303
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    query = {"id_token_hint": told["id_token"], "post_logout_redirect_uri": "https://evil.example/"}
    assert "location" not in browser.get("/oauth/logout", params=query).headers
    browser, _ = signed_in(house)
    asked = browser.get("/oauth/logout", params={"post_logout_redirect_uri": "https://app.example/"})
    assert asked.status_code == 200
    assert browser.get("/account").status_code == 200  # nobody vouched for it: the person is asked first


def test_a_service_account_gets_its_scopes_and_no_more(house: House) -> None:
    administrator = house.token(Role.SECURITY_ADMINISTRATOR)
    wanted = {"id": "his", "title": "HIS", "kind": "service", "scopes": ["check:order"], "site": "east"}
    made = house.browser().put("/clients", json=wanted, headers=bearer(administrator)).json()
    data = {"grant_type": "client_credentials", "scope": "check:order read:decision sign:prescription"}
    answer = house.browser().post("/oauth/token", data=data, auth=("his", made["secret"]))
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"] == "check:order"
    assert "refresh_token" not in answer.json()
    token = bearer(answer.json()["access_token"])
    assert house.browser().post("/cds-services/x", headers=token).status_code == 200
    assert house.browser().get("/decisions/d-icu", headers=token).status_code == 403
    assert house.browser().post("/oauth/token", data=data, auth=("his", "wrong")).status_code == 401
    assert "secret" not in house.browser().get("/clients", headers=bearer(administrator)).text


def test_keys_rotate_while_old_tokens_still_count(house: House) -> None:
    before = house.token(Role.NURSE)
    house.identity.keys.rotate()
    after = house.token(Role.NURSE)
    assert len(house.browser().get("/oauth/jwks.json").json()["keys"]) == 2
    for token in (before, after):
        assert house.browser().get("/decisions/d-icu", headers=bearer(token)).status_code == 200
    house.clock.move(days=32)
    house.identity.keys.current()
    assert len(house.identity.keys.shown()["keys"]) == 1  # type: ignore[arg-type]


def test_secrets_lie_hashed_or_sealed_in_the_database(house: House, tmp_path: Path) -> None:
    browser, _ = signed_in(house)
    told = tokens_for(house, browser)
    _, name, password = house.account(Role.DOCTOR)
    other = house.browser()
    enter(other, name, password)
    key, _answer = enrol(other, house)
    house.engine.dispose()
    content = b"".join(
        path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("ruleward.db")
    )
    for secret in (
        password,
        told["refresh_token"],
        told["access_token"],
        key,
        browser.cookies["__Host-rw-session"],
    ):
        assert secret.encode() not in content
    assert b'"d":' not in content
    assert (tmp_path / "identity.key").stat().st_mode & 0o077 == 0


# The doorkeeper


def operations(app: FastAPI) -> dict[tuple[str, str], list[str] | None]:
    """Return (method, path) and the permissions that OpenAPI shows; ``None``: none declared."""
    told: dict[tuple[str, str], list[str] | None] = {}
    for path, verbs in app.openapi()["paths"].items():
        for method, operation in verbs.items():
            stated = operation.get("security")
            told[method, path] = (
                None if stated is None else [one for item in stated for one in item.get("ruleward", [])]
            )
    return told


def test_every_route_of_identity_declares_its_permission_or_that_it_is_public(house: House) -> None:
    undeclared = [where for where, stated in operations(house.app).items() if stated is None]
    assert undeclared == []


EVERYBODY = [None, *Role]


@pytest.mark.parametrize("role", EVERYBODY)
def test_the_matrix_of_roles_and_routes_is_as_declared(house: House, role: Role | None) -> None:
    scope = " ".join(sorted(SCOPES)) if role is Role.SERVICE else ""
    headers = bearer(house.token(role, scope=scope)) if role else {}
    browser = house.browser()
    for (method, path), stated in operations(house.app).items():
        if not stated:
            continue
        address = re.sub(r"\{[^}]+\}", "d-icu", path)
        status = browser.request(method, address, headers=headers).status_code
        (word,) = stated
        granted = role is not None and (
            any(word == str(permission) for permission in GRANTS[role])
            or (role is Role.SERVICE and word in SCOPES)
        )
        if role is None:
            assert status == 401, (method, path)
        elif granted:
            assert status not in {401, 403}, (role, method, path)
        else:
            assert status == 403, (role, method, path)
        assert status < 500


def test_a_decision_of_another_department_is_not_there(house: House) -> None:
    browser = house.browser()
    doctor, pharmacist = bearer(house.token(Role.DOCTOR)), bearer(house.token(Role.CLINICAL_PHARMACIST))
    assert [browser.get(f"/decisions/{one}", headers=doctor).status_code for one in (*PLACES, "d-none")] == [
        200, 404, 404, 404,
    ]  # fmt: skip
    assert [browser.get(f"/decisions/{one}", headers=pharmacist).status_code for one in PLACES] == [
        200,
        200,
        404,
    ]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        "Bearer a b",
        "bearer ..",
        "Bearer " + "x" * 20000,
        "Token y",
    ],
)
def test_what_is_no_token_is_401_with_a_challenge(house: House, header: str) -> None:
    answer = house.browser().get("/decisions/d-icu", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="ruleward"')
    assert answer.headers["content-type"] == "application/problem+json"


def test_two_authorization_headers_are_none(house: House) -> None:
    good = house.token(Role.NURSE)
    headers = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    assert house.browser().get("/decisions/d-icu", headers=headers).status_code == 401


def test_a_token_in_the_address_is_not_read(house: House) -> None:
    good = house.token(Role.NURSE)
    assert house.browser().get("/decisions/d-icu", params={"access_token": good}).status_code == 401


def test_a_database_that_is_away_is_503_and_lets_nobody_in(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_at: dt.datetime) -> frozenset[str]:
        raise sa.exc.OperationalError("", {}, Exception())

    monkeypatch.setattr(house.identity.revocations, "_read", away)
    answer = house.browser().get("/decisions/d-icu", headers=bearer(house.token(Role.NURSE)))
    assert answer.status_code == 503


def test_demo_mode_answers_checks_without_a_token_and_guards_the_rest(demo: House) -> None:
    browser = demo.browser()
    assert browser.post("/cds-services/x").status_code == 200
    assert (
        browser.post("/cds-services/x", headers={"Authorization": "Bearer of-a-sandbox"}).status_code == 200
    )
    assert browser.get("/decisions/d-icu").status_code == 200
    assert browser.get("/decisions/d-icu", headers=bearer("x")).status_code == 401
    assert browser.get("/accounts").status_code == 401
    assert browser.post("/releases/x/approval").status_code == 401


# CDS clients and a site's own provider, over HTTP


@pytest.fixture
def trusting(tmp_path: Path, tables: Path) -> Iterator[tuple[House, jwk.ECKey]]:
    """Trust one CDS client and one provider, whose keys are pinned here."""
    key = jwk.ECKey.generate_key("P-384", {"kid": "his-1"})
    shown: dict[str, object] = {"keys": [key.as_dict(private=False)]}
    made = House(tmp_path, tables)
    settings = msgspec.structs.replace(
        made.settings, cds_clients=(CdsTrust(iss="https://his.example", jwks=shown, site="east"),)
    )
    made.identity = Identity(settings, made.engine, made.clock, tmp_path, watch=made.events.append)
    made.app = FastAPI()
    made.identity.install(made.app)
    _other_routes(made.app)
    yield made, key
    made.engine.dispose()


def cds_token(house: House, key: jwk.ECKey, aud: str, **claims: object) -> str:
    now = int(house.clock().timestamp())
    told: dict[str, object] = {"iss": "https://his.example", "aud": aud, "iat": now, "exp": now + 300}
    told |= {"jti": secrets.token_hex(8), **claims}
    return jwt.encode({"alg": "ES384", "kid": "his-1", "typ": "JWT"}, told, key, ["ES384"])


def test_a_cds_client_calls_with_a_token_for_the_very_endpoint_once(
    trusting: tuple[House, jwk.ECKey],
) -> None:
    house, key = trusting
    browser, path = house.browser(), "/cds-services/ruleward-order-sign"
    token = cds_token(house, key, BASE + path)
    assert browser.post(path, headers=bearer(token)).status_code == 200
    replayed = browser.post(path, headers=bearer(token))
    assert replayed.status_code == 401
    assert "used before" in replayed.headers["www-authenticate"]
    for wrong in (BASE, f"{BASE}/cds-services", f"{BASE}/cds-services/other", f"http://testserver{path}"):
        assert browser.post(path, headers=bearer(cds_token(house, key, wrong))).status_code == 401
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    elsewhere = cds_token(house, key, f"https://evil.example{path}")
    assert browser.post(path, headers=bearer(elsewhere) | forged).status_code == 401


def test_a_cds_token_opens_nothing_but_cds_services(trusting: tuple[House, jwk.ECKey]) -> None:
    house, key = trusting
    token = cds_token(house, key, f"{BASE}/decisions/d-icu", sub="x", roles=["pharmacy_director"])
    assert house.browser().get("/decisions/d-icu", headers=bearer(token)).status_code == 401
    assert house.browser().get("/accounts", headers=bearer(token)).status_code == 401


# Accounts, demo, emergency access


def test_the_data_refuse_two_administrators_in_one_account_whoever_writes(house: House) -> None:
    account, _, _ = house.account(Role.AUDITOR)
    insert = sa.text("INSERT INTO account_role (account, role, kind) VALUES (:account, :role, :kind)")
    for role, kind in (
        ("system_administrator", "administrator"),
        ("doctor", "person"),
        ("doctor", "administrator"),
    ):
        with pytest.raises(sa.exc.IntegrityError), writing(house.engine) as connection:
            connection.execute(insert, {"account": account, "role": role, "kind": kind})
    with pytest.raises(ValueError, match="watch one another"):
        house.store.change(account, roles=(Role.AUDITOR, Role.SECURITY_ADMINISTRATOR))


def test_the_security_administrator_makes_accounts_but_not_every_account(house: House) -> None:
    headers = bearer(house.token(Role.SECURITY_ADMINISTRATOR))
    browser = house.browser()
    wanted: dict[str, Any] = {
        "name": "li",
        "title": "李",
        "staff_number": "7",
        "roles": ["doctor"],
        "site": "east",
    }
    made = browser.post("/accounts", json=wanted, headers=headers)
    assert made.status_code == 201
    assert "password_hash" not in made.text
    for change in (
        {"roles": ["auditor", "system_administrator"], "name": "x1", "staff_number": "8"},
        {"roles": ["auditor", "doctor"], "name": "x2", "staff_number": "9"},
        {"roles": ["service"], "name": "x3", "staff_number": "10"},
        {"roles": [], "name": "x4", "staff_number": "11"},
        {"roles": ["king"], "name": "x5", "staff_number": "12"},
        {"name": "li2"},  # a second account of the same person
        {"staff_number": "13"},  # a second account of the same name
        {"disabled": False, "name": "x6", "staff_number": "14"},  # a field that is not to be set here
    ):
        assert browser.post("/accounts", json=wanted | change, headers=headers).status_code == 422, change
    patch = browser.patch(f"/accounts/{made.json()['id']}", json={"roles": ["nurse"]}, headers=headers)
    assert patch.json()["roles"] == ["nurse"]
    both = {"roles": ["auditor", "security_administrator"]}
    assert browser.patch(f"/accounts/{made.json()['id']}", json=both, headers=headers).status_code == 422
    assert browser.patch("/accounts/none", json={}, headers=headers).status_code == 404


def test_nobody_administers_his_own_account(house: House) -> None:
    account, _, _ = house.account(Role.SECURITY_ADMINISTRATOR)
    headers = bearer(house.token(Role.SECURITY_ADMINISTRATOR, sub=account))
    assert (
        house.browser().patch(f"/accounts/{account}", json={"unlock": True}, headers=headers).status_code
        == 422
    )


def test_a_changed_role_ends_the_tokens_that_say_the_old_one(house: House) -> None:
    browser, account = signed_in(house)
    token = tokens_for(house, browser)["access_token"]
    headers = bearer(house.token(Role.SECURITY_ADMINISTRATOR))
    house.browser().patch(f"/accounts/{account}", json={"roles": ["coder"]}, headers=headers)
    assert house.browser().get("/oauth/userinfo", headers=bearer(token)).status_code == 401


def test_emergency_access_opens_other_departments_for_a_while_and_is_reviewed_by_another(
    house: House,
) -> None:
    account, _, _ = house.account(Role.PHARMACY_DIRECTOR)
    doctor, _, _ = house.account(Role.DOCTOR)
    browser = house.browser()
    theirs = bearer(house.token(Role.DOCTOR, sub=doctor))
    assert browser.get("/decisions/d-surgery", headers=theirs).status_code == 404
    assert browser.post("/glass", json={"reason": "x", "minutes": 5}, headers=theirs).status_code == 422
    wish = {"reason": "Patient moved from surgery, unconscious", "minutes": 30}
    assert browser.post("/glass", json=wish | {"minutes": 900}, headers=theirs).status_code == 422
    taken = browser.post("/glass", json=wish, headers=theirs)
    assert taken.status_code == 201
    assert browser.get("/decisions/d-surgery", headers=theirs).status_code == 200
    assert browser.get("/decisions/d-west", headers=theirs).status_code == 404
    director = bearer(house.token(Role.PHARMACY_DIRECTOR, sub=account))
    (listed,) = browser.get("/glass", headers=director).json()
    assert (listed["account"], listed["reviewed_by"]) == (doctor, "")
    review = f"/glass/{listed['id']}/review"
    assert browser.post(review, json={"justified": True}, headers=theirs).status_code == 403
    assert browser.post(review, json={"justified": True}, headers=director).status_code == 200
    assert browser.post(review, json={"justified": False}, headers=director).status_code == 409
    own = browser.post("/glass", json=wish, headers=director).json()["id"]
    assert browser.post(f"/glass/{own}/review", json={"justified": True}, headers=director).status_code == 409
    house.clock.move(minutes=31)
    theirs = bearer(house.token(Role.DOCTOR, sub=doctor))
    assert browser.get("/decisions/d-surgery", headers=theirs).status_code == 404
    assert {event.kind for event in house.events} >= {"glass"}


def test_demo_accounts_have_new_random_passwords_each_start_and_never_exist_in_production(
    demo: House,
) -> None:
    first = make_demo_accounts(demo.identity, demo.clock)
    second = make_demo_accounts(demo.identity, demo.clock)
    line = next(line for line in second if line.strip().startswith("doctor "))
    assert line not in first
    name, password = line.split()
    assert enter(demo.browser(), name, password).headers["location"] == "/account"
    assert sum(line.split()[0] in set(Role) for line in second) == len(Role) - 1
    production = Identity(
        Settings(production=True, base_url=BASE),
        demo.engine,
        demo.clock,
        Path("unused"),
        watch=demo.events.append,
    )
    with pytest.raises(ValueError, match="never"):
        make_demo_accounts(production, demo.clock)
    app = FastAPI()
    production.install(app)
    assert enter(TestClient(app, base_url=BASE, follow_redirects=False), name, password).status_code == 401


def test_the_editor_is_a_client_of_its_own_address(demo: House) -> None:
    make_editor_client(demo.identity)
    client = demo.store.client("ruleset-editor")
    assert client is not None
    assert client.redirect_uris == (f"{BASE}/editor/callback",)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "RULEWARD_BASE_URL"),
        ({"RULEWARD_BASE_URL": "http://a.example"}, "RULEWARD_BASE_URL"),
        ({"RULEWARD_BASE_URL": BASE, "RULEWARD_CORS_ORIGINS": "*"}, "RULEWARD_CORS_ORIGINS"),
        (
            {"RULEWARD_BASE_URL": BASE, "RULEWARD_FHIR_SERVERS": "http://fhir.example"},
            "RULEWARD_FHIR_SERVERS",
        ),
        ({"RULEWARD_BASE_URL": BASE, "AUTHLIB_INSECURE_TRANSPORT": "1"}, "AUTHLIB_INSECURE_TRANSPORT"),
        (
            {"RULEWARD_BASE_URL": BASE, "RULEWARD_OIDC_ISSUER": "https://login.example"},
            "RULEWARD_OIDC_AUDIENCE",
        ),
    ],
)
def test_production_refuses_unsafe_settings_by_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read({"RULEWARD_MODE": "production", **given})


def test_settings_are_demo_unless_said(tmp_path: Path) -> None:
    assert read({}).production is False
    assert read({"RULEWARD_MODE": "production", "RULEWARD_BASE_URL": BASE}).production
    clients = tmp_path / "clients.json"
    clients.write_text(
        '[{"iss": "https://his.example", "jku": "https://his.example/jwks.json", "site": "east"}]'
    )
    assert read({"RULEWARD_CDS_CLIENTS": str(clients)}).cds_clients[0].site == "east"
    for wrong in ('[{"iss": "x"}]', "{", '[{"iss": "x", "jku": "http://x.example", "jwks": null}]'):
        clients.write_text(wrong)
        with pytest.raises(ValueError, match="RULEWARD_CDS_CLIENTS"):
            read({"RULEWARD_CDS_CLIENTS": str(clients)})
    with pytest.raises(ValueError, match="RULEWARD_OIDC_ROLES"):
        read(
            {
                "RULEWARD_OIDC_ISSUER": "https://l.example",
                "RULEWARD_OIDC_AUDIENCE": "a",
                "RULEWARD_OIDC_ROLES": "x=king",
            }
        )


def test_permissions_are_written_verb_and_resource() -> None:
    assert str(Permission(Verb.READ, Resource.DECISION)) == "read:decision"


def test_a_response_type_that_no_error_may_repeat_is_refused_as_any_other(house: House) -> None:
    answer = house.browser().get(authorization(response_type='co"de\\é\x07'))
    assert answer.status_code == 400


async def test_before_the_first_answer_about_revoked_tokens_everybody_waits_for_it() -> None:
    def read(_: dt.datetime) -> frozenset[str]:
        time.sleep(0.05)
        return frozenset({"gone"})

    revocations = Revocations(read, lambda: dt.datetime.now(dt.UTC))

    async def ask() -> frozenset[str]:
        await revocations.refresh()
        return revocations()

    assert await asyncio.gather(*(ask() for _ in range(20))) == [frozenset({"gone"})] * 20


# The whole service


@pytest.fixture
def whole(tmp_path: Path) -> FastAPI:
    from api.app import build_app
    from api.settings import read_settings

    environment = {
        "RULEWARD_DATA": str(tmp_path),
        "RULEWARD_MODE": "production",
        "RULEWARD_BASE_URL": BASE,
        "RULEWARD_KEY_PASSPHRASE": "of this test alone",
        "RULEWARD_FIRST_RELEASE": "0.01",
    }
    return build_app(read_settings(environment, tmp_path / "rules"))


def test_every_route_of_the_service_declares_its_permission_or_that_it_is_public(whole: FastAPI) -> None:
    stated = operations(whole)
    assert [where for where, permissions in stated.items() if permissions is None] == []
    public = {path for (_, path), permissions in stated.items() if permissions == []}
    assert public <= {
        "/live", "/ready", "/sign-in", "/sign-in/code", "/sign-in/passkey", "/sign-in/passkey/options",
        "/sign-in/passkey.js", "/sign-in/style.css", "/sign-out", "/account", "/account/passkey",
        "/account/passkey/options", "/account/second-factor", "/account/one-time", "/account/password",
        "/oauth/authorize", "/oauth/token", "/oauth/revoke", "/oauth/jwks.json", "/oauth/logout",
        "/.well-known/openid-configuration",
    }  # fmt: skip


def test_no_route_answers_without_standing_in_the_description(whole: FastAPI) -> None:
    described = {(method, path) for method, path in operations(whole)}
    for context in iter_route_contexts(whole.routes):
        for method in set(context.methods or ()) - {"HEAD", "OPTIONS"}:
            assert (method.lower(), context.path) in described, context.path


def test_nobody_without_a_token_gets_anything_in_production(whole: FastAPI) -> None:
    browser = TestClient(whole, base_url=BASE)
    for (method, path), permissions in operations(whole).items():
        if permissions:
            answer = browser.request(method, re.sub(r"\{[^}]+\}", "x", path))
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert browser.get("/openapi.json").status_code == 404
    assert browser.get("/docs").status_code == 404


def test_the_matrix_of_roles_and_routes_of_the_whole_service_is_as_declared(whole: FastAPI) -> None:
    worker = whole.state.worker
    upgrade(worker.engine)
    now = int(worker.clock().timestamp())
    wrong: list[object] = []
    with TestClient(whole, base_url=BASE, raise_server_exceptions=False) as browser:
        for role in Role:
            scope = " ".join(sorted(SCOPES)) if role is Role.SERVICE else ""
            told = {"iss": BASE, "aud": BASE, "sub": str(role), "iat": now, "exp": now + 300, "scope": scope}
            told |= {"roles": [str(role)], "amr": ["pwd", "otp"], "jti": secrets.token_hex(8)}
            headers = bearer(worker.identity.keys.sign(told, "at+jwt"))
            for (method, path), stated in operations(whole).items():
                if not stated:
                    continue
                status = browser.request(method, re.sub(r"\{[^}]+\}", "x", path), headers=headers).status_code
                granted = set(stated) <= (SCOPES if role is Role.SERVICE else {*map(str, GRANTS[role])})
                if granted == (status in {401, 403}) or (status >= 500 and status != 503):
                    wrong.append((role, method, path, status))
    assert wrong == []


def test_what_happens_at_the_door_stands_in_the_audit_log(tmp_path: Path) -> None:
    from api.app import build_app
    from api.settings import read_settings

    app = build_app(
        read_settings({"RULEWARD_DATA": str(tmp_path), "RULEWARD_FIRST_RELEASE": "0.01"}, tmp_path)
    )
    upgrade(app.state.worker.engine)
    with TestClient(app, base_url="http://localhost:8000") as browser:
        assert browser.get("/accounts", headers=bearer("no-token")).status_code == 401
        page = browser.get("/sign-in")
        browser.post("/sign-in", data={"form": form_of(page), "name": "nobody", "password": "x"})
    engine = open_database(f"sqlite:///{tmp_path}/ruleward.db", patience=5.0)
    with engine.connect() as connection:
        kinds = set(connection.execute(sa.text("SELECT kind FROM audit_entry")).scalars())
    engine.dispose()
    assert {"access_denied", "login_failed"} <= kinds
