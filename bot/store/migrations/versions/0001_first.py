"""The first schema: rotations and their steps, intents, inventory, messages, workers, and the audit chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NEVER_CHANGED = ("audit", "audit_signature", "plan")


def upgrade() -> None:
    """Create everything in an empty database."""
    create_rotations()
    create_steps()
    create_inventory()
    create_messages()
    create_incidents()
    create_audit()
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE SEQUENCE rotation_number")
        protect_on_postgres()
    else:
        protect_on_sqlite()


def partial(name: str, table: str, columns: list[str], where: str, unique: bool = False) -> None:
    """An index of some rows only."""
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def create_rotations() -> None:
    """Plans, rotations and overlaps."""
    op.create_table(
        "plan",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "rotation",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("credential", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("runbook", sa.Text(), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("lapses_at", sa.BigInteger(), nullable=True),
        sa.Column("votes", sa.Text(), nullable=False),
        sa.Column("boxes", sa.Text(), nullable=False),
        sa.Column("amendment", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("eligible", sa.Text(), nullable=True),
        sa.Column("escalated", sa.Integer(), nullable=False),
        sa.Column("called_at", sa.BigInteger(), nullable=True),
        sa.Column("calls_at", sa.BigInteger(), nullable=True),
        sa.Column("glass", sa.Text(), nullable=True),
        sa.Column("unconfirmed", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("promoted_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("next_due", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["plan.digest"]),
        sa.PrimaryKeyConstraint("number"),
    )
    partial("rotation_lapsing", "rotation", ["lapses_at"], "lapses_at IS NOT NULL")
    partial("rotation_calling", "rotation", ["calls_at"], "calls_at IS NOT NULL")
    op.create_index("rotation_of_credential", "rotation", ["credential", "environment", "number"])
    partial(
        "rotation_open_once",
        "rotation",
        ["credential", "environment", "word"],
        "state IN ('approved', 'asking', 'held', 'requested', 'rolling_back', 'running', 'waiting')",
        unique=True,
    )
    op.create_table(
        "overlap",
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("credential", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("counts_old", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("remind_at", sa.BigInteger(), nullable=True),
        sa.Column("was_rotated_at", sa.BigInteger(), nullable=True),
        sa.Column("was_due", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["rotation"], ["rotation.number"]),
        sa.PrimaryKeyConstraint("rotation"),
    )
    partial("overlap_open", "overlap", ["credential", "environment"], "state IN ('blocked', 'retiring')")
    partial("overlap_remind", "overlap", ["remind_at"], "remind_at IS NOT NULL")


def create_steps() -> None:
    """What becomes of each step, and of each target of a step that fans out."""
    op.create_table(
        "step",
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("touched", sa.Boolean(), nullable=False),
        sa.Column("undoing", sa.Boolean(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("ambiguous", sa.Boolean(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["rotation"], ["rotation.number"]),
        sa.PrimaryKeyConstraint("rotation", "position"),
    )
    partial("step_due", "step", ["due_at"], "stage = 'waiting'")
    partial("step_under_way", "step", ["since"], "stage IN ('queued', 'running')")
    op.create_table(
        "target",
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["rotation"], ["rotation.number"]),
        sa.PrimaryKeyConstraint("rotation", "step", "target"),
    )


def create_inventory() -> None:
    """Credentials, intents, workers and settings."""
    op.create_table(
        "credential",
        sa.Column("name", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("runbook", sa.Text(), nullable=False),
        sa.Column("cadence", sa.BigInteger(), nullable=True),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("owner_override", sa.Text(), nullable=True),
        sa.Column("snoozed_until", sa.BigInteger(), nullable=True),
        sa.Column("last_rotated_at", sa.BigInteger(), nullable=True),
        sa.Column("next_due", sa.BigInteger(), nullable=True),
        sa.Column("remind_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "environment"),
    )
    partial("credential_due", "credential", ["next_due"], "next_due IS NOT NULL AND removed_at IS NULL")
    partial("credential_remind", "credential", ["remind_at"], "remind_at IS NOT NULL AND removed_at IS NULL")
    op.create_table(
        "intent",
        sa.Column("number", KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("surface", sa.Text(), nullable=False),
        sa.Column("subject", NAME, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("effect", sa.Integer, nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key", name="intent_key"),
    )
    partial("intent_open", "intent", ["subject", "number"], "state IN ('new', 'running')")
    op.create_table(
        "setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("dead_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    partial("worker_alive", "worker", ["seen_at"], "dead_at IS NULL")


def create_messages() -> None:
    """What Slack is told."""
    op.create_table(
        "drawing",
        sa.Column("id", KEY, nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("ts", sa.Text(), nullable=False),
        sa.Column("drawn", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("rotation", "form", "place", name="drawing_once"),
    )
    partial("drawing_due", "drawing", ["due_at"], "wanted > drawn")
    op.create_index("drawing_message", "drawing", ["place", "ts"])
    op.create_table(
        "notice",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("ts", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("incident", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", name="notice_key"),
    )
    partial("notice_due", "notice", ["due_at"], "sent_at IS NULL")
    partial("notice_of_incident", "notice", ["incident", "due_at"], "incident IS NOT NULL")


def create_incidents() -> None:
    """What an emergency has beside its rotation: the incident, and errands such as a page."""
    op.create_table(
        "incident",
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("credential", NAME, nullable=False),
        sa.Column("environment", NAME, nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("opened_by", sa.Text(), nullable=False),
        sa.Column("commander", sa.Text(), nullable=False),
        sa.Column("scribe", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=False),
        sa.Column("solo", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("place_note", sa.Text(), nullable=False),
        sa.Column("room", sa.Text(), nullable=False),
        sa.Column("said_at", sa.BigInteger(), nullable=True),
        sa.Column("nudged_at", sa.BigInteger(), nullable=True),
        sa.Column("quiet_since", sa.BigInteger(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("review", sa.Text(), nullable=False),
        sa.Column("late", sa.Text(), nullable=False),
        sa.Column("fixed", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rotation"], ["rotation.number"]),
        sa.PrimaryKeyConstraint("rotation"),
    )
    partial("incident_quiet", "incident", ["quiet_since"], "quiet_since IS NOT NULL")
    op.create_table(
        "errand",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("rotation", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("outputs", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["rotation"], ["rotation.number"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", name="errand_key"),
    )
    op.create_index("errand_of_rotation", "errand", ["rotation", "id"])
    partial("errand_due", "errand", ["due_at"], "done_at IS NULL")


def create_audit() -> None:
    """The chain, its head and the signed heads."""
    op.create_table(
        "audit",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("rotation", NAME, nullable=False),
        sa.Column("credential", NAME, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("prev", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    partial("audit_of_credential", "audit", ["credential", "seq"], "credential <> ''")
    partial("audit_of_rotation", "audit", ["rotation", "seq"], "rotation <> ''")
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "audit_signature",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.execute("INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, '" + "0" * 64 + "')")


def protect_on_sqlite() -> None:
    """Refuse to change or delete rows, and to insert anywhere but at the end (REPLACE would delete silently)."""
    for table in NEVER_CHANGED:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
            )
    at_end = (
        "CREATE TRIGGER {0}_at_end BEFORE INSERT ON {0} "
        "WHEN EXISTS (SELECT 1 FROM {0} AS later WHERE later.seq >= NEW.seq) "
        "BEGIN SELECT RAISE(ABORT, 'rows of {0} are added at the end'); END"
    )
    for table in ("audit", "audit_signature"):
        op.execute(at_end.format(table))
    op.execute(
        "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head "
        "BEGIN SELECT RAISE(ABORT, 'the head of the audit is never deleted'); END"
    )


def protect_on_postgres() -> None:
    """Refuse to change, delete or truncate."""
    op.execute(
        "CREATE FUNCTION keyturn_never_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
    )
    for table in NEVER_CHANGED:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION keyturn_never_changed()"
        )
    op.execute(
        "CREATE TRIGGER audit_head_no_delete BEFORE DELETE ON audit_head "
        "FOR EACH ROW EXECUTE FUNCTION keyturn_never_changed()"
    )
    for table in (*NEVER_CHANGED, "audit_head"):
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION keyturn_never_changed()"
        )
