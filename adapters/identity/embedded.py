"""Be the OpenID provider of a site that has none: OAuth 2.0 and OpenID Connect by Authlib and joserfc."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Any, Final, Protocol

import msgspec
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidRequestError, OAuth2Error
from authlib.oauth2.rfc9207 import IssuerParameter
from joserfc import jwk

from adapters.identity import grants, jws
from adapters.identity.key_ring import ALGORITHM, KeyRing
from adapters.identity.passwords import Passwords
from adapters.identity.refusal import TokenRefused
from adapters.identity.sign_in import LONGEST, Standing, digest_of
from adapters.identity.tokens import Issuer
from engine.access import Role
from engine.identity import (
    Account,
    AccountStore,
    Client,
    ClientStore,
    Family,
    Happening,
    Refresh,
    SessionStore,
    TokenStore,
    Watch,
)
from engine.ports import Clock

__all__ = ["PATHS", "Provider", "Reply", "new_secret"]

PATHS: Final = {
    "authorization_endpoint": "/oauth/authorize",
    "token_endpoint": "/oauth/token",
    "revocation_endpoint": "/oauth/revoke",
    "userinfo_endpoint": "/oauth/userinfo",
    "jwks_uri": "/oauth/jwks.json",
    "end_session_endpoint": "/oauth/logout",
}


class Store(AccountStore, ClientStore, SessionStore, TokenStore, Protocol):
    """What the provider wants kept."""


class Reply(msgspec.Struct):
    """An answer before it is HTTP."""

    status: int
    body: dict[str, object]
    location: str = ""


class _Issuing(IssuerParameter):  # type: ignore[misc]
    """RFC 9207: say who issued a code."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


class _Server(AuthorizationServer):  # type: ignore[misc]
    """Authlib's server over our provider."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider
        self.register_grant(grants.CodeGrant, [grants.Pkce(required=True), grants.IdToken(provider)])
        self.register_grant(grants.RefreshGrant)
        self.register_grant(grants.ServiceGrant)
        self.register_endpoint(grants.Revocation(self))
        self.register_token_generator("default", provider.issue)
        issuing = _Issuing(provider.issuer)
        self.register_hook("after_create_authorization_response", issuing.add_issuer_parameter)

    def query_client(self, client_id: str) -> grants.KnownClient | None:
        client = self.provider.store.client(client_id[:200])
        return None if client is None or client.disabled else grants.KnownClient(client, self.provider)

    def get_authorization_grant(self, request: grants.Request) -> Any:
        """Return the grant; refuse a response type that an error may not repeat (RFC 6749, 4.1.2.1) too."""
        try:
            return super().get_authorization_grant(request)
        except ValueError:
            raise InvalidRequestError("The response type cannot be read.") from None

    def save_token(self, token: dict[str, object], request: Any) -> None:
        """Do nothing: refresh tokens are kept when made, access tokens are not kept."""

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Do nothing: happenings are noted where they happen."""

    def create_oauth2_request(self, request: grants.Request) -> grants.Request:
        return request

    def handle_response(self, status: int, body: object, headers: Any) -> Reply:
        location = dict(headers or ()).get("Location", "")
        return Reply(status, body if isinstance(body, dict) else {}, location)


