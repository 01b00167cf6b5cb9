"""Ask for WebAuthn credentials and check them; the protocol is py_webauthn's.

Imported when the first security key is used: it brings a third of a second of imports.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence

import webauthn
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from adapters.identity.refusal import SignInRefused
from engine.identity import Account, Passkey

__all__ = ["creation", "made", "request", "used"]

_FAULTS = (WebAuthnException, ValueError, KeyError, TypeError, RecursionError)


def _descriptors(known: Iterable[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=one.id) for one in known]


def creation(account: Account, known: Iterable[Passkey], host: str) -> tuple[str, bytes]:
    """Return the JSON for ``navigator.credentials.create`` and its challenge."""
    options = webauthn.generate_registration_options(
        rp_id=host,
        rp_name="RuleWard",
        user_id=account.id.encode(),
        user_name=account.name,
        exclude_credentials=_descriptors(known),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    return webauthn.options_to_json(options), options.challenge


def request(known: Iterable[Passkey], host: str) -> tuple[str, bytes]:
    """Return the JSON for ``navigator.credentials.get`` and its challenge."""
    options = webauthn.generate_authentication_options(
        rp_id=host,
        allow_credentials=_descriptors(known),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return webauthn.options_to_json(options), options.challenge


def made(
    credential: bytes, challenge: bytes, origin: str, host: str, account_id: str, at: dt.datetime
) -> Passkey:
    """Return the new credential; raises ``SignInRefused``."""
    try:
        done = webauthn.verify_registration_response(
            credential=credential.decode(),
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
        )
    except _FAULTS:
        raise SignInRefused("passkey") from None
    return Passkey(
        id=done.credential_id,
        account=account_id,
        public_key=done.credential_public_key,
        sign_count=done.sign_count,
        label="",
        created_at=at,
    )


def used(
    credential: bytes, challenge: bytes, origin: str, host: str, known: Sequence[Passkey]
) -> tuple[bytes, int]:
    """Return (id, counter) of the credential that answered rightly; raises ``SignInRefused``."""
    try:
        told = json.loads(credential)
        wanted = base64url_to_bytes(told["rawId"])
        one = next((one for one in known if one.id == wanted), None)
        if one is None:
            raise SignInRefused("passkey")
        done = webauthn.verify_authentication_response(
            credential=told,
            expected_challenge=challenge,
            expected_rp_id=host,
            expected_origin=origin,
            credential_public_key=one.public_key,
            credential_current_sign_count=one.sign_count,
        )
    except _FAULTS:
        raise SignInRefused("passkey") from None
    return one.id, done.new_sign_count
