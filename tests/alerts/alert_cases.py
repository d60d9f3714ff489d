"""A fault and its end for each alert of deploy/prometheus/rules.yml, as series of metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The fault lasts for this time, and the time after it as well: longer than any alert waits.
MINUTES = 90


@dataclass(frozen=True)
class Series:
    """One series: its name with labels, and its values in the notation of promtool, one a minute."""

    name: str
    values: str


def gauge(name: str, bad: float, good: float) -> Series:
    return Series(name, f"{bad}x{MINUTES} {good}x{MINUTES}")


def counter(name: str, bad: float, good: float = 0) -> Series:
    """Return a counter that grows by `bad` a minute during the fault, and by `good` afterwards."""
    reached = bad * MINUTES
    return Series(name, f"0+{bad}x{MINUTES} {reached + good}+{good}x{MINUTES}")


def time(name: str) -> Series:
    """Return the time of a last success, which stands still during the fault, and follows the clock afterwards."""
    # Evaluations begin at the time 0, and a 0 means that there was none.
    return Series(name, f"1x{MINUTES} {60 * (MINUTES + 1)}+60x{MINUTES}")


def steady(name: str, by_minute: float) -> Series:
    return counter(name, by_minute, by_minute)


PURCHASE = 'method="/ticketing.tickets.v1.PurchaseService/PurchaseTickets"'
TASK = "ticketing_task_last_success_timestamp_seconds"

CASES: Mapping[str, Sequence[Series]] = {
    "TicketingProcessDown": [gauge('up{job="scan_service"}', 0, 1)],
    "TicketingNotReady": [gauge("ticketing_ready", 0, 2)],
    "TicketingDatabaseUnreachable": [time(f'{TASK}{{task="database"}}')],
    "TicketingDatabaseDiskFull": [counter("ticketing_database_disk_full_total", 1)],
    "TicketingTaskFails": [counter('ticketing_task_failures_total{task="holds"}', 12, 0.1)],
    "TicketingTaskHangs": [time(f'{TASK}{{task="holds"}}')],
    "TicketingWorkersRestart": [counter("ticketing_worker_restarts_total", 1)],
    "TicketingCertificateExpires": [gauge("ticketing_certificate_expiry_timestamp_seconds", 86_400, 30 * 86_400)],
    "TicketingWalletCertificateExpires": [gauge("apple_wallet_expiry_timestamp_seconds", 86_400, 60 * 86_400)],
    "TicketingVersionsDiffer": [
        Series('ticketing_build_info{version="1"}', f"1x{MINUTES} _x{MINUTES}"),
        gauge('ticketing_build_info{version="2"}', 1, 1),
    ],
    "TicketingInternalErrors": [counter('grpc_server_failures_total{method="a", reason="INTERNAL"}', 1)],
    "TicketingOverloaded": [counter('grpc_server_failures_total{method="a", reason="OVERLOADED"}', 120, 30)],
    "TicketingQueueGrows": [gauge('batch_waiting{batcher="scans"}', 900, 20)],
    "TicketingPoolBusy": [
        gauge('database_pool_under_way{pool="calls"}', 30, 3),
        gauge('database_pool_threads{pool="calls"}', 6, 6),
    ],
    "TicketingRefusedCredentials": [counter('grpc_server_failed_authentications_total{cause="a"}', 600, 60)],
    "TicketingPurchasesFail": [
        counter(f'grpc_server_failures_total{{{PURCHASE}, reason="DEPENDENCY_UNAVAILABLE"}}', 60, 1),
        counter(f'grpc_server_failures_total{{{PURCHASE}, reason="SOLD_OUT"}}', 300, 300),
        steady(f'grpc_server_calls_total{{{PURCHASE}, code="OK"}}', 600),
    ],
    "TicketingPendingWork": [gauge('ticketing_pending_oldest_seconds{work="cancellations"}', 900, 2)],
    "TicketingHoldsOverdue": [gauge("ticketing_holds_overdue_seconds", 900, 0)],
    "TicketingRefundsRefused": [gauge('ticketing_refunds_owed{status="REFUSED"}', 2, 0)],
    "TicketingRefundsWait": [gauge('ticketing_refunds_owed_oldest_seconds{status="PENDING"}', 4_000, 100)],
    "TicketingRefundsUnconfirmed": [
        gauge('ticketing_refunds_owed_oldest_seconds{status="REQUESTED"}', 4 * 86_400, 86_400)
    ],
    "TicketingPaymentsUnmatched": [gauge("ticketing_unmatched_payments", 1, 0)],
    "TicketingReconcilerLate": [time('provider_look_timestamp_seconds{provider="stripe"}')],
    "TicketingRecovering": [gauge("ticketing_recovering", 1, 0)],
    "TicketingScansSlow": [
        steady('ticketing_scan_seconds_bucket{le="0.1"}', 600),
        counter('ticketing_scan_seconds_bucket{le="2.5"}', 900, 600),
        counter('ticketing_scan_seconds_bucket{le="+Inf"}', 900, 600),
    ],
    "TicketingScansFail": [counter('ticketing_scan_failures_total{batcher="scans", reason="OVERLOADED"}', 60, 1)],
    "TicketingScansDenied": [
        counter('ticketing_scans_total{verdict="DENIED", denial_reason="WRONG_EVENT"}', 200, 10),
        steady('ticketing_scans_total{verdict="ADMITTED", denial_reason=""}', 300),
    ],
    "TicketingGateDeniesAll": [
        counter('ticketing_scans_total{verdict="DENIED", denial_reason="WRONG_EVENT"}', 12, 0.2),
        counter('ticketing_scans_total{verdict="DENIED", denial_reason="ALREADY_CHECKED_IN"}', 12, 12),
        steady('ticketing_scans_total{verdict="ADMITTED", denial_reason=""}', 300),
    ],
    "TicketingNobodyLeads": [gauge("ticketing_leader", 0, 1)],
    "TicketingFeedBehind": [gauge("ticketing_feed_lag_seconds", 45, 0)],
    "TicketingReplicaSilent": [time(f'{TASK}{{task="replica"}}')],
    "TicketingReportsWait": [gauge('ticketing_unreported{reports="check_ins"}', 9_000, 40)],
    "TicketingEventsLocked": [gauge('locked_events{batcher="scans"}', 1, 0)],
    "TicketingIncidents": [
        Series('ticketing_incidents{kind="DOUBLE_ADMISSION"}', f"0+1x{MINUTES} {MINUTES}x{MINUTES}")
    ],
    "TicketingLostCommits": [
        # Once: the alert is seen for an hour.
        Series('ticketing_lost_commits_total{evidence="SERVER"}', f"0x{MINUTES - 30} 1x{MINUTES + 30}")
    ],
    "TicketingRecoveryUnfinished": [gauge("ticketing_recovery_unfinished", 1, 0)],
    "TicketingRecoveryPending": [gauge("ticketing_recovery_pending_devices", 3, 0)],
    "TicketingNoRelay": [gauge('notifications_oldest_seconds{receiver="outbox"}', 90, 0)],
    "TicketingDeliveriesOld": [gauge('notifications_oldest_seconds{receiver="mail"}', 2_000, 3)],
    "TicketingDeadLetters": [gauge('notifications_dead{receiver="webhook"}', 4, 0)],
    "TicketingReceiverDisabled": [gauge('notifications_receiver_disabled{receiver="webhook"}', 1, 0)],
    "TicketingDrawingsFail": [counter('drawing_failures_total{cause="overloaded"}', 30, 1)],
}
