"""SM2 signatures hold with OpenSSL and against whatever an attacker may send; gmssl's traps stay shut."""

from __future__ import annotations

import random
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from gmssl import func
from gmssl.sm2 import CryptSM2, default_ecc_table
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.gm_crypto import sm2
from adapters.gm_crypto.sm2 import PrivateKey, PublicKey
from adapters.gm_crypto.sm2_keys import (
    private_from_der,
    private_from_pem,
    private_to_der,
    private_to_pem,
    public_from_der,
    public_from_pem,
    public_to_der,
    public_to_pem,
)

N = int(default_ecc_table["n"], 16)
KEY = PrivateKey(0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
CONTENT = "处方 #1: 华法林 2.5 mg".encode()
GOOD = sm2.sign(KEY, CONTENT)


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *arguments], capture_output=True, check=False)


def accepted(folder: Path, key: PublicKey, content: bytes, signature: bytes, signer_id: bytes) -> bool:
    """Ask the OpenSSL command line."""
    (folder / "pub.pem").write_text(public_to_pem(key))
    (folder / "content").write_bytes(content)
    (folder / "signature").write_bytes(signature)
    asked = openssl(
        *("pkeyutl", "-verify", "-pubin", "-inkey", folder / "pub.pem", "-rawin", "-digest", "sm3"),
        *("-pkeyopt", f"distid:{signer_id.decode()}", "-in", folder / "content"),
        *("-sigfile", folder / "signature"),
    )
    return asked.returncode == 0


def key_whose_public_half(begins: Callable[[bytes], bool]) -> PrivateKey:
    """Walk d, 2d, 3d … by gmssl's point addition, which is quicker than making keys: 256 tries on average."""
    engine = CryptSM2(private_key="", public_key="")
    generator = default_ecc_table["g"]
    point = engine._kg(2, generator)
    for d in range(3, 20_000):
        point = engine._convert_jacb_to_nor(engine._add_point(f"{point}1", generator))
        if begins(bytes.fromhex(point)):
            return PrivateKey(d)
    pytest.fail("no such key in twenty thousand")


@pytest.mark.parametrize("signer_id", [sm2.SIGNER_ID, b"ALICE123@YAHOO.COM"])
def test_openssl_verifies_what_we_sign(tmp_path: Path, signer_id: bytes) -> None:
    for content in (b"", CONTENT, bytes(range(256)) * 400):
        key = sm2.generate()
        signature = sm2.sign(key, content, signer_id=signer_id)
        assert accepted(tmp_path, key.public, content, signature, signer_id)
        assert not accepted(tmp_path, key.public, content + b"!", signature, signer_id)


def test_we_verify_what_openssl_signs_with_a_key_that_openssl_made(tmp_path: Path) -> None:
    assert openssl("genpkey", "-algorithm", "SM2", "-out", tmp_path / "key.pem").returncode == 0
    (tmp_path / "content").write_bytes(CONTENT)
    made = openssl(
        *("pkeyutl", "-sign", "-inkey", tmp_path / "key.pem", "-rawin", "-digest", "sm3"),
        *("-pkeyopt", "distid:1234567812345678", "-in", tmp_path / "content", "-out", tmp_path / "signature"),
    )
    assert made.returncode == 0, made.stderr
    key = private_from_pem((tmp_path / "key.pem").read_text()).public
    signature = (tmp_path / "signature").read_bytes()
    assert sm2.verify(key, CONTENT, signature)
    assert not sm2.verify(key, CONTENT, signature, signer_id=b"another")
    assert not sm2.verify(KEY.public, CONTENT, signature)


def test_keys_read_and_write_as_openssl_writes_and_reads_them(tmp_path: Path) -> None:
    openssl("genpkey", "-algorithm", "SM2", "-out", tmp_path / "key.pem")
    openssl("pkey", "-in", tmp_path / "key.pem", "-pubout", "-out", tmp_path / "pub.pem")
    openssl("pkey", "-in", tmp_path / "key.pem", "-outform", "DER", "-out", tmp_path / "key.der")
    openssl("ec", "-in", tmp_path / "key.pem", "-out", tmp_path / "sec1.pem")
    theirs = (tmp_path / "key.pem").read_text()
    key = private_from_pem(theirs)
    assert private_to_pem(key) == theirs
    assert public_to_pem(key.public) == (tmp_path / "pub.pem").read_text()
    assert private_from_der((tmp_path / "key.der").read_bytes()) == key
    assert private_from_pem((tmp_path / "sec1.pem").read_text()) == key

    (tmp_path / "ours.pem").write_text(private_to_pem(KEY))
    assert openssl("pkey", "-in", tmp_path / "ours.pem", "-check", "-noout").returncode == 0


def test_a_foreign_encrypted_or_mismatched_key_is_refused(tmp_path: Path) -> None:
    openssl(
        "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "p256.pem"
    )
    openssl("genpkey", "-algorithm", "SM2", "-aes128", "-pass", "pass:x", "-out", tmp_path / "locked.pem")
    with pytest.raises(ValueError, match="not of the SM2 curve"):
        private_from_pem((tmp_path / "p256.pem").read_text())
    with pytest.raises(ValueError, match="Decrypt it first"):
        private_from_pem((tmp_path / "locked.pem").read_text())
    mixed = private_to_der(KEY).replace(KEY.public.point, sm2.generate().public.point)
    with pytest.raises(ValueError, match="does not belong"):
        private_from_der(mixed)
    with pytest.raises(ValueError, match="no PUBLIC KEY"):
        public_from_pem("hello")


