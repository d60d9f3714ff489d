"""The guards in the SQL of both stores, which no tool finds: each is taken away by an edit of one text.

A guard is a lock, or a condition on a status, a revision, a time, an epoch, or on the key of another row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.environment import ROOT
from tests.mutants.mutations import Mutant, changed_lines


@dataclass(frozen=True)
class Guard:
    """A text of one module, the text without the guard, and the tests that concern it, from the folder of the service."""

    path: str
    old: str
    new: str
    tests: tuple[str, ...]

    def mutant(self) -> Mutant:
        """Return the module without the guard."""
        source = (ROOT / self.path).read_text()
        assert source.count(self.old) == 1, f"{self.path} contains {self.old!r} {source.count(self.old)} times"
        line = source[: source.index(self.old)].count("\n") + 1
        mutated = source.replace(self.old, self.new)
        return Mutant(self.path, line, line, changed_lines(source, mutated), mutated)

    def test_paths(self) -> list[str]:
        """Return the paths of its tests."""
        return [f"tests/{self.path.split('/')[0]}/{test}" for test in self.tests]


def _guards(path: str, tests: Sequence[str], *edits: tuple[str, str]) -> Iterator[Guard]:
    return (Guard(path, old, new, tuple(tests)) for old, new in edits)


_LOCK: Final = ".with_for_update(key_share=True)"
_LOCK_FREE: Final = ".with_for_update(key_share=True, skip_locked=True)"
_LOCKS: Final = "store/test_locks.py"
_PAYMENTS: Final = "store/test_payments.py"
_SALES: Final = (
    "use_cases/test_sales.py",
    "use_cases/test_holds.py",
    "use_cases/test_customers.py",
    "servicers/test_purchases.py",
    "store",
)
_CANCEL: Final = (
    "use_cases/test_cancellations.py",
    "use_cases/test_event_cancellation.py",
    "use_cases/test_annulled_check_ins.py",
    "store",
)
_REFUND: Final = (
    "use_cases/test_refunds.py",
    "use_cases/test_ticket_refunds.py",
    "use_cases/test_reconciler.py",
    "store",
)
_SCANS: Final = (
    "use_cases/test_admission.py",
    "use_cases/test_locked_rows.py",
    "use_cases/test_scans.py",
    "use_cases/test_groups.py",
    "store",
)
_FEED: Final = ("replication", "use_cases/test_replica_position.py", "use_cases/test_recoveries.py", "store")
_UPLOADS: Final = ("use_cases/test_uploads.py", "use_cases/test_uploaded_annulments.py", "store")

GUARDS: Final[Sequence[Guard]] = (
    *_guards(
        "ticket_service/store/sales.py",
        _SALES,
        (' FOR NO KEY UPDATE"\n', '"\n'),
        (' ORDER BY event_id FOR NO KEY UPDATE"\n', ' FOR NO KEY UPDATE"\n'),
        ('f"{_LOCK} SKIP LOCKED"', "_LOCK"),
        ("key.caller = wanted.caller AND ", ""),
        ("erased ON erased.caller = ''", "erased ON erased.caller = 'nobody'"),
        ("payment.provider = '{EXTERNAL}' AND ", ""),
    ),
    *_guards(
        "ticket_service/store/holds.py",
        (
            _LOCKS,
            _PAYMENTS,
            "use_cases/test_holds.py",
            "use_cases/test_payments.py",
            "use_cases/test_provider_sweeps.py",
            "store",
        ),
        (f".order_by(purchases.c.purchase_id)\n        {_LOCK}", ".order_by(purchases.c.purchase_id)"),
        (f"                {_LOCK_FREE}\n", ""),
        (
            "its = (purchases.c.due_time <= now, purchases.c.provider == provider)",
            "its = (purchases.c.provider == provider,)",
        ),
        (
            "its = (purchases.c.due_time <= now, purchases.c.provider == provider)",
            "its = (purchases.c.due_time <= now,)",
        ),
        ("purchases.c.due_time <= now, purchases.c.hold_expire_time <= now, ", "purchases.c.due_time <= now, "),
        (", purchases.c.provider.not_in(providers))", ")"),
        ("        .on_conflict_do_nothing()\n", ""),
        ("        .where(payments.c.refund_due)\n", ""),
        ("payments.c.refund_due, payments.c.refund_id.is_(None)", "payments.c.refund_due"),
    ),
    *_guards(
        "ticket_service/store/cancellations.py",
        (_LOCKS, _PAYMENTS, *_CANCEL),
        ("query.with_for_update(key_share=True, of=cancellations)", "query"),
        ("            cancellations.c.status == CancellationStatus.PENDING,\n", ""),
        ("        .with_for_update(key_share=True, of=[tickets, cancellations])\n", ""),
        (".where(cancellations.c.due_time <= now)", ".where(cancellations.c.due_time.is_not(None))"),
        ("key_share=True, skip_locked=True, of=cancellations", "key_share=True, of=cancellations"),
    ),
    *_guards(
        "ticket_service/store/event_cancellation.py",
        (_LOCKS, _PAYMENTS, *_CANCEL),
        ("query.with_for_update(key_share=True))", "query)"),
        ("            tickets.c.status.in_(RESERVED_STATUSES),\n", ""),
        (f"        .limit(limit)\n        {_LOCK}", "        .limit(limit)"),
        (
            "cancellations.c.ticket_id.in_(ticket_ids),\n            cancellations.c.status == CancellationStatus.PENDING,",
            "cancellations.c.ticket_id.in_(ticket_ids),",
        ),
        ("        .where(cancellations.c.status == CancellationStatus.PENDING)\n", ""),
        ("        cancellations.c.status != CancellationStatus.REJECTED,\n", ""),
    ),
    *_guards(
        "ticket_service/store/refund_orders.py",
        (_LOCKS, _PAYMENTS, *_REFUND),
        ("cancellations.status = 'REFUNDING' AND NOT refund_due AND", "NOT refund_due AND"),
        (" AND NOT refund_due AND payments.provider", " AND payments.provider"),
        (" AND payments.provider <> 'external'", ""),
        ("order_id == order_id)\n        .with_for_update(key_share=True)", "order_id == order_id)"),
        (
            "refund_orders.c.due_time <= now, refund_orders.c.provider == provider, of_class",
            "refund_orders.c.provider == provider, of_class",
        ),
        ("refund_orders.c.provider == provider, of_class", "of_class"),
        (", of_class, ~is_disputed)", ", of_class)"),
        ("        disputes.c.status == DisputeStatus.OPEN,\n", ""),
        ("key_share=True, skip_locked=True, of=refund_orders", "key_share=True, of=refund_orders"),
        (
            "refund_orders.c.due_time <= now, refund_orders.c.provider.not_in(providers)",
            "refund_orders.c.provider.not_in(providers),",
        ),
    ),
    *_guards(
        "ticket_service/store/ticket_refunds.py",
        (_LOCKS, _PAYMENTS, *_REFUND),
        ("        .with_for_update(key_share=True, of=ticket_refunds)\n", ""),
        (", sa.not_(payments.c.refund_due))", ")"),
        ('        cancellations.c.status != "REJECTED",\n', ""),
    ),
    *_guards(
        "ticket_service/store/events.py",
        (
            _LOCKS,
            "use_cases/test_changes.py",
            "use_cases/test_reissues.py",
            "use_cases/test_holds.py",
            "servicers/test_events.py",
            "store",
        ),
        (
            ".where(events.c.event_id == event_id, *conditions).with_for_update(key_share=True)",
            ".where(events.c.event_id == event_id, *conditions)",
        ),
    ),
    *_guards(
        "ticket_service/store/tickets.py",
        (
            _LOCKS,
            "use_cases/test_reissues.py",
            "use_cases/test_ticket_refunds.py",
            "use_cases/test_cancellations.py",
            "store",
        ),
        ("connection.execute(lock.with_for_update(key_share=True, of=tickets))", "connection.execute(lock)"),
    ),
    *_guards(
        "ticket_service/store/reissues.py",
        (_LOCKS, "use_cases/test_reissues.py", "store"),
        ("query.with_for_update(key_share=True)", "query"),
        (", reissues.c.status == ReissueStatus.PENDING\n", "\n"),
        (".where(reissues.c.due_time <= now)", ".where(reissues.c.due_time.is_not(None))"),
        ("key_share=True, skip_locked=True", "key_share=True"),
    ),
    *_guards(
        "ticket_service/store/check_ins.py",
        (
            _LOCKS,
            "use_cases/test_annulled_check_ins.py",
            "use_cases/test_feed.py",
            "use_cases/test_restores.py",
            "store",
        ),
        ("    FOR NO KEY UPDATE OF tickets\n", ""),
        ('f"{_LOCK} SKIP LOCKED"', "str(_LOCK)"),
    ),
    *_guards(
        "ticket_service/store/requests.py",
        (
            "use_cases/test_erasures.py",
            "use_cases/test_reissues.py",
            "use_cases/test_cancellations.py",
            "servicers/test_events.py",
            "store",
        ),
        ('.in_([key.caller, ""])', ".in_([key.caller])"),
        (".where(~erased)", ""),
        ("        .on_conflict_do_nothing()\n", ""),
        ("idempotency_keys.c.caller == caller, ", ""),
    ),
    *_guards(
        "ticket_service/store/feed.py",
        (_LOCKS, "use_cases/test_feed.py", "servicers/test_feed.py", "store"),
        ("tickets.revision > cursor.after", "tickets.revision >= cursor.after"),
        ("        ORDER BY tickets.revision\n", ""),
        ("    WHERE tickets.revision >= sent.revision\n", ""),
        (".with_for_update(skip_locked=True)", ""),
        ("feed.c.one == free, is_older", "feed.c.one == free"),
        ("events.c.end_time > ended_after", "sa.true()"),
    ),
    *_guards(
        "ticket_service/store/reconciler.py",
        (_LOCKS, "use_cases/test_reconciler.py", "store"),
        ("table.c.provider == provider, table.c.due_time <= now", "table.c.provider == provider"),
        ("table.c.provider == look.provider, table.c.due_time == claimed_until", "table.c.provider == look.provider,"),
        ("table.c.due_time <= now, table.c.provider.in_(providers)", "table.c.provider.in_(providers)"),
        ("*_is(compared), table.c.wakes == compared.wakes", "*_is(compared)"),
        ("least(reconciliation_queue.due_time, excluded.due_time)", "reconciliation_queue.due_time"),
    ),
    *_guards(
        "ticket_service/delivery/store/deliveries.py",
        ("delivery/test_relay.py", "delivery/test_backlog.py", "delivery/test_receiver_worker.py"),
        ("        FOR UPDATE SKIP LOCKED\n", ""),
        ("earlier.position < due.position AND earlier.dead_time IS NULL", "earlier.position < due.position"),
        (
            "        WHERE receiver = :receiver AND due_time <= :now\n",
            "        WHERE receiver = :receiver AND due_time IS NOT NULL\n",
        ),
        (
            "UPDATE deliveries SET due_time = :until FROM {_ENDED} WHERE {_IS_ENDED} AND dead_time IS NULL",
            "UPDATE deliveries SET due_time = :until FROM {_ENDED} WHERE {_IS_ENDED}",
        ),
    ),
    *_guards(
        "ticket_service/delivery/store/dispatch.py",
        ("delivery/test_relay.py", "delivery/test_backlog.py", "delivery/test_nats.py"),
        ("sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))", "sa.select(sa.true())"),
        ("least(create_time, :now)", "create_time"),
    ),
    *_guards(
        "scan_service/store/admission.py",
        (_LOCKS, *_SCANS),
        ("ORDER BY event_id FOR SHARE", "ORDER BY event_id"),
        ("    FOR UPDATE OF t\n", ""),
        ("    ORDER BY t.ticket_id\n", ""),
        ("        ON CONFLICT DO NOTHING", ""),
    ),
    *_guards(
        "scan_service/store/free_rows.py",
        _SCANS,
        ("FOR SHARE SKIP LOCKED", "FOR SHARE"),
        ("{LOCK_GROUPS_OF} SKIP LOCKED", "{LOCK_GROUPS_OF}"),
        ("SET LOCAL lock_timeout = {WRITE_MILLISECONDS}; ", ""),
    ),
    *_guards(
        "scan_service/store/feed.py",
        (_LOCKS, *_FEED),
        ("    WHERE (tickets.generation, tickets.revision) < (EXCLUDED.generation, EXCLUDED.revision)\n", ""),
        ("tickets.status IN ('CANCELLED', 'REFUNDED') AND ", "false AND "),
        ("greatest(tickets.issue, EXCLUDED.issue)", "EXCLUDED.issue"),
        ("        code_digest = CASE WHEN EXCLUDED.issue < tickets.issue", "        code_digest = CASE WHEN false"),
        ("        token_digest = CASE WHEN EXCLUDED.issue < tickets.issue", "        token_digest = CASE WHEN false"),
        ("coalesce(EXCLUDED.purchase_id, tickets.purchase_id)", "EXCLUDED.purchase_id"),
        ("greatest(feed_cursors.revision, EXCLUDED.revision)", "EXCLUDED.revision"),
        ("sa.select(feed.c.epoch, feed.c.generation).with_for_update()", "sa.select(feed.c.epoch, feed.c.generation)"),
        (".where(feed.c.epoch == followed)", ""),
        ("known.get(page.event.event_id, (-1, -1)) < version", "True"),
    ),
    *_guards(
        "scan_service/store/revocations.py",
        (_LOCKS, "use_cases/test_revocations.py", "use_cases/test_locked_rows.py", "store"),
        ("SET known = tickets.known", "SET known = false"),
        (".with_for_update(skip_locked=True)", ".with_for_update()"),
        ("    ORDER BY ticket_id\n", ""),
        ('set_={"closed": True}', 'set_={"closed": events.c.closed}'),
    ),
    *_guards(
        "scan_service/store/annulments.py",
        (
            _LOCKS,
            "use_cases/test_annulments.py",
            "use_cases/test_groups.py",
            "use_cases/test_uploaded_annulments.py",
            "store",
        ),
        ("event_row.with_for_update(read=True)", "event_row"),
        ("query.order_by(tickets.c.ticket_id).with_for_update()", "query.order_by(tickets.c.ticket_id)"),
        ("        sa.or_(scans.c.verdict == Verdict.ADMITTED, denied_exit),\n", ""),
        ("sa.or_(scans.c.verdict == Verdict.ADMITTED, denied_exit)", "scans.c.verdict == Verdict.ADMITTED"),
    ),
    *_guards(
        "scan_service/store/reports.py",
        (_LOCKS, "replication/test_reports.py", "use_cases/test_annulments.py", "store"),
        ("FOR UPDATE OF t SKIP LOCKED", "FOR UPDATE OF t"),
        ("greatest(t.reported_sequence, locked.confirmed_sequence)", "locked.confirmed_sequence"),
        ("greatest(t.reported_sequence, locked.confirmed_sequence)", "t.sequence"),
        ("    WHERE NOT i.reported AND its.scan_count > 0\n", "    WHERE NOT i.reported\n"),
        ("    WHERE NOT i.reported AND its.scan_count > 0\n", "    WHERE its.scan_count > 0\n"),
    ),
    *_guards(
        "scan_service/store/uploads.py",
        _UPLOADS,
        (
            " WHERE s.verdict = 'ADMITTED'\n           OR s.scan_type = 'CHECK_OUT' AND s.denial_reason = 'NOT_CHECKED_IN'",
            "",
        ),
        ("\n           OR s.scan_type = 'CHECK_OUT' AND s.denial_reason = 'NOT_CHECKED_IN'", ""),
    ),
    *_guards(
        "scan_service/store/incidents.py",
        (*_UPLOADS, "use_cases/test_failed_code_limit.py", "use_cases/test_scans.py"),
        (" AND s.kind NOT IN ('FORGED_TOKEN', 'CODE_GUESSING')", ""),
        ("    ) >= min_scans\n", "    ) >= 0\n"),
    ),
    *_guards(
        "scan_service/store/devices.py",
        (
            _LOCKS,
            "use_cases/test_devices.py",
            "use_cases/test_device_requests.py",
            "commands/test_revoke_devices.py",
            "store",
        ),
        ("devices.c.code_digest == code_digest).with_for_update()", "devices.c.code_digest == code_digest)"),
        ("sa.func.coalesce(devices.c.revoke_time, now)", "now"),
        ("wanted, devices.c.revoke_time.is_(None)", "wanted"),
        (".with_for_update(skip_locked=True)", ".with_for_update()"),
        (
            ".where(devices.c.device_id == device_id, _of_organizer(organizer_id))",
            ".where(devices.c.device_id == device_id)",
        ),
    ),
    *_guards(
        "scan_service/store/device_reports.py",
        (_LOCKS, *_FEED, "use_cases/test_devices.py"),
        ("      AND (d.enroll_time, d.revoke_time) IS NOT DISTINCT FROM (sent.enroll_time, sent.revoke_time)\n", ""),
        (" AND d.enroll_time IS NULL AND lost", " AND lost"),
        (" AND d.revoke_time IS NULL AND lost", " AND lost"),
    ),
    *_guards(
        "scan_service/store/keys.py",
        ("use_cases/test_keys.py", "commands/test_retire_keys.py", "replication/test_replica.py"),
        ("sa.func.least(signing_keys.c.retire_time, retired_keys.c.retire_time)", "signing_keys.c.retire_time"),
        (
            "earliest = sa.func.least(retired_keys.c.retire_time, new.excluded.retire_time)",
            "earliest = new.excluded.retire_time",
        ),
    ),
)
