"""Every provider keeps the one contract, and a site's own is found by its name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.gm_crypto import provider as loading
from adapters.gm_crypto.provider import CryptoError, Provider, load_provider
from adapters.gm_crypto.sm2 import SIGNER_ID
from adapters.gm_crypto.soft import SoftProvider

SOFT = SoftProvider()
KEY = SOFT.new_key()


def test_what_is_sealed_opens_in_its_place_only(provider: Provider) -> None:
    key = provider.new_key()
    sealed = provider.seal(key, b"penicillin", b"decision/trace/1")
    assert provider.open(key, sealed, b"decision/trace/1") == b"penicillin"
    assert b"penicillin" not in sealed
    assert provider.seal(key, b"penicillin", b"decision/trace/1") != sealed
    for other, place in ((key, b"decision/trace/2"), (provider.new_key(), b"decision/trace/1")):
        with pytest.raises(CryptoError):
            provider.open(other, sealed, place)


def test_a_signature_is_good_for_its_key_content_and_signer_only(provider: Provider) -> None:
    key, other = provider.new_signing_key(), provider.new_signing_key()
    signature = provider.sign(key, b"release")
    public = provider.public_key(key)
    assert provider.verify(public, b"release", signature)
    assert provider.verify(public, b"release", signature, signer_id=SIGNER_ID)
    assert not provider.verify(public, b"releases", signature)
    assert not provider.verify(provider.public_key(other), b"release", signature)
    assert not provider.verify(public, b"release", signature, signer_id=b"somebody else")
    assert not provider.verify(public, b"release", b"rubbish")


def test_macs_and_digests_are_32_bytes_and_macs_need_the_key(provider: Provider) -> None:
    one, other = provider.new_key(), provider.new_key()
    assert provider.mac(one, b"p-1") == provider.mac(one, b"p-1")
    assert provider.mac(one, b"p-1") != provider.mac(other, b"p-1")
    assert len(provider.mac(one, b"")) == len(provider.digest(b"")) == 32


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_any_content_comes_back_from_any_place(content: bytes, place: bytes) -> None:
    assert SOFT.open(KEY, SOFT.seal(KEY, content, place), place) == content


@given(st.binary(min_size=1, max_size=40), st.data())
def test_no_changed_bit_and_no_cut_tail_opens(content: bytes, data: st.DataObject) -> None:
    sealed = SOFT.seal(KEY, content, b"place")
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for forged in (bytes(changed), cut):
        with pytest.raises(CryptoError):
            SOFT.open(KEY, forged, b"place")


def test_a_provider_is_found_by_entry_point_or_by_path_and_gets_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Mapping[str, str]] = []

    def factory(environment: Mapping[str, str]) -> Provider:
        told.append(environment)
        return SOFT

    module = ModuleType("site_card")
    module.factory = factory  # type: ignore[attr-defined]
    module.wrong = lambda _: "no provider"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "site_card", module)
    point = EntryPoint("card", "site_card:factory", loading.PROVIDERS)
    monkeypatch.setattr(loading, "entry_points", lambda group: EntryPoints([point]).select(group=group))

    assert load_provider("card", {"CARD": "1"}) is SOFT
    assert load_provider("site_card:factory", {"CARD": "2"}) is SOFT
    assert told == [{"CARD": "1"}, {"CARD": "2"}]
    assert isinstance(load_provider("soft", {}), SoftProvider)
    with pytest.raises(CryptoError, match="is no Provider"):
        load_provider("site_card:wrong", {})
    with pytest.raises(CryptoError, match="no installed package offers"):
        load_provider("unknown", {})
    for path in ("no_such_module:factory", "site_card:nothing", ":factory"):
        with pytest.raises(CryptoError, match="cannot be loaded"):
            load_provider(path, {})
