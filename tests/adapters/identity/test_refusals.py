"""Every bad token is refused, by name: the refusal matrix of CDS client JWTs and of access tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from joserfc import jwk, jws

from adapters.identity.jws import parse
from adapters.identity.keys import KeySet, RemoteKeys, discover, read_keys, safe_url
from adapters.identity.refusal import TokenRefused
from adapters.identity.replay import Replays
from adapters.identity.tokens import AccessTokens, CdsClient, CdsTokens, Issuer
from engine.access import Caller, Role

BASE = "https://ruleward.example/cds-services"
ENDPOINT = f"{BASE}/ruleward-order-sign"
CLIENT = "https://his.example"
JKU = "https://his.example/jwks.json"
ISSUER = "https://login.example"
AUDIENCE = "https://ruleward.example"

EC = jwk.ECKey.generate_key("P-384", {"kid": "ec"})
EC256 = jwk.ECKey.generate_key("P-256", {"kid": "ec256"})
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
STRANGER = jwk.ECKey.generate_key("P-384", {"kid": "ec"})
with warnings.catch_warnings(action="ignore"):  # that it is weak is the point
    WEAK = jwk.RSAKey.generate_key(1024, {"kid": "weak"})
KEYS: list[jwk.Key] = [EC, RSA, EC256, WEAK]


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Forge:
    """Makes good tokens, and every kind of bad one."""

    def __init__(self, now: float, attacker: str) -> None:
        self.now, self.attacker = int(now), attacker
        self.number = 0

    def header(self, **given: Any) -> dict[str, Any]:
        return self.told({"alg": "ES384", "kid": "ec", "typ": "JWT"}, given)

    def claims(self, **given: Any) -> dict[str, Any]:
        self.number += 1
        usual = {
            "iss": CLIENT,
            "aud": ENDPOINT,
            "iat": self.now,
            "exp": self.now + 300,
            "jti": f"token-{self.number}",
        }
        return self.told(usual, given)

    @staticmethod
    def told(usual: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**usual, **given}.items() if value is not ...}

    def signed(self, header: dict[str, Any], payload: bytes, key: jwk.Key = EC) -> str:
        registry = jws.JWSRegistry(algorithms=list(jws.JWSRegistry.algorithms), strict_check_header=False)
        registry.max_header_length = 100_000
        critical = header.pop("crit", None)
        if critical is not None:  # the library refuses to sign what we want to see refused
            return self.by_hand(json.dumps({**header, "crit": critical}).encode(), payload)
        return jws.serialize_compact(header, payload, key, registry=registry)

    def by_hand(self, header: bytes, payload: bytes, key: jwk.ECKey = EC) -> str:
        body = f"{b64(header)}.{b64(payload)}"
        return f"{body}.{b64(jws.JWSRegistry.algorithms['ES384'].sign(body.encode(), key))}"

    def token(self, key: jwk.Key = EC, header: dict[str, Any] | None = None, **claims: Any) -> str:
        return self.signed(self.header(**(header or {})), json.dumps(self.claims(**claims)).encode(), key)

    def hmac(self, secret: bytes, algorithm: str = "HS384") -> str:
        header = json.dumps(self.header(alg=algorithm, kid="rsa")).encode()
        body = f"{b64(header)}.{b64(json.dumps(self.claims()).encode())}"
        return f"{body}.{b64(hmac.new(secret, body.encode(), hashlib.sha384).digest())}"

    def unsigned(self, algorithm: str, signature: str = "") -> str:
        header = json.dumps(self.header(alg=algorithm)).encode()
        return f"{b64(header)}.{b64(json.dumps(self.claims()).encode())}.{signature}"


BAD: dict[str, Callable[[Forge], str]] = {
    "nothing": lambda f: "",
    "one word": lambda f: "token",
    "two segments": lambda f: f.token().rpartition(".")[0],
    "two signatures": lambda f: f"{f.token()}.{f.token().rpartition('.')[2]}",
    "an encrypted token": lambda f: "a.b.c.d.e",
    "a general JSON serialisation": lambda f: json.dumps({"payload": "e30", "signatures": [{}, {}]}),
    "not ASCII": lambda f: f.token() + "é",
    "padded segments": lambda f: f.token() + "==",
    "a line break": lambda f: f.token() + "\n",
    "cut off": lambda f: f.token()[:-7],
    "garbage for a header": lambda f: f"AAAA.{f.token().split('.', 1)[1]}",
    "a header that is a list": lambda f: f.by_hand(b"[]", json.dumps(f.claims()).encode()),
    "a payload that is a list": lambda f: f.by_hand(json.dumps(f.header()).encode(), b"[]"),
    "a payload that is not UTF-8": lambda f: f.by_hand(json.dumps(f.header()).encode(), b"\xff\xfe"),
    "a payload nested deeply": lambda f: f.by_hand(
        json.dumps(f.header()).encode(), b'{"a":' * 700 + b"1" + b"}" * 700
    ),
    "a payload with NaN": lambda f: f.by_hand(json.dumps(f.header()).encode(), b'{"exp": NaN}'),
    "a header name twice": lambda f: f.by_hand(
        b'{"alg":"none","alg":"ES384","kid":"ec","typ":"JWT"}', json.dumps(f.claims()).encode()
    ),
    "a claim twice": lambda f: f.by_hand(
        json.dumps(f.header()).encode(),
        json.dumps(f.claims()).encode()[:-1] + b', "aud": "' + BASE.encode() + b'"}',
    ),
    "oversize": lambda f: f.token(padding="x" * 9000),
    "oversize header": lambda f: f.token(header={"padding": "x" * 3000}),
    "alg none": lambda f: f.unsigned("none"),
    "alg none with a signature": lambda f: f.unsigned("none", "AAAA"),
    "alg nOnE": lambda f: f.unsigned("nOnE", "AAAA"),
    "no alg": lambda f: f.by_hand(b'{"kid":"ec","typ":"JWT"}', json.dumps(f.claims()).encode()),
    "alg is a number": lambda f: f.by_hand(
        b'{"alg":1,"kid":"ec","typ":"JWT"}', json.dumps(f.claims()).encode()
    ),
    "HS384 with the public key as PEM": lambda f: f.hmac(RSA.as_pem(private=False)),
    "HS384 with the public key as DER": lambda f: f.hmac(RSA.as_der(private=False)),
    "HS384 with the public JWK": lambda f: f.hmac(json.dumps(RSA.as_dict(private=False)).encode()),
    "HS256": lambda f: f.hmac(b"secret", "HS256"),
    "HS384 with no secret": lambda f: f.hmac(b""),
    "ES256": lambda f: f.token(EC256, {"alg": "ES256", "kid": "ec256"}),
    "RS256": lambda f: f.token(RSA, {"alg": "RS256", "kid": "rsa"}),
    "PS384": lambda f: f.token(RSA, {"alg": "PS384", "kid": "rsa"}),
    "ES384 header, RSA key": lambda f: f.token(header={"kid": "rsa"}),
    "RS384 header, EC key": lambda f: f.token(RSA, {"alg": "RS384", "kid": "ec"}),
    "a weak RSA key": lambda f: f.token(RSA, {"alg": "RS384", "kid": "weak"}),
    "a signature of another token": lambda f: (
        f"{f.token().rpartition('.')[0]}.{f.token().rpartition('.')[2]}"
    ),
    "a signature of zeroes": lambda f: f"{f.token().rpartition('.')[0]}.{b64(bytes(96))}",
    "a DER signature": lambda f: f"{f.token().rpartition('.')[0]}.{b64(b'0' * 104)}",
    "a changed claim": lambda f: ".".join(
        [f.token().split(".")[0], b64(json.dumps(f.claims(aud=ENDPOINT)).encode()), f.token().split(".")[2]]
    ),
    "a stranger's key of the same kid": lambda f: f.token(STRANGER),
    "an unknown kid": lambda f: f.token(header={"kid": "other"}),
    "no kid": lambda f: f.token(header={"kid": ...}),
    "a kid with a path": lambda f: f.token(header={"kid": "../../../dev/null"}),
    "a kid with SQL": lambda f: f.token(header={"kid": "x' UNION SELECT 'key"}),
    "a kid that is a list": lambda f: f.by_hand(
        b'{"alg":"ES384","kid":["ec"],"typ":"JWT"}', json.dumps(f.claims()).encode()
    ),
    "no typ": lambda f: f.by_hand(b'{"alg":"ES384","kid":"ec"}', json.dumps(f.claims()).encode()),
    "another typ": lambda f: f.token(header={"typ": "at+jwt"}),
    "a logout token": lambda f: f.token(header={"typ": "logout+jwt"}),
    "a key of its own": lambda f: f.token(STRANGER, {"jwk": STRANGER.as_dict(private=False)}),
    "an unlisted jku": lambda f: f.token(header={"jku": "https://his.example/other.json"}),
    "a jku of the attacker": lambda f: f.token(STRANGER, {"jku": f"{f.attacker}/jwks.json"}),
    "a jku that begins as the listed one": lambda f: f.token(STRANGER, {"jku": f"{JKU}@127.0.0.1/"}),
    "a jku that is a file": lambda f: f.by_hand(
        b'{"alg":"ES384","kid":"ec","typ":"JWT","jku":"file:///etc/passwd"}', json.dumps(f.claims()).encode()
    ),
    "an empty jku": lambda f: f.by_hand(
        b'{"alg":"ES384","kid":"ec","typ":"JWT","jku":""}', json.dumps(f.claims()).encode()
    ),
    "x5u of the attacker": lambda f: f.token(STRANGER, {"x5u": f"{f.attacker}/cert.pem"}),
    "x5c": lambda f: f.token(header={"x5c": ["MIIB"]}),
    "crit": lambda f: f.token(header={"crit": ["exp"], "exp": 1}),
    "crit, empty": lambda f: f.token(header={"crit": []}),
    "an unencoded payload": lambda f: f.by_hand(
        json.dumps(f.header(b64=True)).encode(), json.dumps(f.claims()).encode()
    ),
    "compressed": lambda f: f.token(header={"zip": "DEF"}),
    "no iss": lambda f: f.token(iss=...),
    "another iss": lambda f: f.token(iss="https://other.example"),
    "iss with a slash more": lambda f: f.token(iss=f"{CLIENT}/"),
    "iss is a list": lambda f: f.token(iss=[CLIENT]),
    "no aud": lambda f: f.token(aud=...),
    "aud is the base URL": lambda f: f.token(aud=BASE),
    "aud is the host": lambda f: f.token(aud="https://ruleward.example"),
    "aud is another service": lambda f: f.token(aud=f"{BASE}/ruleward-order-select"),
    "aud is the feedback": lambda f: f.token(aud=f"{ENDPOINT}/feedback"),
    "aud with a slash more": lambda f: f.token(aud=f"{ENDPOINT}/"),
    "aud with a query": lambda f: f.token(aud=f"{ENDPOINT}?x=1"),
    "aud by http": lambda f: f.token(aud=ENDPOINT.replace("https", "http")),
    "aud is an empty list": lambda f: f.token(aud=[]),
    "aud is an object": lambda f: f.token(aud={ENDPOINT: 1}),
    "aud is a list of others": lambda f: f.token(aud=[BASE, f"{ENDPOINT}/"]),
    "no exp": lambda f: f.token(exp=...),
    "exp is text": lambda f: f.token(exp=str(f.now + 300)),
    "exp is true": lambda f: f.token(exp=True),
    "exp is infinite": lambda f: f.by_hand(
        json.dumps(f.header()).encode(), json.dumps(f.claims(exp=None)).replace("null", "1e999").encode()
    ),
    "exp is enormous": lambda f: f.token(exp=10**400),
    "expired": lambda f: f.token(iat=f.now - 400, exp=f.now - 61),
    "no iat": lambda f: f.token(iat=...),
    "iat is null": lambda f: f.token(iat=None),
    "of the future": lambda f: f.token(iat=f.now + 61, exp=f.now + 300),
    "of the far future": lambda f: f.token(iat=f.now + 10**6, exp=f.now + 10**6 + 300),
    "lives a day": lambda f: f.token(exp=f.now + 86400),
    "lives eleven minutes": lambda f: f.token(exp=f.now + 660),
    "ends before it begins": lambda f: f.token(iat=f.now + 30, exp=f.now + 10),
    "not valid yet": lambda f: f.token(nbf=f.now + 120),
    "nbf is text": lambda f: f.token(nbf="now"),
    "no jti": lambda f: f.token(jti=...),
    "an empty jti": lambda f: f.token(jti=""),
    "jti is a number": lambda f: f.token(jti=5),
    "an endless jti": lambda f: f.token(jti="x" * 300),
}


@dataclass
class Attacker:
    """A server that nobody may ask for keys."""

    url: str
    requests: list[str]


@pytest.fixture(scope="module")
def attacker() -> Iterator[Attacker]:
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            body = json.dumps({"keys": [STRANGER.as_dict(private=False)]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Attacker(f"http://127.0.0.1:{server.server_port}", requests)
    server.shutdown()
    server.server_close()
    thread.join()


class Shared:
    """What all workers share, in memory."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def first_use(self, digest: str, _until: object) -> bool:
        fresh = digest not in self.seen
        self.seen.add(digest)
        return fresh


