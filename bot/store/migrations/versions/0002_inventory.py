"""The inventory learns what systems show: versions and expiries, discoveries, and which reminders were sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LISTED = "removed_at IS NULL"


def upgrade() -> None:
    """Only adds, so that a replica of the version before goes on."""
    widen_credentials()
    create_reminders()
    create_discoveries()
    create_pages()
    op.execute("UPDATE credential SET due_source = 'cadence' WHERE next_due IS NOT NULL")
    op.execute("UPDATE credential SET remind_at = 0 WHERE removed_at IS NULL")  # everything is looked at once


def partial(name: str, table: str, columns: list[str], where: str) -> None:
    """An index of some rows only."""
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=False, sqlite_where=condition, postgresql_where=condition)


def widen_credentials() -> None:
    """What a system shows of a credential beside what is declared."""
    for name, kind, default in (
        ("place", NAME, ""),
        ("status", sa.Text(), "known"),
        ("version", sa.Text(), ""),
        ("versions", sa.Integer(), "0"),
        ("due_source", sa.Text(), ""),
        ("finding", sa.Text(), ""),
        ("owner_finding", sa.Text(), ""),
        ("snooze_note", sa.Text(), ""),
    ):
        op.add_column("credential", sa.Column(name, kind, nullable=False, server_default=default))
    for name in ("expires_at", "created_at", "found_at", "gone_at", "reminded_at", "soon_at", "starts_at"):
        op.add_column("credential", sa.Column(name, sa.BigInteger(), nullable=True))
    partial("credential_starts", "credential", ["starts_at"], f"starts_at IS NOT NULL AND {LISTED}")
    partial("credential_place", "credential", ["place", "environment"], "place <> ''")
    partial("credential_several", "credential", ["place", "environment"], f"versions > 1 AND {LISTED}")
    partial("credential_status", "credential", ["status", "name"], f"status <> 'known' AND {LISTED}")
    partial("credential_finding", "credential", ["name"], f"(finding <> '' OR owner_finding <> '') AND {LISTED}")
    partial("credential_owner", "credential", ["owner"], f"owner_override IS NULL AND {LISTED}")
    partial("credential_given", "credential", ["owner_override"], f"owner_override IS NOT NULL AND {LISTED}")


def create_reminders() -> None:
    """Each tier of an expiry once."""
    op.create_table(
        "reminder",
        sa.Column("credential", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("expiry", sa.BigInteger(), nullable=False),
        sa.Column("tier", NAME, nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("credential", "environment", "expiry", "tier"),
    )


def create_discoveries() -> None:
    """Rounds of discoveries, and every version that they list."""
    op.create_table(
        "discovery",
        sa.Column("name", NAME, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("completed_at", sa.BigInteger(), nullable=True),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    partial("discovery_due", "discovery", ["due_at"], "due_at IS NOT NULL")
    op.create_table(
        "found",
        sa.Column("discovery", NAME, nullable=False),
        sa.Column("place", NAME, nullable=False),
        sa.Column("version", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("discovery", "place", "version"),
    )
    op.create_index("found_of_place", "found", ["place", "environment"])
    op.create_index("found_of_round", "found", ["discovery", "round", "place"])


def create_pages() -> None:
    """Pages about credentials that nobody acts on."""
    op.create_table(
        "page",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("credential", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    partial("page_due", "page", ["due_at"], "done_at IS NULL")
    partial("page_sent", "page", ["credential"], "done_at IS NOT NULL AND note = ''")
