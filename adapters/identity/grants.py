"""Fit Authlib's grants to our store: codes with PKCE, refresh tokens that rotate, client credentials.

The protocol is Authlib's; what is ours is who may have which token, and that a code or a refresh
token that comes twice ends its whole family (RFC 9700, section 4.14).
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any, Final, Protocol

import msgspec
from authlib.oauth2.rfc6749 import ClientMixin, InvalidRequestError, OAuth2Payload, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from joserfc import jwk

from adapters.identity.key_ring import ALGORITHM
from adapters.identity.sign_in import digest_of
from engine.access import SCOPES
from engine.identity import Account, Client, Code, Family, Happening, Refresh

__all__ = [
    "ACCESS",
    "CodeGrant",
    "IdToken",
    "KnownClient",
    "Pkce",
    "Providing",
    "RefreshGrant",
    "Request",
    "Revocation",
    "ServiceGrant",
    "Signed",
]

ACCESS: Final = dt.timedelta(minutes=5)
REFRESH: Final = dt.timedelta(hours=2)
_CODE: Final = dt.timedelta(seconds=60)
_PERSONS: Final = ("openid", "profile", "offline_access")
_METHODS: Final = ("client_secret_basic", "client_secret_post", "none")


class Signed(msgspec.Struct, frozen=True):
    """Who signed in for whom tokens are issued, and the family of these."""

    account: Account
    family: Family


class Providing(Protocol):
    """What the grants want of the provider."""

    issuer: str
    longest: dt.timedelta
    store: Any
    """:class:`engine.identity.TokenStore` and accounts; ``Any`` because Authlib's classes are untyped."""

    def now(self) -> dt.datetime: ...

    def note(self, happening: Happening, /) -> None: ...

    def secret_fits(self, client: Client, secret: str, /) -> bool: ...

    def active(self, account_id: str, /) -> Account | None: ...

    def signing(self) -> tuple[str, jwk.Key]: ...

    def find_token(self, token: str, /) -> tuple[str, str] | None: ...


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._lists: dict[str, list[str]] = {}
        for name, value in pairs:
            self._lists.setdefault(name, []).append(value)

    @property
    def data(self) -> dict[str, str]:
        return {name: values[0] for name, values in self._lists.items()}

    @property
    def datalist(self) -> dict[str, list[str]]:
        return self._lists


class Request(OAuth2Request):  # type: ignore[misc]
    """A request as Authlib reads it."""

    def __init__(self, method: str, pairs: list[tuple[str, str]], authorization: str = "") -> None:
        # Whether http will do is decided once, from the settings; Authlib only sees that this was done.
        super().__init__(method, "https://checked.invalid/", headers={"Authorization": authorization})
        self.payload = _Payload(pairs)

    @property
    def form(self) -> dict[str, str]:
        """Return the parameters of a POST."""
        told: dict[str, str] = self.payload.data
        return told

    @property
    def args(self) -> dict[str, str]:
        """Return the parameters of a GET."""
        return self.form


class KnownClient(ClientMixin):  # type: ignore[misc]
    """A registered client as Authlib asks about it."""

    def __init__(self, client: Client, provider: Providing) -> None:
        self.client, self._provider = client, provider

    def get_client_id(self) -> str:
        return self.client.id

    def get_default_redirect_uri(self) -> str | None:
        return self.client.redirect_uris[0] if len(self.client.redirect_uris) == 1 else None

    def get_allowed_scope(self, scope: str | None) -> str:
        allowed = _PERSONS if self.client.kind != "service" else tuple(set(self.client.scopes) & SCOPES)
        wanted = (scope or " ".join(allowed)).split()
        return " ".join(one for one in wanted if one in allowed)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.client.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return self._provider.secret_fits(self.client, client_secret)

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method == "none") == (self.client.kind == "public")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and self.client.kind != "service"

    def check_grant_type(self, grant_type: str) -> bool:
        services = grant_type == "client_credentials"
        return services == (self.client.kind == "service")


class Pkce(CodeChallenge):  # type: ignore[misc]
    """PKCE by S256, for every client (RFC 7636, RFC 9700 section 2.1.1)."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a request without a challenge, or with a plain one."""
        told = grant.request.payload.data
        if not told.get("code_challenge") or told.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with code_challenge_method S256 is required.")
        super().validate_code_challenge(grant, redirect_uri)