@pytest.fixture
def forge(clock: Any, attacker: Attacker) -> Forge:
    return Forge(clock().timestamp(), attacker.url)


@pytest.fixture
def fetched() -> list[str]:
    return []


@pytest.fixture
def cds(clock: Any, fetched: list[str]) -> CdsTokens:
    """Trust one client by the address of its keys; what is fetched is written down."""

    async def address() -> str:
        return JKU

    async def fetch(url: str) -> object:
        fetched.append(url)
        return {"keys": [key.as_dict(private=False) for key in KEYS]}

    client = CdsClient(issuer=CLIENT, keys=RemoteKeys(address, fetch=fetch), jku=JKU, site="east")
    return CdsTokens([client], Replays(Shared()), clock)


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_client_token_is_refused(
    what: str, cds: CdsTokens, forge: Forge, attacker: Attacker, fetched: list[str]
) -> None:
    token = BAD[what](forge)
    with pytest.raises(TokenRefused):
        await cds.verify(parse(token), ENDPOINT)
    assert attacker.requests == []
    assert set(fetched) <= {JKU}


def test_the_matrix_is_at_least_as_long_as_promised() -> None:
    assert len(BAD) >= 38


GOOD: dict[str, Callable[[Forge], str]] = {
    "ES384": lambda f: f.token(),
    "RS384": lambda f: f.token(RSA, {"alg": "RS384", "kid": "rsa"}),
    "with its jku": lambda f: f.token(header={"jku": JKU}),
    "with a list of audiences": lambda f: f.token(aud=["https://other.example", ENDPOINT]),
    "with clocks that differ": lambda f: f.token(iat=f.now + 50, exp=f.now + 350),
    "just over": lambda f: f.token(iat=f.now - 300, exp=f.now - 30),
    "with a tenant": lambda f: f.token(tenant="ward 3"),
    "with times in fractions": lambda f: f.token(iat=f.now - 0.5, exp=f.now + 299.5),
    "with typ in small letters": lambda f: f.token(header={"typ": "jwt"}),
}


