"""Serve the sign-in pages and the endpoints of the embedded OpenID provider.

Pages hold no inline script or style. Each form carries a word that must equal a strict cookie; the session's
cookie is HttpOnly, and under https bound to this host alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import jinja2
import msgspec
from fastapi import APIRouter, Depends, Request, Response
from markupsafe import Markup

from adapters.identity.embedded import PATHS, Provider, Reply
from adapters.identity.refusal import SignInRefused
from adapters.identity.sign_in import SignIn, Standing
from api.access import PUBLIC, caller_of, requires
from api.sign_in_text import TEXTS
from engine.access import Resource, Verb

__all__ = ["router"]

_PAGES: Final = Path(__file__).with_name("pages")
_LARGEST: Final = 64 * 1024
_START: Final = {
    "factor": "/sign-in/code",
    "enrolment": "/account/second-factor",
    "password": "/account/password",
}
_SHARED: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_STATIC: Final = {**_SHARED, "Cache-Control": "public, max-age=3600"}
_NO_FORM: Final = "form"

Pairs = list[tuple[str, str]]


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            return b""
    return bytes(body)


async def _form(request: Request) -> Pairs:
    """Return the fields of a form; none when it is none, too large or unreadable."""
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/x-www-form-urlencoded"
    ):
        return []
    try:
        return parse_qsl((await _body(request)).decode(), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return []


Form = Annotated[Pairs, Depends(_form)]
Body = Annotated[bytes, Depends(_body)]


class _Pages:
    """Render pages and keep cookies."""

    def __init__(self, sign_in: SignIn, provider: Provider) -> None:
        self._sign_in, self._provider = sign_in, provider
        secure = provider.issuer.startswith("https://")
        self._prefix, self._secure = ("__Host-" if secure else "", secure)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_PAGES), autoescape=True, undefined=jinja2.StrictUndefined
        )

    def standing(self, request: Request) -> Standing | None:
        return self._sign_in.standing(request.cookies.get(f"{self._prefix}rw-session"))

    def _policy(self) -> str:
        # A browser holds a form's redirects to form-action as well: name where our clients live.
        places = {
            "{0.scheme}://{0.netloc}".format(urlsplit(uri))
            for client in self._provider.store.clients()
            for uri in (*client.redirect_uris, *client.logout_uris)
        }
        return (
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
            f"frame-ancestors 'none'; form-action 'self' {' '.join(sorted(places))}".rstrip()
        )

    def page(
        self, request: Request, name: str, *problems: str, status: int = 200, **more: object
    ) -> Response:
        language = "en" if request.headers.get("accept-language", "").lower().startswith("en") else "zh"
        word = request.cookies.get(f"{self._prefix}rw-form") or ""
        if not 20 <= len(word) <= 100:
            word = secrets.token_urlsafe(24)
        more.setdefault("next", "")
        html = self._templates.get_template(f"{name}.html").render(
            t=TEXTS[language], language=language, page=name, problems=problems, form=word, **more
        )
        headers = {
            **_SHARED,
            "Content-Security-Policy": self._policy(),
            "X-Frame-Options": "DENY",
            "Vary": "Accept-Language",
        }
        answer = Response(html, status, headers, "text/html; charset=utf-8")
        answer.set_cookie(
            f"{self._prefix}rw-form", word, path="/", secure=self._secure, httponly=True, samesite="strict"
        )
        return answer

    def genuine(self, request: Request, word: str) -> bool:
        """Tell whether a form came from a page of ours."""
        kept = request.cookies.get(f"{self._prefix}rw-form") or ""
        return bool(kept) and secrets.compare_digest(kept.encode(), word.encode())

    def go(self, address: str, secret: str | None = None) -> Response:
        answer = Response(status_code=303, headers={**_SHARED, "Location": address})
        return answer if secret is None else self.keep(answer, secret)

    def keep(self, answer: Response, secret: str) -> Response:
        # Lax: an application's page leads to the authorization endpoint by a link from elsewhere.
        answer.set_cookie(
            f"{self._prefix}rw-session", secret, path="/", secure=self._secure, httponly=True, samesite="lax"
        )
        return answer

    def clear(self, answer: Response) -> Response:
        answer.delete_cookie(f"{self._prefix}rw-session", path="/", secure=self._secure, httponly=True)
        return answer

    def onward(self, standing: Standing | None, wanted: str) -> str:
        """Return where to go next: to what the session lacks, else to where the person came from."""
        wanted = wanted if wanted.startswith(f"{PATHS['authorization_endpoint']}?") else "/account"
        if standing is None or not standing.lacks:
            return wanted
        return f"{_START[standing.lacks]}?{urlencode({'next': wanted})}"


def _told(pairs: Pairs) -> dict[str, str]:
    return dict(pairs)


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, {**_SHARED, **(headers or {})}, "application/json")


def router(sign_in: SignIn, provider: Provider, revoked: Callable[[], None]) -> APIRouter:
    """Return the pages and the endpoints; ``revoked`` is called when tokens were ended here."""
    routes = APIRouter(tags=["sign-in"])
    pages = _Pages(sign_in, provider)
    _sign_in_pages(routes, pages, sign_in)
    _account_pages(routes, pages, sign_in, provider, revoked)
    _endpoints(routes, pages, provider, sign_in, revoked)
    return routes


_PAGE: Final[dict[str, Any]] = {
    "response_class": Response,
    "openapi_extra": PUBLIC,
    "responses": {
        200: {"description": "The page"},
        303: {"description": "Go on there"},
        401: {"description": "Not accepted"},
        403: {"description": "The form is not of a page of ours"},
        422: {"description": "The page, with what is wrong"},
    },
}
_ENDPOINT: Final[dict[int | str, dict[str, Any]]] = {
    302: {"description": "Back to the application"},
    303: {"description": "Go on there"},
    400: {"description": "The request is faulty"},
    401: {"description": "The client is not known"},
}


def _sign_in_pages(routes: APIRouter, pages: _Pages, sign_in: SignIn) -> None:
    @routes.get("/sign-in", summary="The page to sign in", **_PAGE)
    def show(request: Request, next: str = "") -> Response:
        standing = pages.standing(request)
        if standing is not None:
            return pages.go(pages.onward(standing, next))
        return pages.page(request, "sign_in", next=next)

    @routes.post("/sign-in", summary="Name and password", **_PAGE)
    def enter(request: Request, form: Form) -> Response:
        told = _told(form)
        wanted = told.get("next", "")
        if not pages.genuine(request, told.get("form", "")):
            return pages.page(request, "sign_in", _NO_FORM, status=403, next=wanted)
        try:
            secret = sign_in.password(told.get("name", ""), told.get("password", ""))
        except SignInRefused as refused:
            return pages.page(request, "sign_in", refused.code, status=401, next=wanted)
        return pages.go(pages.onward(sign_in.standing(secret), wanted), secret)

    def code_page(
        request: Request, standing: Standing, wanted: str, *problems: str, status: int = 200
    ) -> Response:
        return pages.page(
            request,
            "code",
            *problems,
            status=status,
            next=wanted,
            one_time=standing.account.totp_secret is not None,
            passkeys=sign_in.has_passkeys(standing),
        )

    @routes.get("/sign-in/code", summary="The page for the second factor", **_PAGE)
    def show_code(request: Request, next: str = "") -> Response:
        standing = pages.standing(request)
        if standing is None or standing.lacks != "factor":
            return pages.go(pages.onward(standing, next) if standing else "/sign-in")
        return code_page(request, standing, next)

    @routes.post("/sign-in/code", summary="A one-time code", **_PAGE)
    def enter_code(request: Request, form: Form) -> Response:
        told, standing = _told(form), pages.standing(request)
        wanted = told.get("next", "")
        if standing is None or standing.lacks != "factor":
            return pages.go("/sign-in")
        if not pages.genuine(request, told.get("form", "")):
            return code_page(request, standing, wanted, _NO_FORM, status=403)
        try:
            secret = sign_in.one_time(standing, told.get("code", ""))
        except SignInRefused as refused:
            return code_page(request, standing, wanted, refused.code, status=401)
        return pages.go(pages.onward(sign_in.standing(secret), wanted), secret)

    def by_passkey(request: Request, body: bytes, answer: Callable[[Standing, bytes], str]) -> Response:
        standing = pages.standing(request)
        if standing is None or not pages.genuine(request, request.headers.get("x-form", "")):
            return _json({"title": "Sign in first"}, 403)
        try:
            told = msgspec.json.decode(body, type=dict[str, Any])
            secret = answer(standing, msgspec.json.encode(told.get("credential")))
        except (SignInRefused, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _json({"title": "Not accepted"}, 401)
        wanted = told.get("next")
        onward = pages.onward(sign_in.standing(secret), wanted if isinstance(wanted, str) else "")
        return pages.keep(_json({"next": onward}), secret)

    def options(request: Request, enrol: bool) -> Response:
        standing = pages.standing(request)
        if standing is None or not pages.genuine(request, request.headers.get("x-form", "")):
            return _json({"title": "Sign in first"}, 403)
        try:
            told = sign_in.passkey_options(standing, enrol=enrol)
        except SignInRefused:
            return _json({"title": "Not accepted"}, 401)
        return Response(told, headers=_SHARED, media_type="application/json")

    @routes.post("/sign-in/passkey/options", summary="What to ask a security key", **_PAGE)
    def ask_passkey(request: Request) -> Response:
        return options(request, False)

    @routes.post("/sign-in/passkey", summary="A security key's answer", **_PAGE)
    def enter_passkey(request: Request, body: Body) -> Response:
        return by_passkey(request, body, sign_in.passkey)

    @routes.post("/account/passkey/options", summary="What a new security key shall make", **_PAGE)
    def ask_new_passkey(request: Request) -> Response:
        return options(request, True)

    @routes.post("/account/passkey", summary="Enrol a security key", **_PAGE)
    def enrol_passkey(request: Request, body: Body) -> Response:
        return by_passkey(request, body, sign_in.add_passkey)

    @routes.get("/sign-in/passkey.js", summary="The script of the security key", **_PAGE)
    def script() -> Response:
        return Response((_PAGES / "passkey.js").read_bytes(), headers=_STATIC, media_type="text/javascript")

    @routes.get("/sign-in/style.css", summary="The style of the pages", **_PAGE)
    def style() -> Response:
        return Response((_PAGES / "style.css").read_bytes(), headers=_STATIC, media_type="text/css")


def _account_pages(
    routes: APIRouter, pages: _Pages, sign_in: SignIn, provider: Provider, revoked: Callable[[], None]
) -> None:
    @routes.get("/account", summary="One's own account", **_PAGE)
    def show(request: Request) -> Response:
        standing = pages.standing(request)
        if standing is None or standing.lacks:
            return pages.go(pages.onward(standing, "") if standing else "/sign-in")
        return pages.page(request, "account", account=standing.account)

    def enrol_page(
        request: Request, standing: Standing, wanted: str, *problems: str, status: int = 200
    ) -> Response:
        import segno

        key, address = sign_in.begin_one_time(standing)
        picture = BytesIO()
        segno.make(address, micro=False).save(picture, kind="svg", xmldecl=False, svgns=True, scale=4)
        return pages.page(
            request,
            "enrol",
            *problems,
            status=status,
            next=wanted,
            key=key,
            picture=Markup(picture.getvalue().decode()),
        )

    @routes.get("/account/second-factor", summary="The page to enrol a second factor", **_PAGE)
    def show_enrol(request: Request, next: str = "") -> Response:
        standing = pages.standing(request)
        if standing is None or standing.lacks == "factor":
            return pages.go(pages.onward(standing, next) if standing else "/sign-in")
        return enrol_page(request, standing, next)

    @routes.post("/account/one-time", summary="Enrol one-time codes", **_PAGE)
    def enrol(request: Request, form: Form) -> Response:
        told, standing = _told(form), pages.standing(request)
        wanted = told.get("next", "")
        if standing is None or standing.lacks == "factor":
            return pages.go("/sign-in")
        if not pages.genuine(request, told.get("form", "")):
            return enrol_page(request, standing, wanted, _NO_FORM, status=403)
        try:
            secret = sign_in.confirm_one_time(standing, told.get("code", ""))
        except SignInRefused as refused:
            return enrol_page(request, standing, wanted, refused.code, status=401)
        return pages.go(pages.onward(sign_in.standing(secret), wanted), secret)

    @routes.get("/account/password", summary="The page to change the password", **_PAGE)
    def show_password(request: Request, next: str = "") -> Response:
        standing = pages.standing(request)
        if standing is None or standing.lacks in {"factor", "enrolment"}:
            return pages.go(pages.onward(standing, next) if standing else "/sign-in")
        return pages.page(request, "password", next=next)

    @routes.post("/account/password", summary="Change the password", **_PAGE)
    def change(request: Request, form: Form) -> Response:
        told, standing = _told(form), pages.standing(request)
        wanted = told.get("next", "")
        if standing is None or standing.lacks in {"factor", "enrolment"}:
            return pages.go("/sign-in")
        if not pages.genuine(request, told.get("form", "")):
            return pages.page(request, "password", _NO_FORM, status=403, next=wanted)
        new = told.get("new", "")
        faults: tuple[str, ...] = ("password_differs",)
        try:
            if new == told.get("again"):
                faults = sign_in.change_password(standing, told.get("old", ""), new)
        except SignInRefused as refused:
            faults = (refused.code,)
        if faults:
            return pages.page(request, "password", *faults, status=422, next=wanted)
        provider.store.revoke_families_of(provider.now(), account=standing.account.id)
        revoked()
        return pages.go(pages.onward(pages.standing(request), wanted))

    @routes.get("/sign-out", summary="The page to sign out", **_PAGE)
    def show_out(request: Request) -> Response:
        return pages.page(request, "sign_out", done=pages.standing(request) is None)

    @routes.post("/sign-out", summary="Sign out here and in every application", **_PAGE)
    def leave(request: Request, form: Form) -> Response:
        if not pages.genuine(request, _told(form).get("form", "")):
            return pages.page(request, "sign_out", _NO_FORM, status=403, done=False)
        standing = pages.standing(request)
        if standing is not None:
            _end(standing, sign_in, provider, revoked)
        return pages.clear(pages.page(request, "sign_out", done=True))


def _end(standing: Standing, sign_in: SignIn, provider: Provider, revoked: Callable[[], None]) -> None:
    sign_in.sign_out(standing)
    provider.store.revoke_families_of(provider.now(), session=standing.session.id)
    revoked()


def _endpoints(
    routes: APIRouter, pages: _Pages, provider: Provider, sign_in: SignIn, revoked: Callable[[], None]
) -> None:
    public: dict[str, Any] = {"openapi_extra": PUBLIC, "response_class": Response, "responses": _ENDPOINT}

    @routes.get("/.well-known/openid-configuration", summary="What the provider can do", **public)
    def describe() -> Response:
        return _json(provider.metadata(), headers={"Cache-Control": "public, max-age=300"})

    @routes.get(PATHS["jwks_uri"], summary="The public keys of tokens", **public)
    def keys() -> Response:
        return _json(provider.keys.shown(), headers={"Cache-Control": "public, max-age=300"})

    @routes.get(PATHS["authorization_endpoint"], summary="Let a person into an application", **public)
    def authorize(request: Request) -> Response:
        query = request.url.query
        pairs = parse_qsl(query[:_LARGEST], keep_blank_values=True)
        standing = pages.standing(request)
        reply = provider.authorize(pairs, standing)
        if reply is None:
            wanted = f"{PATHS['authorization_endpoint']}?{query}"
            address = (
                pages.onward(standing, wanted) if standing else f"/sign-in?{urlencode({'next': wanted})}"
            )
            return pages.go(address)
        if reply.location:
            return Response(status_code=302, headers={**_SHARED, "Location": reply.location})
        return pages.page(request, "problem", status=400, word="request")

    @routes.post(PATHS["token_endpoint"], summary="A code, a refresh token or a secret for tokens", **public)
    def token(request: Request, form: Form) -> Response:
        return _reply(provider.token(form, request.headers.get("authorization", "")))

    @routes.post(PATHS["revocation_endpoint"], summary="End tokens", **public)
    def revoke(request: Request, form: Form) -> Response:
        reply = provider.revoke(form, request.headers.get("authorization", ""))
        revoked()
        return _reply(reply)

    @routes.get(
        PATHS["userinfo_endpoint"],
        summary="Who the token's owner is",
        dependencies=[requires(Verb.USE, Resource.SELF)],
        responses={404: {"description": "No such account"}},
        response_class=Response,
    )
    def userinfo(request: Request) -> Response:
        told = provider.userinfo(caller_of(request).subject)
        return _json(told) if told else _json({"title": "No such account"}, 404)

    @routes.get(PATHS["end_session_endpoint"], summary="Sign out, asked by an application", **public)
    def logout(request: Request) -> Response:
        pairs = parse_qsl(request.url.query[:_LARGEST], keep_blank_values=True)
        client, address = provider.logout_address(pairs)
        standing = pages.standing(request)
        if not client:  # nobody vouches for this wish: the person is asked
            return pages.page(request, "sign_out", done=standing is None)
        if standing is not None:
            _end(standing, sign_in, provider, revoked)
        state = _told(pairs).get("state", "")
        if not address:
            return pages.clear(pages.page(request, "sign_out", done=True))
        joined = "&" if "?" in address else "?"
        return pages.clear(pages.go(address + (f"{joined}{urlencode({'state': state})}" if state else "")))


def _reply(reply: Reply) -> Response:
    headers = {"Pragma": "no-cache"}
    if reply.status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="ruleward"'
    return _json(reply.body, reply.status, headers)
