"""State what is kept about accounts, clients, sessions and tokens, and what is wanted of their store.

Secrets come here hashed or sealed only. Times carry a zone. All that can race (a code, a refresh token, a
one-time password, a ``jti``) is *taken*: the store lets exactly one caller have it.
"""

from __future__ import annotations

import datetime as dt
from typing import Protocol

import msgspec

from engine.access import Role

__all__ = [
    "Account",
    "AccountStore",
    "Client",
    "ClientStore",
    "Code",
    "Family",
    "Glass",
    "GlassStore",
    "Happening",
    "Passkey",
    "Refresh",
    "Seal",
    "Session",
    "SessionStore",
    "SigningKey",
    "TokenStore",
    "Watch",
    "key_place",
    "one_time_place",
]


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A person who signs in; ``staff_number`` is unique, so that nobody has two accounts."""

    id: str
    name: str
    title: str
    staff_number: str
    roles: tuple[Role, ...]
    site: str
    departments: tuple[str, ...]
    password_hash: str
    password_changed_at: dt.datetime
    must_change_password: bool = False
    earlier_passwords: tuple[str, ...] = ()
    failures: int = 0
    locked_until: dt.datetime | None = None
    disabled: bool = False
    demo: bool = False
    totp_secret: bytes | None = None  # sealed
    totp_step: int = 0  # the last one used: a code counts once


class Passkey(msgspec.Struct, frozen=True, kw_only=True):
    """A WebAuthn credential."""

    id: bytes
    account: str
    public_key: bytes
    sign_count: int
    label: str
    created_at: dt.datetime


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """An OAuth client: the editor (public), a site's own page (confidential), or an adapter (service)."""

    id: str
    title: str
    kind: str  # public | confidential | service
    secret_hash: str = ""
    redirect_uris: tuple[str, ...] = ()
    logout_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    site: str = ""
    departments: tuple[str, ...] = ()
    disabled: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A browser at the embedded provider, signing in or signed in; ``id`` is the digest of the cookie."""

    id: str
    account: str
    started_at: dt.datetime
    seen_at: dt.datetime
    factors: tuple[str, ...]  # of RFC 8176: pwd, otp, hwk
    challenge: bytes | None = None
    enrolling: bytes | None = None  # sealed TOTP secret that is not confirmed yet
    ended: bool = False


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """An authorization code; ``id`` is its digest."""

    id: str
    family: str
    client: str
    account: str
    session: str
    redirect_uri: str
    scope: str
    nonce: str
    challenge: str
    signed_in_at: dt.datetime
    factors: tuple[str, ...]
    expires_at: dt.datetime
    used: bool = False


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """All tokens that grew from one sign-in of one client: they end together."""

    id: str
    client: str
    account: str
    session: str
    factors: tuple[str, ...]
    signed_in_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None = None


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A refresh token, good for one use; ``id`` is its digest."""

    id: str
    family: str
    client: str
    scope: str
    expires_at: dt.datetime
    used: bool = False


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs tokens; ``private`` is sealed."""

    kid: str
    algorithm: str
    private: bytes
    public: str  # JWK
    signs_from: dt.datetime
    signs_until: dt.datetime
    shown_until: dt.datetime


class Glass(msgspec.Struct, frozen=True, kw_only=True):
    """Emergency access: who, why, until when, and what the review said."""

    id: str
    account: str
    site: str
    reason: str
    began_at: dt.datetime
    until: dt.datetime
    reviewed_by: str = ""
    reviewed_at: dt.datetime | None = None
    verdict: str = ""  # justified | unjustified


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit shall know; ids only, never a name or a secret."""

    kind: str  # sign_in sign_out lock password second_factor token account client glass refused_token
    result: str
    subject: str = ""
    by: str = ""
    detail: str = ""


class Watch(Protocol):
    """Take note of what happened."""

    def __call__(self, happening: Happening, /) -> None: ...


def key_place(kid: str) -> str:
    """Return the place of a signing key, to which its sealed private half is bound."""
    return f"key {kid}"


def one_time_place(account_id: str) -> str:
    """Return the place of an account's TOTP secret."""
    return f"totp {account_id}"


