"""Make the tables of identity: accounts, roles, clients, sessions, tokens, keys, emergency access."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)
_ADMINISTRATORS = "role IN ('system_administrator', 'security_administrator', 'auditor')"


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "account",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("staff_number", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, comment="person or administrator"),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("departments", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("password_changed_at", _MOMENT, nullable=False),
        sa.Column("must_change_password", sa.Boolean, nullable=False),
        sa.Column("earlier_passwords", sa.Text, nullable=False, comment="JSON list of hashes"),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", _MOMENT),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("totp_secret", sa.LargeBinary, comment="sealed"),
        sa.Column("totp_step", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("name", name="uq_account_name"),
        sa.UniqueConstraint("staff_number", name="uq_account_staff_number"),
        sa.UniqueConstraint("id", "kind", name="uq_account_id_kind"),
    )
    op.create_table(
        "account_role",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        # An account is of one kind, and so are all of its roles: no administrator takes part in care.
        sa.ForeignKeyConstraint(
            ["account", "kind"], ["account.id", "account.kind"], name="fk_account_role_account_kind"
        ),
        sa.CheckConstraint(f"(kind = 'administrator') = ({_ADMINISTRATORS})", name="ck_account_role_kind"),
    )
    # The three administrators cannot be one account, whatever program writes here.
    op.create_index(
        "uq_account_role_administrator",
        "account_role",
        ["account"],
        unique=True,
        sqlite_where=sa.text(_ADMINISTRATORS),
        postgresql_where=sa.text(_ADMINISTRATORS),
    )
    op.create_table(
        "passkey",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("account", sa.Text, sa.ForeignKey("account.id", name="fk_passkey_account"), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "oauth_client",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("secret_hash", sa.Text, nullable=False),
        sa.Column("redirect_uris", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("logout_uris", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("scopes", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("departments", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.CheckConstraint("kind IN ('public', 'confidential', 'service')", name="ck_oauth_client_kind"),
    )
    op.create_table(
        "sign_in_session",
        sa.Column("id", sa.Text, primary_key=True, comment="digest of the cookie"),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("factors", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("challenge", sa.LargeBinary),
        sa.Column("enrolling", sa.LargeBinary, comment="sealed"),
        sa.Column("ended", sa.Boolean, nullable=False),
    )
    op.create_index("ix_sign_in_session_account", "sign_in_session", ["account"])
    _tokens()
    op.create_table(
        "glass",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.Column("reviewed_by", sa.Text, nullable=False),
        sa.Column("reviewed_at", _MOMENT),
        sa.Column("verdict", sa.Text, nullable=False),
        # Nobody reviews what he did himself.
        sa.CheckConstraint("reviewed_by <> account", name="ck_glass_reviewed_by"),
    )
    op.create_index("ix_glass_account_until", "glass", ["account", "until"])


def _tokens() -> None:
    op.create_table(
        "token_family",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("factors", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("signed_in_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT),
    )
    op.create_index("ix_token_family_account", "token_family", ["account"])
    op.create_index("ix_token_family_session", "token_family", ["session"])
    op.create_index("ix_token_family_revoked_at", "token_family", ["revoked_at"])
    op.create_table(
        "authorization_code",
        sa.Column("id", sa.Text, primary_key=True, comment="digest"),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("redirect_uri", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("nonce", sa.Text, nullable=False),
        sa.Column("challenge", sa.Text, nullable=False),
        sa.Column("signed_in_at", _MOMENT, nullable=False),
        sa.Column("factors", sa.Text, nullable=False, comment="JSON list"),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )
    op.create_table(
        "refresh_token",
        sa.Column("id", sa.Text, primary_key=True, comment="digest"),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )
    op.create_table(
        "revoked_token",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("until", _MOMENT, nullable=False),
    )
    op.create_table(
        "seen_token",
        sa.Column("id", sa.Text, primary_key=True, comment="digest of issuer and jti"),
        sa.Column("until", _MOMENT, nullable=False),
    )
    op.create_index("ix_seen_token_until", "seen_token", ["until"])
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("private", sa.LargeBinary, nullable=False, comment="sealed"),
        sa.Column("public", sa.Text, nullable=False, comment="JWK"),
        sa.Column("signs_from", _MOMENT, nullable=False),
        sa.Column("signs_until", _MOMENT, nullable=False),
        sa.Column("shown_until", _MOMENT, nullable=False),
    )


def downgrade() -> None:
    """Drop them, with all that they hold."""
    for table in (
        "glass",
        "signing_key",
        "seen_token",
        "revoked_token",
        "refresh_token",
        "authorization_code",
        "token_family",
        "sign_in_session",
        "oauth_client",
        "passkey",
        "account_role",
        "account",
    ):
        op.drop_table(table)
