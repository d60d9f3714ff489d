"""The known faults of the past, each with the scenario that finds it on the commit before it was mended."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from tests.faults import replays_gates as gates
from tests.faults import replays_sales as sales
from tests.faults.stage import Stage


@dataclass(frozen=True)
class Replay:
    """A fault of the past; `before` is the commit before the one that mended it."""

    name: str
    # Money, the door, isolation of work from strangers, or operation.
    area: str
    before: str
    # A part of the violation that the checks report with the old services.
    violation: str
    act: Callable[[Stage], None]
    # The fault, as the table in the documentation has it.
    fault: str


REPLAYS: Final = (
    Replay(
        "release-while-charging",
        "money",
        "98833821",
        "although its buyer had released it",
        sales.release_while_charging,
        "a released purchase was charged",
    ),
    Replay(
        "card-behind-slow-banks",
        "money",
        "98833821",
        "not settled: held purchases",
        sales.card_behind_slow_banks,
        "sixteen charges that banks processed past their holds stopped all card payments",
    ),
    Replay(
        "worse-terms",
        "money",
        "98833821",
        "and the terms at the purchase granted",
        sales.worse_terms,
        "terms that were worsened after the sale lowered the refund",
    ),
    Replay(
        "refund-that-fails-later",
        "money",
        "e036b245",
        "not settled: refunds that failed later",
        sales.refund_that_fails_later,
        "a refund that failed after its success was never made again",
    ),
    Replay(
        "payment-after-a-recovery",
        "operation",
        "558c5eee",
        "external): tickets worth",
        sales.payment_after_a_recovery,
        "a payment that was reported again after a recovery counted as a second one, and was refunded",
    ),
    Replay(
        "second-restore-of-the-scans",
        "operation",
        "17d8c52e",
        "a scan that was shown is lost",
        gates.second_restore_of_the_scans,
        "`recover --since` was ignored after a second restore: gates were not asked for what they had shown",
    ),
    Replay(
        "returned-part-of-a-refund",
        "money",
        "20157e34",
        ": tickets worth 0, by card",
        sales.returned_part_of_a_refund,
        "a part that was refunded in the dashboard, counted and came back was never owed again",
    ),
    Replay(
        "restore-before-a-refund",
        "money",
        "98833821",
        ": tickets worth 2500, by card 5000 - 5000",
        sales.restore_before_a_refund,
        "a refund was made twice after a restore",
    ),
    Replay(
        "restore-beside-a-slow-refund",
        "money",
        "382e4ed1",
        ": tickets worth 2500, by card 5000 - 5000",
        sales.restore_beside_a_slow_refund,
        "a refund that the bank still processed was made twice after a restore",
    ),
    Replay(
        "price-in-other-units",
        "money",
        "e036b245",
        ": tickets worth",
        sales.price_in_other_units,
        "cards were charged a hundredth of prices in ISK",
    ),
    Replay(
        "one-payment-for-two-events",
        "money",
        "a4db78f2",
        "ConfirmPurchase: INTERNAL",
        sales.one_payment_for_two_events,
        "one payment that was reported for two events at a time failed with INTERNAL",
    ),
    Replay(
        "annulment-after-the-event",
        "money",
        "18bb08fc",
        "of a cancelled event is",
        gates.annulment_after_the_event,
        "a check-in that was annulled after its event was cancelled was never refunded",
    ),
    Replay(
        "late-annulment",
        "door",
        "98833821",
        "was annulled beyond the bound",
        gates.late_annulment,
        "an upload annulled any admission, however old",
    ),
    Replay(
        "draft-at-the-gates",
        "door",
        "2fa44b4c",
        "no order explains the answers",
        gates.draft_at_the_gates,
        "gates denied the first buyers of an event that they still had as a draft",
    ),
    Replay(
        "scans-beside-a-locked-event",
        "isolation",
        "122c4181",
        "waited for a stranger's lock",
        gates.scans_beside_a_locked_event,
        "one locked event stopped the gates of all events",
    ),
    Replay(
        "feed-beside-a-locked-ticket",
        "isolation",
        "f230bba6",
        "the scan service has other tickets",
        gates.feed_beside_a_locked_ticket,
        "one locked ticket stopped the feed of all events",
    ),
    Replay(
        "reports-beside-a-locked-ticket",
        "isolation",
        "1db909a9",
        "check-ins differ in the ticket service",
        gates.reports_beside_a_locked_ticket,
        "one locked ticket stopped the reports of all check-ins",
    ),
    Replay(
        "annulment-after-the-cancellation",
        "operation",
        "ce085b11",
        "check-ins differ in the ticket service",
        gates.annulment_after_the_cancellation,
        "an annulment that was reported after the cancellation was dropped: a refunded ticket stayed checked in",
    ),
    Replay(
        "admission-after-the-cancellation",
        "operation",
        "db667058",
        "check-ins differ in the ticket service",
        partial(gates.annulment_after_the_cancellation, is_admitted_again=True),
        "the same, where a further offline admission was reported with the annulment",
    ),
)
