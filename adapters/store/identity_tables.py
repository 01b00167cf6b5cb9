"""Name the tables of identity and their columns, once for both databases."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from adapters.store.tables import METADATA, Moment

__all__ = [
    "account",
    "account_role",
    "authorization_code",
    "glass",
    "oauth_client",
    "passkey",
    "refresh_token",
    "revoked_token",
    "seen_token",
    "sign_in_session",
    "signing_key",
    "token_family",
]

_ADMINISTRATORS: Final = "role IN ('system_administrator', 'security_administrator', 'auditor')"

account: Final = Table(
    "account",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("staff_number", Text, nullable=False),
    Column("kind", Text, nullable=False, comment="person or administrator"),
    Column("site", Text, nullable=False),
    Column("departments", Text, nullable=False, comment="JSON list"),
    Column("password_hash", Text, nullable=False),
    Column("password_changed_at", Moment, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("earlier_passwords", Text, nullable=False, comment="JSON list of hashes"),
    Column("failures", Integer, nullable=False),
    Column("locked_until", Moment),
    Column("disabled", Boolean, nullable=False),
    Column("demo", Boolean, nullable=False),
    Column("totp_secret", LargeBinary, comment="sealed"),
    Column("totp_step", BigInteger, nullable=False),
    UniqueConstraint("name"),
    UniqueConstraint("staff_number"),
    UniqueConstraint("id", "kind"),
)

account_role: Final = Table(
    "account_role",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    # An account is of one kind, and so are all of its roles: no administrator takes part in care.
    ForeignKeyConstraint(["account", "kind"], ["account.id", "account.kind"]),
    CheckConstraint(f"(kind = 'administrator') = ({_ADMINISTRATORS})", name="ck_account_role_kind"),
    # The three administrators cannot be one account, whatever program writes here.
    Index(
        "uq_account_role_administrator",
        "account",
        unique=True,
        sqlite_where=text(_ADMINISTRATORS),
        postgresql_where=text(_ADMINISTRATORS),
    ),
)

passkey: Final = Table(
    "passkey",
    METADATA,
    Column("id", LargeBinary, primary_key=True),
    Column("account", Text, ForeignKey("account.id"), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
)

oauth_client: Final = Table(
    "oauth_client",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("secret_hash", Text, nullable=False),
    Column("redirect_uris", Text, nullable=False, comment="JSON list"),
    Column("logout_uris", Text, nullable=False, comment="JSON list"),
    Column("scopes", Text, nullable=False, comment="JSON list"),
    Column("site", Text, nullable=False),
    Column("departments", Text, nullable=False, comment="JSON list"),
    Column("disabled", Boolean, nullable=False),
    CheckConstraint("kind IN ('public', 'confidential', 'service')", name="ck_oauth_client_kind"),
)

sign_in_session: Final = Table(
    "sign_in_session",
    METADATA,
    Column("id", Text, primary_key=True, comment="digest of the cookie"),
    Column("account", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("factors", Text, nullable=False, comment="JSON list"),
    Column("challenge", LargeBinary),
    Column("enrolling", LargeBinary, comment="sealed"),
    Column("ended", Boolean, nullable=False),
    Index(None, "account"),
)

token_family: Final = Table(
    "token_family",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("factors", Text, nullable=False, comment="JSON list"),
    Column("signed_in_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Index(None, "account"),
    Index(None, "session"),
    Index(None, "revoked_at"),
)

authorization_code: Final = Table(
    "authorization_code",
    METADATA,
    Column("id", Text, primary_key=True, comment="digest"),
    Column("family", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("challenge", Text, nullable=False),
    Column("signed_in_at", Moment, nullable=False),
    Column("factors", Text, nullable=False, comment="JSON list"),
    Column("expires_at", Moment, nullable=False),
    Column("used", Boolean, nullable=False),
)

refresh_token: Final = Table(
    "refresh_token",
    METADATA,
    Column("id", Text, primary_key=True, comment="digest"),
    Column("family", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used", Boolean, nullable=False),
)

revoked_token: Final = Table(
    "revoked_token",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("until", Moment, nullable=False),
)

seen_token: Final = Table(
    "seen_token",
    METADATA,
    Column("id", Text, primary_key=True, comment="digest of issuer and jti"),
    Column("until", Moment, nullable=False),
    Index(None, "until"),
)

signing_key: Final = Table(
    "signing_key",
    METADATA,
    Column("kid", Text, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("private", LargeBinary, nullable=False, comment="sealed"),
    Column("public", Text, nullable=False, comment="JWK"),
    Column("signs_from", Moment, nullable=False),
    Column("signs_until", Moment, nullable=False),
    Column("shown_until", Moment, nullable=False),
)

glass: Final = Table(
    "glass",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("site", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("began_at", Moment, nullable=False),
    Column("until", Moment, nullable=False),
    Column("reviewed_by", Text, nullable=False),
    Column("reviewed_at", Moment),
    Column("verdict", Text, nullable=False),
    # Nobody reviews what they did themselves.
    CheckConstraint("reviewed_by <> account", name="ck_glass_reviewed_by"),
    Index(None, "account", "until"),
)