class Provider:
    """The embedded provider; every method blocks on the database and runs in a thread."""

    def __init__(
        self, store: Store, keys: KeyRing, passwords: Passwords, clock: Clock, watch: Watch, *, base_url: str
    ) -> None:
        self.store, self.keys = store, keys
        self.issuer = base_url.rstrip("/")
        self.longest = LONGEST
        self._passwords, self._clock, self._watch = passwords, clock, watch
        self._server = _Server(self)

    # What the grants ask

    def now(self) -> dt.datetime:
        """Return the time."""
        return self._clock()

    def note(self, happening: Happening) -> None:
        """Take note of what happened."""
        self._watch(happening)

    def secret_fits(self, client: Client, secret: str) -> bool:
        """Compare a client's secret: 256 random bits, so that a plain digest will do and costs nothing."""
        fits = secrets.compare_digest(client.secret_hash, digest_of(secret)) and bool(client.secret_hash)
        if not fits:
            self.note(Happening(kind="client", result="refused", subject=client.id))
        return fits

    def active(self, account_id: str) -> Account | None:
        """Return the account unless it may not sign in."""
        account = self.store.by_id(account_id)
        return None if account is None or account.disabled else account

    def signing(self) -> tuple[str, jwk.Key]:
        """Return the key that signs."""
        return self.keys.current()

    def issue(
        self,
        grant_type: str,
        client: grants.KnownClient,
        user: grants.Signed | None = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> dict[str, object]:
        """Return the token response: a JWT of five minutes, and a refresh token for a person."""
        now = self._clock()
        scope = client.get_allowed_scope(
            scope
        )  # Authlib's client credentials would take any that is asked for
        told: dict[str, object] = {
            "iss": self.issuer,
            "aud": self.issuer,
            "client_id": client.client.id,
            "iat": int(now.timestamp()),
            "exp": int((now + grants.ACCESS).timestamp()),
            "jti": secrets.token_urlsafe(16),
            "scope": scope,
        }
        answer: dict[str, object] = {
            "token_type": "Bearer",
            "expires_in": int(grants.ACCESS.total_seconds()),
            "scope": scope,
        }
        if user is None:
            one = client.client
            told |= {
                "sub": one.id,
                "roles": [str(Role.SERVICE)],
                "site": one.site,
                "departments": list(one.departments),
            }
        else:
            account = user.account
            told |= {
                "sub": account.id,
                "sid": user.family.id,
                "roles": [str(role) for role in account.roles],
                "site": account.site,
                "departments": list(account.departments),
                "amr": list(user.family.factors),
                "auth_time": int(user.family.signed_in_at.timestamp()),
            }
            if include_refresh_token:
                answer["refresh_token"] = self._refresh(user.family, scope, now)
        answer["access_token"] = self.keys.sign(told, "at+jwt")
        return answer

    def _refresh(self, family: Family, scope: str, now: dt.datetime) -> str:
        secret = secrets.token_urlsafe(32)
        self.store.add_refresh(
            Refresh(
                id=digest_of(secret),
                family=family.id,
                client=family.client,
                scope=scope,
                expires_at=min(now + grants.REFRESH, family.expires_at),
            )
        )
        return secret

    def find_token(self, token: str) -> tuple[str, str] | None:
        """Return (client, jti) of an access token of ours; ``None`` for anything else."""
        claims = self._ours(token)
        client, jti = (claims.get("client_id"), claims.get("jti")) if claims else (None, None)
        return (client, jti) if isinstance(client, str) and isinstance(jti, str) else None

    def _ours(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a token that we signed, alive or not."""
        try:
            parsed = jws.parse(token)
            shown = {key["kid"]: key for key in self.keys.shown()["keys"]}  # type: ignore[attr-defined]
            if parsed.algorithm != ALGORITHM or parsed.kid not in shown:
                return None
            return jws.verify(parsed, jwk.import_key(shown[parsed.kid]))
        except TokenRefused:
            return None

    # What the pages and endpoints ask

    def authorize(self, pairs: list[tuple[str, str]], standing: Standing | None) -> Reply | None:
        """Answer an authorization request; ``None``: the person has to sign in first."""
        request = grants.Request("GET", pairs)
        told = request.payload.data
        try:
            grant = self._server.get_consent_grant(request)
        except OAuth2Error as error:
            reply: Reply = self._server.handle_error_response(request, error)
            return reply
        silent = "none" in told.get("prompt", "").split()
        if standing is None or standing.lacks:
            return self._error(request, grant, "login_required") if silent else None
        account, session = standing.account, standing.session
        family = Family(
            id=secrets.token_urlsafe(16),
            client=grant.client.client.id,
            account=account.id,
            session=session.id,
            factors=session.factors,
            signed_in_at=session.started_at,
            expires_at=session.started_at + self.longest,
        )
        answer: Reply = self._server.create_authorization_response(
            request, grants.Signed(account, family), grant=grant
        )
        return answer

    def _error(self, request: grants.Request, grant: Any, word: str) -> Reply:
        error = OAuth2Error(redirect_uri=grant.redirect_uri, state=request.payload.state)
        error.error = word
        reply: Reply = self._server.handle_error_response(request, error)
        return reply

    def token(self, pairs: list[tuple[str, str]], authorization: str) -> Reply:
        """Answer the token endpoint."""
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):  # RFC 6749, section 3.2
            return Reply(400, {"error": "invalid_request", "error_description": "A parameter stands twice."})
        answer: Reply = self._server.create_token_response(grants.Request("POST", pairs, authorization))
        return answer

    def revoke(self, pairs: list[tuple[str, str]], authorization: str) -> Reply:
        """Answer the revocation endpoint."""
        request = grants.Request("POST", pairs, authorization)
        answer: Reply = self._server.create_endpoint_response("revocation", request)
        return answer

    def userinfo(self, subject: str) -> dict[str, object] | None:
        """Return what the token's owner may know about himself."""
        account = self.active(subject)
        if account is None:
            return None
        return {
            "sub": account.id,
            "preferred_username": account.name,
            "name": account.title,
            "roles": [str(role) for role in account.roles],
            "site": account.site,
            "departments": list(account.departments),
        }

    def logout_address(self, pairs: list[tuple[str, str]]) -> tuple[str, str]:
        """Return (client, where to go after sign-out); both empty unless our ID token vouches for it."""
        told = dict(pairs)
        claims = self._ours(told.get("id_token_hint", ""))
        wanted = told.get("post_logout_redirect_uri", "")
        client = self.store.client(str(claims.get("aud"))) if claims else None
        if client is None:
            return "", ""
        return client.id, wanted if wanted in client.logout_uris else ""

    def metadata(self) -> dict[str, object]:
        """Return the provider's description (OpenID Connect Discovery 1.0, RFC 8414)."""
        return {
            "issuer": self.issuer,
            **{name: self.issuer + path for name, path in PATHS.items()},
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "scopes_supported": ["openid", "profile", "offline_access"],
            "claims_supported": ["sub", "name", "preferred_username", "auth_time", "amr", "sid"],
            "authorization_response_iss_parameter_supported": True,
            "prompt_values_supported": ["none", "login"],
        }

    def as_issuer(self) -> Issuer:
        """Return ourselves as an issuer whose access tokens the service accepts."""
        return Issuer(
            name=self.issuer,
            audience=self.issuer,
            keys=self.keys,
            algorithms=frozenset({ALGORITHM}),
            kinds=frozenset({"at+jwt"}),
            lives=grants.ACCESS.total_seconds(),
            roles={str(role): role for role in Role},
            services=True,
        )


def new_secret() -> tuple[str, str]:
    """Return a client's new secret, shown once, and what is kept of it."""
    secret = secrets.token_urlsafe(32)
    return secret, digest_of(secret)