@pytest.mark.parametrize("what", GOOD)
async def test_a_good_client_token_is_accepted(what: str, cds: CdsTokens, forge: Forge) -> None:
    caller = await cds.verify(parse(GOOD[what](forge)), ENDPOINT)
    assert caller == Caller(
        subject=CLIENT, roles=frozenset({Role.SERVICE}), scopes=frozenset({"check:order"}), site="east"
    )


async def test_a_token_counts_once(cds: CdsTokens, forge: Forge) -> None:
    token = forge.token()
    await cds.verify(parse(token), ENDPOINT)
    with pytest.raises(TokenRefused, match="used before"):
        await cds.verify(parse(token), ENDPOINT)


async def test_a_jti_counts_once_over_all_workers_and_per_issuer(
    clock: Any, store: Any, forge: Forge
) -> None:
    keys = KeySet(read_keys({"keys": [EC.as_dict(private=False)]}))
    clients = [CdsClient(issuer=CLIENT, keys=keys), CdsClient(issuer="https://b.example", keys=keys)]
    workers = [CdsTokens(clients, Replays(store), clock) for _ in range(2)]
    token = forge.token(jti="same")
    await workers[0].verify(parse(token), ENDPOINT)
    with pytest.raises(TokenRefused, match="used before"):
        await workers[1].verify(parse(token), ENDPOINT)
    await workers[1].verify(parse(forge.token(jti="same", iss="https://b.example")), ENDPOINT)