class Seal(Protocol):
    """Encrypt what must not lie open in the database; ``context`` binds it to its place."""

    def seal(self, plain: bytes, context: str, /) -> bytes: ...

    def open(self, sealed: bytes, context: str, /) -> bytes: ...


class AccountStore(Protocol):
    """Keep accounts; ``add`` and ``change`` raise ``ValueError`` for what the data refuse."""

    def add(self, account: Account, /) -> None: ...

    def change(self, account_id: str, /, **values: object) -> None: ...

    def by_id(self, account_id: str, /) -> Account | None: ...

    def by_name(self, name: str, /) -> Account | None: ...

    def all(self) -> tuple[Account, ...]: ...

    def count_attempt(self, account_id: str, at: dt.datetime, /) -> int | None:
        """Count one more attempt and return how many failed in a row; ``None`` while it is locked."""

    def take_step(self, account_id: str, step: int, /) -> bool:
        """Use up a TOTP time step; false when it or a later one was used before."""

    def add_passkey(self, passkey: Passkey, /) -> None: ...

    def passkeys(self, account_id: str, /) -> tuple[Passkey, ...]: ...

    def use_passkey(self, passkey_id: bytes, sign_count: int, /) -> None: ...

    def drop_passkeys(self, account_id: str, /) -> None: ...


class ClientStore(Protocol):
    """Keep OAuth clients."""

    def put_client(self, client: Client, /) -> None: ...

    def client(self, client_id: str, /) -> Client | None: ...

    def clients(self) -> tuple[Client, ...]: ...


class SessionStore(Protocol):
    """Keep browser sessions."""

    def start_session(self, session: Session, /) -> None: ...

    def session(self, session_id: str, /) -> Session | None: ...

    def change_session(self, session_id: str, /, **values: object) -> None: ...

    def take_challenge(self, session_id: str, /) -> bytes | None:
        """Return the challenge and forget it: it answers once."""

    def end_sessions_of(self, account_id: str, /) -> None: ...


class TokenStore(Protocol):
    """Keep codes, refresh tokens, revocations, signing keys and the ``jti`` seen."""

    def add_family(self, family: Family, /) -> None: ...

    def family(self, family_id: str, /) -> Family | None: ...

    def add_code(self, code: Code, /) -> None: ...

    def take_code(self, code_id: str, /) -> tuple[Code, bool] | None:
        """Return the code and whether this was its first use."""

    def add_refresh(self, refresh: Refresh, /) -> None: ...

    def refresh(self, refresh_id: str, /) -> Refresh | None: ...

    def take_refresh(self, refresh_id: str, /) -> bool:
        """Use the token up; false when it was used before."""

    def revoke_family(self, family_id: str, at: dt.datetime, /) -> None: ...

    def revoke_families_of(self, at: dt.datetime, /, *, account: str = "", session: str = "") -> None: ...

    def revoke_token(self, token_id: str, until: dt.datetime, /) -> None: ...

    def revoked(self, at: dt.datetime, /) -> frozenset[str]:
        """Return ids of revoked tokens and families whose access tokens could still be alive."""

    def first_use(self, digest: str, until: dt.datetime, /) -> bool:
        """Write a ``jti`` down; false when it stood there before."""

    def put_key(self, key: SigningKey, /) -> None: ...

    def keys(self, at: dt.datetime, /) -> tuple[SigningKey, ...]:
        """Return the keys that are still shown, the newest first."""

    def forget(self, at: dt.datetime, /) -> None:
        """Delete what has expired."""


class GlassStore(Protocol):
    """Keep emergency access."""

    def break_glass(self, glass: Glass, /) -> None: ...

    def glass(self, glass_id: str, /) -> Glass | None: ...

    def standing_glass(self, account_id: str, at: dt.datetime, /) -> dt.datetime | None:
        """Return until when the account has emergency access."""

    def all_glass(self) -> tuple[Glass, ...]: ...

    def review_glass(self, glass_id: str, by: str, verdict: str, at: dt.datetime, /) -> bool:
        """Write the review down; false when there is none to review or it was reviewed before."""
