"""Names of audit events, and the entry that a decision hands to the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    """Everything that the audit can say; a name is never reused with another meaning."""

    INTENT = "intent.received"
    REFUSED = "intent.refused"
    REQUESTED = "rotation.requested"
    PLAN_CHANGED = "rotation.plan-changed"
    APPROVED = "rotation.approved"
    STARTED = "rotation.started"
    PROMOTED = "rotation.promoted"
    HELD = "rotation.held"
    CANCELLED = "rotation.cancelled"
    ABANDONED = "rotation.abandoned"
    ROLLING_BACK = "rotation.rolling-back"
    ROLLED_BACK = "rotation.rolled-back"
    VOTE_COUNTED = "vote.counted"
    VOTE_REFUSED = "vote.refused"
    BOX_TICKED = "checklist.ticked"
    STEP_INTENT = "step.intent"
    STEP_OUTCOME = "step.outcome"
    STEP_SKIPPED = "step.skipped"
    STEP_CONFIRMED = "step.confirmed"
    STEP_RELEASED = "step.released"
    STEP_LOST = "step.lost"
    STEP_TARGETS = "step.targets"
    UNDO_INTENT = "undo.intent"
    UNDO_OUTCOME = "undo.outcome"
    AMENDMENT_ASKED = "amendment.asked"
    AMENDMENT_APPROVED = "amendment.approved"
    AMENDMENT_LAPSED = "amendment.lapsed"
    OVERLAP_OPENED = "overlap.opened"
    OVERLAP_BLOCKED = "overlap.blocked"
    OVERLAP_RETIRED = "overlap.retired"
    NEXT_DUE = "credential.next-due"
    SETTINGS_APPLIED = "settings.applied"
    SCHEMA_MIGRATED = "schema.migrated"
    AUDIT_SIGNED = "audit.head-signed"
    FLOOD = "intent.flood"
    POSTPONED = "rotation.postponed"
    REMINDED = "approval.reminded"
    ESCALATED = "approval.escalated"
    GLASS_BROKEN = "emergency.glass-broken"
    CONTAINED = "emergency.contained"
    GLASS_LAPSED = "emergency.glass-lapsed"
    TAKEN_OVER = "rotation.taken-over"
    SIGNERS_CHANGED = "settings.signers-changed"
    ERRAND_INTENT = "errand.intent"
    ERRAND_OUTCOME = "errand.outcome"
    INCIDENT_OPENED = "incident.opened"
    INCIDENT_ROLE = "incident.role"
    INCIDENT_NOTE = "incident.note"
    INCIDENT_NUDGED = "incident.nudged"
    INCIDENT_PLACE = "incident.place"
    INCIDENT_REVIEW = "incident.review"
    INCIDENT_CLOSED = "incident.closed"
    INCIDENT_PASSED = "incident.stages-passed"
    CALLERS_TOLD = "incident.callers-told"
    CALLERS_MISSED = "incident.callers-not-told"
    MATERIAL_KEPT = "step.material-kept"
    TROUBLE_INTENT = "trouble.intent"
    TROUBLE_OUTCOME = "trouble.outcome"
    SNOOZED = "credential.snoozed"
    OWNED = "credential.owned"
    DISOWNED = "credential.disowned"
    RECORDED = "credential.recorded"
    TOLD = "credential.reminded"
    CALLS_REFUSED = "credential.calls-refused"
    ALARM_UNSEEN = "credential.alarm-unseen"
    CALLS_ACCEPTED = "credential.calls-accepted"
    DELIVERED = "reminder.delivered"
    UNDELIVERED = "reminder.undelivered"
    AUTOMATIC = "credential.started-by-policy"
    AUTOMATIC_FAILED = "credential.not-started-by-policy"
    DIGEST = "inventory.digest"
    DISCOVERED = "discovery.completed"
    DISCOVERY_FAILED = "discovery.failed"
    DISCOVERY_UNSEEN = "discovery.unseen"


EVERYTHING = "everything"
"""Stands for the step in rows about an amendment that would undo a whole revocation."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the audit before it is chained. `detail` is JSON and holds ids, numbers and evidence only."""

    event: Event
    actor: str
    """A person's id, or `keyturn` for what the bot does by itself."""
    rotation: str = ""
    credential: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