async def test_a_refused_token_does_not_use_its_jti_up(cds: CdsTokens, forge: Forge) -> None:
    with pytest.raises(TokenRefused, match="signature"):
        await cds.verify(parse(forge.token(STRANGER, jti="mine")), ENDPOINT)
    await cds.verify(parse(forge.token(jti="mine")), ENDPOINT)


async def test_a_rotated_key_is_fetched_once_and_unknown_ones_do_not_hammer(clock: Any, forge: Forge) -> None:
    new = jwk.ECKey.generate_key("P-384", {"kid": "new"})
    shown: list[jwk.Key] = [EC]
    asked: list[str] = []

    async def address() -> str:
        return JKU

    async def fetch(url: str) -> object:
        asked.append(url)
        return {"keys": [key.as_dict(private=False) for key in shown]}

    remote = RemoteKeys(address, fetch=fetch, pause=0.05)
    tokens = CdsTokens([CdsClient(issuer=CLIENT, keys=remote, jku=JKU)], Replays(Shared()), clock)
    await tokens.verify(parse(forge.token()), ENDPOINT)
    assert len(asked) == 1
    shown.append(new)
    await anyio.sleep(0.06)
    await tokens.verify(parse(forge.token(new, {"kid": "new"})), ENDPOINT)
    assert len(asked) == 2
    for number in range(50):
        with pytest.raises(TokenRefused):
            await tokens.verify(parse(forge.token(header={"kid": f"no {number}"})), ENDPOINT)
    assert len(asked) <= 4