class _KnownCode:
    """A code as Authlib asks about it."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.code_challenge, self.code_challenge_method = code.challenge, "S256"

    def get_redirect_uri(self) -> str:
        return self.code.redirect_uri

    def get_scope(self) -> str:
        return self.code.scope

    def get_nonce(self) -> str:
        return self.code.nonce

    def get_auth_time(self) -> int:
        return int(self.code.signed_in_at.timestamp())

    def get_acr(self) -> str:
        return ""

    def get_amr(self) -> list[str]:
        return list(self.code.factors)


class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    """Authorization codes: a minute long, for one use."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS

    def save_authorization_code(self, code: str, request: Any) -> None:
        provider: Providing = self.server.provider
        signed: Signed = request.user
        told = request.payload.data
        provider.store.add_family(signed.family)
        provider.store.add_code(
            Code(
                id=digest_of(code),
                family=signed.family.id,
                client=request.client.client.id,
                account=signed.account.id,
                session=signed.family.session,
                redirect_uri=told.get("redirect_uri") or "",
                scope=request.scope,
                nonce=told.get("nonce", "")[:500],
                challenge=told["code_challenge"],
                signed_in_at=signed.family.signed_in_at,
                factors=signed.family.factors,
                expires_at=provider.now() + _CODE,
            )
        )

    def query_authorization_code(self, code: str, client: KnownClient) -> _KnownCode | None:
        provider: Providing = self.server.provider
        taken: tuple[Code, bool] | None = provider.store.take_code(digest_of(code))
        if taken is None:
            return None
        found, first = taken
        if not first:
            provider.store.revoke_family(found.family, provider.now())
            provider.note(Happening(kind="token", result="code_reused", subject=found.account))
            return None
        good = found.client == client.client.id and provider.now() < found.expires_at
        return _KnownCode(found) if good else None

    def delete_authorization_code(self, authorization_code: _KnownCode) -> None:
        """Do nothing: it was used up when it was asked for, before anything else could."""

    def authenticate_user(self, authorization_code: _KnownCode) -> Signed | None:
        return _signed(self.server.provider, authorization_code.code.family)


def _signed(provider: Providing, family_id: str) -> Signed | None:
    family: Family | None = provider.store.family(family_id)
    if family is None or family.revoked_at is not None or provider.now() >= family.expires_at:
        return None
    account = provider.active(family.account)
    return None if account is None else Signed(account, family)


class _KnownRefresh:
    def __init__(self, refresh: Refresh) -> None:
        self.refresh = refresh

    def check_client(self, client: KnownClient) -> bool:
        return self.refresh.client == client.client.id

    def get_scope(self) -> str:
        return self.refresh.scope


class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    """Refresh tokens: good once; one that comes again was stolen, by whoever came first or second."""

    TOKEN_ENDPOINT_AUTH_METHODS = _METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _KnownRefresh | None:
        provider: Providing = self.server.provider
        found: Refresh | None = provider.store.refresh(digest_of(refresh_token))
        if found is None or found.client != self.request.client.client.id:
            return None
        if provider.now() >= found.expires_at or _signed(provider, found.family) is None:
            return None
        if not provider.store.take_refresh(found.id):
            provider.store.revoke_family(found.family, provider.now())
            provider.note(Happening(kind="token", result="refresh_reused", detail=found.client))
            return None
        return _KnownRefresh(found)

    def authenticate_user(self, refresh_token: _KnownRefresh) -> Signed | None:
        return _signed(self.server.provider, refresh_token.refresh.family)

    def revoke_old_credential(self, refresh_token: _KnownRefresh) -> None:
        """Do nothing: it was used up when it was asked for."""


class ServiceGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """Client credentials: the service accounts of adapters."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class _Revocable:
    def __init__(self, client: str, family: str, token: str) -> None:
        self.client, self.family, self.token = client, family, token

    def check_client(self, client: KnownClient) -> bool:
        return self.client == client.client.id


class Revocation(RevocationEndpoint):  # type: ignore[misc]
    """RFC 7009: a refresh token ends its family, an access token itself."""

    CLIENT_AUTH_METHODS = _METHODS

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Revocable | None:
        provider: Providing = self.server.provider
        refresh: Refresh | None = provider.store.refresh(digest_of(token_string))
        if refresh is not None:
            return _Revocable(refresh.client, refresh.family, "")
        found = provider.find_token(token_string)
        return None if found is None else _Revocable(found[0], "", found[1])

    def revoke_token(self, token: _Revocable, request: Any) -> None:
        provider: Providing = self.server.provider
        if token.family:
            provider.store.revoke_family(token.family, provider.now())
        else:
            provider.store.revoke_token(token.token, provider.now() + 2 * ACCESS)
        provider.note(Happening(kind="token", result="revoked", detail=token.client))


class IdToken(OpenIDCode):  # type: ignore[misc]
    """OpenID Connect: the ID token, and what it says."""

    def __init__(self, provider: Providing) -> None:
        super().__init__(require_nonce=False)
        self._provider = provider

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        """Return false: a code counts once, so its nonce cannot come back."""
        return False

    def resolve_client_private_key(self, client: KnownClient) -> jwk.Key:
        return self._provider.signing()[1]

    def get_client_algorithm(self, client: KnownClient) -> str:
        return ALGORITHM

    def get_encode_header(self, client: KnownClient) -> dict[str, str]:
        return {"alg": ALGORITHM, "kid": self._provider.signing()[0]}

    def get_client_claims(self, client: KnownClient) -> dict[str, object]:
        now = int(self._provider.now().timestamp())
        return {
            "iss": self._provider.issuer,
            "aud": client.client.id,
            "iat": now,
            "exp": now + int(ACCESS.total_seconds()),
            "jti": secrets.token_urlsafe(12),
        }

    def generate_user_info(self, user: Signed, scope: str) -> dict[str, object]:
        told: dict[str, object] = {"sub": user.account.id, "sid": user.family.id}
        if "profile" in scope.split():
            told |= {"preferred_username": user.account.name, "name": user.account.title}
        return told
