"""SM2, SM3 and SM4 give the answers that the standards print."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adapters.gm_crypto import sm2, sm3, sm4

KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")


def spread(letters: str) -> bytes:
    """Return eight bytes of each letter, written as hexadecimal digits."""
    return bytes.fromhex("".join(letter * 16 for letter in letters))


@pytest.mark.parametrize(
    ("content", "answer"),
    [  # GB/T 32905-2016 A.1, A.2
        (b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"),
        (b"abcd" * 16, "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"),
    ],
)
def test_sm3_gives_the_digests_of_the_standard(content: bytes, answer: str) -> None:
    assert sm3.digest(content).hex() == answer
    assert sm3.sm3(content) == f"sm3:{answer}"
    assert sm3.digest(content[:1], b"", content[1:]).hex() == answer


def test_hmac_sm3_is_the_construction_of_rfc_2104_over_sm3() -> None:
    key = bytes(range(1, 33))
    padded = key.ljust(64, b"\0")
    inner = sm3.digest(bytes(byte ^ 0x36 for byte in padded), b"abc")
    assert sm3.mac(key, b"abc") == sm3.digest(bytes(byte ^ 0x5C for byte in padded), inner)


def blocks(content: bytes, rounds: int) -> bytes:
    cipher = Cipher(algorithms.SM4(KEY), modes.ECB()).encryptor()
    for _ in range(rounds):
        content = cipher.update(content)
    return content


def test_sm4_gives_the_block_of_the_standard() -> None:
    assert blocks(KEY, 1).hex() == "681edf34d206965e86b3e94f536e4246"  # GB/T 32907-2016 A.1


def test_sm4_gives_the_block_of_the_standard_after_a_million_rounds() -> None:
    assert blocks(KEY, 1_000_000).hex() == "595298c7c6fd271f0402f804c33d3f66"  # GB/T 32907-2016 A.2


def test_sm4_gcm_gives_the_vector_of_rfc_8998() -> None:
    nonce = bytes.fromhex("00001234567800000000abcd")
    context = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = sm4._encrypt(KEY, nonce, spread("ABCDEFEA"), context)
    assert sealed.hex() == (
        nonce.hex() + "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
        "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        "83de3541e4c2b58177e065a9bf7b62ec"
    )
    assert sm4.decrypt(KEY, sealed, context) == spread("ABCDEFEA")


def test_sm2_gives_the_signature_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    # GB/T 32918.5-2017 A.2
    key = sm2.PrivateKey(0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
    assert key.public.point.hex() == (
        "0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
        "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
    )
    nonce = 0x59276E27D506861A16680F3AD9C02DCCEF3CC1FA3CDBE4CE6D54B80DEAC1BC21
    monkeypatch.setattr(sm2, "_nonce", lambda: nonce)
    assert sm2.sign(key, b"message digest", encoding="raw").hex() == (
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
        "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
    )