async def test_keys_outlast_a_key_server_that_is_away(clock: Any, forge: Forge) -> None:
    answers: list[object] = [{"keys": [EC.as_dict(private=False)]}]

    async def address() -> str:
        return JKU

    async def fetch(_url: str) -> object:
        if not answers:
            raise TokenRefused("away")
        return answers.pop()

    remote = RemoteKeys(address, fetch=fetch, pause=0.0)
    tokens = CdsTokens([CdsClient(issuer=CLIENT, keys=remote, jku=JKU)], Replays(Shared()), clock)
    await tokens.verify(parse(forge.token()), ENDPOINT)
    with pytest.raises(TokenRefused):
        await tokens.verify(parse(forge.token(header={"kid": "new"})), ENDPOINT)
    await tokens.verify(parse(forge.token()), ENDPOINT)


def access_forge(forge: Forge, key: jwk.Key = EC, header: dict[str, Any] | None = None, **claims: Any) -> str:
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "roles": ["doctor"]}
    return forge.token(key, {"typ": "at+jwt", **(header or {})}, **{**usual, **claims})


BAD_ACCESS: dict[str, Callable[[Forge], str]] = {
    "another issuer": lambda f: access_forge(f, iss="https://evil.example"),
    "a CDS client": lambda f: access_forge(f, iss=CLIENT),
    "another audience": lambda f: access_forge(f, aud="another-service"),
    "an ID token by typ": lambda f: access_forge(f, header={"typ": "JWT"}),
    "an ID token by nonce": lambda f: access_forge(f, nonce="n"),
    "an ID token by at_hash": lambda f: access_forge(f, at_hash="h"),
    "its own jku": lambda f: access_forge(f, header={"jku": f"{f.attacker}/k"}),
    "its own key": lambda f: access_forge(f, STRANGER, {"jwk": STRANGER.as_dict(private=False)}),
    "a stranger's key": lambda f: access_forge(f, STRANGER),
    "an algorithm that is not listed": lambda f: access_forge(f, RSA, {"alg": "RS384", "kid": "rsa"}),
    "alg none": lambda f: f.unsigned("none", "AA"),
    "no subject": lambda f: access_forge(f, sub=...),
    "expired": lambda f: access_forge(f, iat=f.now - 900, exp=f.now - 100),
    "lives for ever": lambda f: access_forge(f, exp=f.now + 10**6),
    "a revoked token": lambda f: access_forge(f, jti="revoked-token"),
    "a revoked family": lambda f: access_forge(f, sid="revoked-family"),
    "two administrators": lambda f: access_forge(f, roles=["auditor", "system_administrator"]),
    "a service that it may not name": lambda f: access_forge(f, roles=["service"]),
}