@given(st.integers(1, N - 2), st.binary(max_size=300), st.sampled_from(["der", "raw"]))
@settings(max_examples=15)
def test_a_signature_verifies_in_either_encoding_with_any_key(
    d: int, content: bytes, encoding: sm2.Encoding
) -> None:
    key = PrivateKey(d)
    signature = sm2.sign(key, content, encoding=encoding)
    assert sm2.verify(key.public, content, signature, encoding=encoding)
    assert private_from_der(private_to_der(key)) == key
    assert public_from_der(public_to_der(key.public)) == key.public
    assert PublicKey.from_point(key.public.point[1:]) == key.public


@pytest.mark.parametrize(
    "begins",
    [
        lambda point: point[0] == 0x04,
        lambda point: point[0] == 0x00,
        lambda point: point[0] >> 4 == 0x4,
        lambda point: point[0] == 0x44,
    ],
    ids=["04", "00", "4", "44"],
)
def test_a_key_whose_digits_gmssl_would_strip_signs_and_verifies(
    begins: Callable[[bytes], bool], tmp_path: Path
) -> None:
    key = key_whose_public_half(begins)
    for point in (key.public.point, key.public.point[1:]):
        assert PublicKey.from_point(point) == key.public
    signature = sm2.sign(key, CONTENT)
    assert sm2.verify(key.public, CONTENT, signature)
    assert accepted(tmp_path, key.public, CONTENT, signature, sm2.SIGNER_ID)
    if begins(b"\x04"):
        bare = key.public.point[1:].hex()
        assert CryptSM2(private_key="", public_key=bare).public_key != bare  # the trap itself


def test_nonces_never_come_from_pythons_random(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a nonce was taken from a predictable source")

    monkeypatch.setattr(func, "random_hex", refuse)
    monkeypatch.setattr(func, "choice", refuse)
    monkeypatch.setattr(random.Random, "random", refuse)
    monkeypatch.setattr(random.Random, "getrandbits", refuse)
    asked: list[int] = []
    randbelow = secrets.randbelow

    def watched(limit: int) -> int:
        asked.append(limit)
        return randbelow(limit)

    monkeypatch.setattr(secrets, "randbelow", watched)
    key = sm2.generate()
    first, second = sm2.sign(key, CONTENT), sm2.sign(key, CONTENT)
    assert asked == [N - 2, N - 1, N - 1]
    assert first != second


def test_a_nonce_that_the_standard_refuses_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | None] = [None, None, "11" * 64]
    monkeypatch.setattr(CryptSM2, "sign", lambda *_: answers.pop(0))
    assert sm2.sign(KEY, CONTENT, encoding="raw") == b"\x11" * 64


@given(st.binary(max_size=100))
@settings(max_examples=200)
def test_malformed_signatures_are_false_and_raise_nothing(signature: bytes) -> None:
    assert not sm2.verify(KEY.public, CONTENT, signature)
    assert not sm2.verify(KEY.public, CONTENT, signature, encoding="raw")


@given(st.integers(0, 8 * len(GOOD) - 1))
@settings(max_examples=40)
def test_a_signature_with_one_bit_changed_is_false(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    assert not sm2.verify(KEY.public, CONTENT, bytes(changed))


def test_numbers_out_of_range_are_false_even_where_gmssl_would_reduce_them() -> None:
    raw = sm2.sign(KEY, CONTENT, encoding="raw")
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    pairs = [(0, s), (r, 0), (0, 0), (N, s), (r, N), (N - s, s), (1, N - 1), (2**256 - 1, 2**256 - 1)]
    if s + N < 2**256:
        pairs.append((r, s + N))
    for one, other in pairs:
        both = one.to_bytes(32) + other.to_bytes(32)
        assert not sm2.verify(KEY.public, CONTENT, both, encoding="raw")
    assert not sm2.verify(KEY.public, CONTENT, GOOD + b"\0")
    assert not sm2.verify(KEY.public, CONTENT, GOOD, signer_id=b"x" * 10_000)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        b"\0" * 64,
        b"\xff" * 64,
        KEY.public.point[:-1],
        KEY.public.point + b"\0",
        b"\x02" + KEY.public.point[1:],
        KEY.public.point[:-1] + bytes([KEY.public.point[-1] ^ 1]),
    ],
)
def test_what_is_no_point_of_the_curve_is_no_key(point: bytes) -> None:
    with pytest.raises(ValueError, match="SM2"):
        PublicKey.from_point(point)


@pytest.mark.parametrize("d", [0, -1, N - 1, N, N + 5])
def test_a_private_key_out_of_range_is_refused(d: int) -> None:
    with pytest.raises(ValueError, match="between 1 and n - 2"):
        PrivateKey(d)


def test_a_private_key_does_not_show_itself() -> None:
    shown: Any = repr(KEY)
    assert str(KEY.d) not in shown
    assert f"{KEY.d:x}" not in shown
