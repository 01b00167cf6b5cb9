"""Sign people in: password, then a second factor where the role asks for one; lock-out, enrolment, change.

Every attempt is counted before it is judged, and only a complete sign-in sets the count back, so neither many
attempts at once nor a known password lets anyone guess the second factor.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
import pyotp

from adapters.identity.passwords import Passwords
from adapters.identity.refusal import SignInRefused
from engine.access import needs_second_factor
from engine.identity import (
    Account,
    AccountStore,
    Happening,
    Seal,
    Session,
    SessionStore,
    Watch,
    one_time_place,
)
from engine.ports import Clock

__all__ = ["IDLE", "LONGEST", "SignIn", "Standing", "digest_of"]

IDLE: Final = dt.timedelta(minutes=30)
LONGEST: Final = dt.timedelta(hours=12)
_PASSWORD_AGE: Final = dt.timedelta(days=90)
_STEP: Final = 30
_DRIFT: Final = 1


class Store(AccountStore, SessionStore, Protocol):
    """What signing in wants kept."""


class Standing(msgspec.Struct, frozen=True):
    """A browser's session, whose it is, and what it still lacks."""

    session: Session
    account: Account
    lacks: str
    """Empty: signed in. Else ``factor``, ``enrolment`` or ``password``."""


def digest_of(secret: str) -> str:
    """Return what is kept of a random secret in the database."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SignIn:
    """The embedded provider's front door."""

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        seal: Seal,
        clock: Clock,
        watch: Watch,
        *,
        base_url: str,
        strict: bool,
    ) -> None:
        """``strict``: demo accounts are refused and the second factor is not to be waived."""
        self._store, self._passwords, self._seal = store, passwords, seal
        self._clock, self._watch, self._strict = clock, watch, strict
        self._origin = base_url.rstrip("/")
        self._host = urlsplit(self._origin).hostname or ""

    # Sessions

    def password(self, name: str, password: str) -> str:
        """Check a name and a password; returns the secret of a new session. Raises ``SignInRefused``."""
        at = self._clock()
        account = self._store.by_name(name[:200])
        failures = None if account is None else self._store.count_attempt(account.id, at)
        open_ = account is not None and failures is not None
        fits = self._passwords.fits(account.password_hash if open_ and account else "", password)
        if account is None or not fits or account.disabled or (account.demo and self._strict):
            subject = account.id if account else ""
            self._watch(Happening(kind="sign_in", result="refused" if open_ else "locked", subject=subject))
            raise SignInRefused("wrong")
        if self._passwords.outdated(account.password_hash):
            self._store.change(account.id, password_hash=self._passwords.hash(password))
        return self._begin(account, at)

    def _begin(self, account: Account, at: dt.datetime) -> str:
        secret = secrets.token_urlsafe(32)
        session = Session(
            id=digest_of(secret), account=account.id, started_at=at, seen_at=at, factors=("pwd",)
        )
        self._store.start_session(session)
        self._complete(self._standing(session, account))
        return secret

    def standing(self, secret: str | None) -> Standing | None:
        """Return how the browser with this cookie stands; ``None``: not signed in, too long idle, ended."""
        if not secret or len(secret) > 100:
            return None
        session = self._store.session(digest_of(secret))
        at = self._clock()
        if session is None or session.ended or at > min(session.seen_at + IDLE, session.started_at + LONGEST):
            return None
        account = self._store.by_id(session.account)
        if account is None or account.disabled or (account.demo and self._strict):
            return None
        if at - session.seen_at > dt.timedelta(minutes=1):
            self._store.change_session(session.id, seen_at=at)
        return self._standing(session, account)

    def _standing(self, session: Session, account: Account) -> Standing:
        enrolled = account.totp_secret is not None or bool(self._store.passkeys(account.id))
        strong = len(session.factors) > 1
        lacks = ""
        if enrolled and not strong:
            lacks = "factor"
        elif self.must_be_strong(account) and not strong:
            lacks = "enrolment"
        elif account.must_change_password or self._clock() - account.password_changed_at > _PASSWORD_AGE:
            lacks = "password"
        return Standing(session, account, lacks)

    def has_passkeys(self, standing: Standing) -> bool:
        """Tell whether the account has a security key."""
        return bool(self._store.passkeys(standing.account.id))

    def must_be_strong(self, account: Account) -> bool:
        """Tell whether this account needs a second factor here."""
        return self._strict and needs_second_factor(account.roles)

    def _complete(self, standing: Standing) -> None:
        if standing.lacks in {"factor", "enrolment"}:
            return
        self._store.change(standing.account.id, failures=0, locked_until=None)
        methods = "+".join(standing.session.factors)
        self._watch(Happening(kind="sign_in", result="done", subject=standing.account.id, detail=methods))

    def _strengthen(self, standing: Standing, factor: str) -> str:
        """Note the second factor and give the session a new secret, against fixation."""
        secret = secrets.token_urlsafe(32)
        at = self._clock()
        session = msgspec.structs.replace(
            standing.session,
            id=digest_of(secret),
            factors=(*standing.session.factors, factor),
            seen_at=at,
            challenge=None,
            enrolling=None,
        )
        self._store.change_session(standing.session.id, ended=True)
        self._store.start_session(session)
        account = self._store.by_id(standing.account.id) or standing.account
        self._complete(self._standing(session, account))
        return secret

    def sign_out(self, standing: Standing) -> None:
        """End the session; the caller ends the tokens that grew from it."""
        self._store.change_session(standing.session.id, ended=True)
        self._watch(Happening(kind="sign_out", result="done", subject=standing.account.id))

    def _count(self, standing: Standing, kind: str) -> None:
        if self._store.count_attempt(standing.account.id, self._clock()) is None:
            self._watch(Happening(kind=kind, result="locked", subject=standing.account.id))
            raise SignInRefused("locked")

    # One-time passwords

    def one_time(self, standing: Standing, code: str) -> str:
        """Check a TOTP code; returns the session's new secret."""
        self._count(standing, "second_factor")
        sealed = standing.account.totp_secret
        if sealed is None:
            raise SignInRefused("code")
        key = self._seal.open(sealed, one_time_place(standing.account.id)).decode()
        step = self._step(key, code)
        if step is None or not self._store.take_step(standing.account.id, step):
            self._watch(Happening(kind="second_factor", result="refused", subject=standing.account.id))
            raise SignInRefused("code")
        return self._strengthen(standing, "otp")

    def _step(self, key: str, code: str) -> int | None:
        code = code.replace(" ", "")
        if not (len(code) == 6 and code.isascii() and code.isdigit()):
            return None
        now = int(self._clock().timestamp()) // _STEP
        totp = pyotp.TOTP(key, interval=_STEP)
        for step in range(now - _DRIFT, now + _DRIFT + 1):
            if secrets.compare_digest(totp.generate_otp(step), code):
                return step
        return None

    def begin_one_time(self, standing: Standing) -> tuple[str, str]:
        """Return a new TOTP secret and its otpauth address; it counts once a code confirms it."""
        self._may_enrol(standing)
        key = pyotp.random_base32()
        sealed = self._seal.seal(key.encode(), one_time_place(standing.account.id))
        self._store.change_session(standing.session.id, enrolling=sealed)
        return key, pyotp.TOTP(key, interval=_STEP).provisioning_uri(
            name=standing.account.name, issuer_name="RuleWard"
        )

    def confirm_one_time(self, standing: Standing, code: str) -> str:
        """Keep the TOTP secret if the code is right; returns the session's new secret."""
        self._may_enrol(standing)
        self._count(standing, "second_factor")
        sealed = standing.session.enrolling
        if sealed is None:
            raise SignInRefused("again")
        place = one_time_place(standing.account.id)
        key = self._seal.open(sealed, place)
        step = self._step(key.decode(), code)
        if step is None:
            raise SignInRefused("code")
        # Sealed anew: the data key may have changed since the page was shown.
        self._store.change(standing.account.id, totp_secret=self._seal.seal(key, place), totp_step=step)
        self._watch(
            Happening(kind="second_factor", result="enrolled", subject=standing.account.id, detail="otp")
        )
        return self._strengthen(standing, "otp")

    def _may_enrol(self, standing: Standing) -> None:
        """A password alone adds no factor to an account that has one."""
        if standing.lacks == "factor":
            raise SignInRefused("factor")

    # WebAuthn

    def passkey_options(self, standing: Standing, *, enrol: bool) -> str:
        """Return the JSON for ``navigator.credentials`` and keep its challenge."""
        from adapters.identity import passkeys

        known = self._store.passkeys(standing.account.id)
        if enrol:
            self._may_enrol(standing)
            told, challenge = passkeys.creation(standing.account, known, self._host)
        elif known:
            told, challenge = passkeys.request(known, self._host)
        else:
            raise SignInRefused("passkey")
        self._store.change_session(standing.session.id, challenge=challenge)
        return told

    def add_passkey(self, standing: Standing, credential: bytes) -> str:
        """Keep a new WebAuthn credential; returns the session's new secret."""
        from adapters.identity import passkeys

        self._may_enrol(standing)
        account = standing.account.id
        made = passkeys.made(
            credential, self._challenge(standing), self._origin, self._host, account, self._clock()
        )
        self._store.add_passkey(made)
        self._watch(Happening(kind="second_factor", result="enrolled", subject=account, detail="hwk"))
        return self._strengthen(standing, "hwk")

    def passkey(self, standing: Standing, credential: bytes) -> str:
        """Check a WebAuthn assertion; returns the session's new secret."""
        from adapters.identity import passkeys

        self._count(standing, "second_factor")
        known = self._store.passkeys(standing.account.id)
        try:
            passkey, count = passkeys.used(
                credential, self._challenge(standing), self._origin, self._host, known
            )
        except SignInRefused:
            self._watch(Happening(kind="second_factor", result="refused", subject=standing.account.id))
            raise
        self._store.use_passkey(passkey, count)
        return self._strengthen(standing, "hwk")

    def _challenge(self, standing: Standing) -> bytes:
        """Return the challenge of the options that were asked for; it answers once."""
        challenge = self._store.take_challenge(standing.session.id)
        if challenge is None:
            raise SignInRefused("again")
        return challenge

    # Passwords

    def change_password(self, standing: Standing, old: str, new: str) -> tuple[str, ...]:
        """Change one's own password; returns what is wrong with the new one. Other sessions end."""
        account = standing.account
        if standing.lacks in {"factor", "enrolment"}:
            raise SignInRefused("factor")
        self._count(standing, "password")
        if not self._passwords.fits(account.password_hash, old):
            raise SignInRefused("old_password")
        kept = (*account.earlier_passwords, account.password_hash)
        faults = self._passwords.faults(new, account.name, kept)
        if faults:
            return faults
        self._store.change(
            account.id,
            password_hash=self._passwords.hash(new),
            password_changed_at=self._clock(),
            must_change_password=False,
            earlier_passwords=kept[-3:],
            failures=0,
            locked_until=None,
        )
        self._store.end_sessions_of(account.id)
        self._store.change_session(standing.session.id, ended=False)
        self._watch(Happening(kind="password", result="changed", subject=account.id))
        return ()