@pytest.fixture
def access(clock: Any) -> AccessTokens:
    issuer = Issuer(
        name=ISSUER,
        audience=AUDIENCE,
        keys=KeySet(read_keys({"keys": [key.as_dict(private=False) for key in KEYS]})),
        algorithms=frozenset({"ES384"}),
        kinds=frozenset({"at+jwt"}),
        roles={str(role): role for role in Role},
    )
    return AccessTokens([issuer], clock, lambda: frozenset({"revoked-token", "revoked-family"}))


@pytest.mark.parametrize("what", BAD_ACCESS)
async def test_a_bad_access_token_is_refused(
    what: str, access: AccessTokens, forge: Forge, attacker: Attacker
) -> None:
    token = BAD_ACCESS[what](forge)
    with pytest.raises(TokenRefused):
        await access.verify(parse(token))
    assert attacker.requests == []


async def test_a_good_access_token_tells_roles_place_and_strength(access: AccessTokens, forge: Forge) -> None:
    token = access_forge(
        forge, roles=["doctor", "king"], site="east", departments=["icu"], amr=["pwd", "otp"], sid="f"
    )
    caller = await access.verify(parse(token))
    assert caller == Caller(
        subject="u1",
        roles=frozenset({Role.DOCTOR}),
        site="east",
        departments=frozenset({"icu"}),
        strong=True,
        family="f",
    )


async def test_roles_are_read_from_a_nested_claim_by_the_sites_own_words(clock: Any, forge: Forge) -> None:
    issuer = Issuer(
        name=ISSUER,
        audience=AUDIENCE,
        keys=KeySet(read_keys({"keys": [RSA.as_dict(private=False)]})),
        algorithms=frozenset({"RS256"}),
        kinds=frozenset({"jwt", "at+jwt"}),
        roles_claim="realm_access.roles",
        roles={"ys": Role.DOCTOR},
        site="west",
        strong_acr=frozenset({"gold"}),
    )
    token = access_forge(
        forge,
        RSA,
        {"alg": "RS256", "kid": "rsa", "typ": "JWT"},
        roles=...,
        realm_access={"roles": ["ys"]},
        acr="gold",
    )
    caller = await AccessTokens([issuer], clock).verify(parse(token))
    assert (caller.roles, caller.site, caller.strong) == (frozenset({Role.DOCTOR}), "west", True)


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/k"}, "another issuer"),
        ({"issuer": ISSUER, "jwks_uri": "http://login.example/k"}, "no safe address"),
        ({"issuer": ISSUER, "jwks_uri": "https://169.254.169.254/k"}, "another host"),
        ({"issuer": ISSUER}, "no safe address"),
        ([], "another issuer"),
    ],
)
async def test_a_description_that_leads_elsewhere_is_refused(told: object, wrong: str) -> None:
    async def fetch(_url: str) -> object:
        return told

    with pytest.raises(TokenRefused, match=wrong):
        await discover(ISSUER, fetch)


def test_symmetric_weak_doubled_and_encryption_keys_are_left_out() -> None:
    listed = [
        EC.as_dict(private=False),
        STRANGER.as_dict(private=False),  # the same kid: nobody can tell which is meant
        {**EC256.as_dict(private=False), "use": "enc"},
        WEAK.as_dict(private=False),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kty": "EC", "kid": "broken"},
        "nonsense",
        RSA.as_dict(private=False),
    ]
    assert set(read_keys({"keys": listed})) == {"rsa"}


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.example/k", True),
        ("http://127.0.0.1:9/k", True),
        ("http://a.example/k", False),
        ("file:///etc/passwd", False),
        ("https://user@a.example/k", False),
        ("ftp://127.0.0.1/k", False),
    ],
)
def test_tokens_rest_on_https_only_except_on_this_machine(url: str, safe: bool) -> None:
    assert safe_url(url) is safe
