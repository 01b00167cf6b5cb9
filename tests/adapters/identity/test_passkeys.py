"""WebAuthn with a software authenticator: enrolment, sign-in, and what a phishing page or a clone sends."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import argon2
import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.identity.passwords import Passwords
from adapters.identity.refusal import SignInRefused
from adapters.identity.seal import FileSeal, SealBroken
from adapters.identity.sign_in import SignIn, Standing
from engine.access import Role
from engine.identity import Account

ORIGIN = "https://ruleward.example"
PASSWORD = "Correct-Horse-Battery-9"


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Authenticator:
    """A security key in software."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id, self.origin, self.count = b"credential-1", origin, 0
        self.host = origin.removeprefix("https://")

    def _client(self, kind: str, challenge: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told).encode()

    def _data(self, flags: int) -> bytes:
        self.count += 1
        return hashlib.sha256(self.host.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def create(self, options: dict[str, Any]) -> bytes:
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        data = self._data(0x45) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        client = self._client("webauthn.create", options["challenge"])
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self._told({"clientDataJSON": b64(client), "attestationObject": b64(attestation)})

    def get(self, options: dict[str, Any]) -> bytes:
        data, client = self._data(0x05), self._client("webauthn.get", options["challenge"])
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        told = {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
        return self._told(told)

    def _told(self, response: dict[str, str]) -> bytes:
        told = {
            "id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response,
            "clientExtensionResults": {},
        }  # fmt: skip
        return json.dumps(told).encode()


@pytest.fixture
def door(store: Any, clock: Any, tmp_path: Path) -> SignIn:
    passwords = Passwords(argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    account = Account(
        id="a", name="li", title="李", staff_number="1", roles=(Role.DOCTOR,), site="", departments=(),
        password_hash=passwords.hash(PASSWORD), password_changed_at=clock(),
    )  # fmt: skip
    store.add(account)
    seal = FileSeal(tmp_path / "identity.key")
    return SignIn(store, passwords, seal, clock, lambda _: None, base_url=ORIGIN, strict=True)


def entered(door: SignIn) -> Standing:
    standing = door.standing(door.password("li", PASSWORD))
    assert standing is not None
    return standing


def enrolled(door: SignIn) -> Authenticator:
    key, standing = Authenticator(), entered(door)
    assert standing.lacks == "enrolment"
    options = json.loads(door.passkey_options(standing, enrol=True))
    after = door.standing(door.add_passkey(standing, key.create(options)))
    assert after is not None
    assert (after.lacks, after.session.factors) == ("", ("pwd", "hwk"))
    return key


def test_a_security_key_is_enrolled_and_then_opens_the_door(door: SignIn) -> None:
    key = enrolled(door)
    standing = entered(door)
    assert standing.lacks == "factor"
    options = json.loads(door.passkey_options(standing, enrol=False))
    after = door.standing(door.passkey(standing, key.get(options)))
    assert after is not None
    assert after.lacks == ""
    assert door.standing("the old secret") is None


def test_an_answer_counts_once(door: SignIn) -> None:
    key = enrolled(door)
    standing = entered(door)
    answer = key.get(json.loads(door.passkey_options(standing, enrol=False)))
    door.passkey(standing, answer)
    with pytest.raises(SignInRefused):
        door.passkey(entered(door), answer)


@pytest.mark.parametrize("wrong", ["origin", "key", "challenge", "id", "clone", "garbage"])
def test_a_wrong_answer_is_refused(door: SignIn, wrong: str) -> None:
    key = enrolled(door)
    standing = entered(door)
    options = json.loads(door.passkey_options(standing, enrol=False))
    if wrong == "origin":
        key.origin = "https://ruleward.example.evil"
    elif wrong == "key":
        key.key = ec.generate_private_key(ec.SECP256R1())
    elif wrong == "challenge":
        options["challenge"] = b64(b"x" * 64)
    elif wrong == "id":
        key.id = b"another"
    elif wrong == "clone":
        key.count = -1  # its counter stands behind the one we know
    with pytest.raises(SignInRefused):
        door.passkey(standing, b"{}" if wrong == "garbage" else key.get(options))


def test_a_password_alone_adds_no_second_key(door: SignIn) -> None:
    enrolled(door)
    with pytest.raises(SignInRefused, match="factor"):
        door.passkey_options(entered(door), enrol=True)


def test_a_sealed_secret_opens_in_its_place_only(tmp_path: Path) -> None:
    seal = FileSeal(tmp_path / "identity.key")
    sealed = seal.seal(b"secret", "totp a")
    assert FileSeal(tmp_path / "identity.key").open(sealed, "totp a") == b"secret"
    for content, context in ((sealed, "totp b"), (sealed[:-1] + b"x", "totp a"), (b"", "totp a")):
        with pytest.raises(SealBroken):
            seal.open(content, context)
    with pytest.raises(SealBroken):
        FileSeal(tmp_path / "other.key").open(sealed, "totp a")
