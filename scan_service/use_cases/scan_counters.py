"""Count scans for the metrics: once for each batch, after its commit, so that no scan waits for a counter."""

from collections import Counter as Count
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from typing import Final, TypeAlias

from prometheus_client import Counter, Histogram

from ticketing.admission.scans import Attempt, Scan
from ticketing.chassis.failures import Failure

SCANS: Final = Counter("ticketing_scans_total", "Live scans recorded, by their verdict.", ["verdict", "denial_reason"])
UPLOADED: Final = Counter(
    "ticketing_uploaded_scans_total",
    "Offline scans recorded, by the verdict that the device showed and how it violates the rules.",
    ["verdict", "violation"],
)
FAILURES: Final = Counter(
    "ticketing_scan_failures_total", "Scans without a verdict, by the reason as on the wire.", ["batcher", "reason"]
)
SECONDS: Final = Histogram(
    "ticketing_scan_seconds",
    "Time of one live scan, from the arrival of its message to the verdict written.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
_scans, _uploaded = cache(SCANS.labels), cache(UPLOADED.labels)

Process: TypeAlias = Callable[[Sequence[Attempt]], Awaitable[Sequence[Scan | Failure]]]


def count_scans(recorded: Iterable[Scan]) -> None:
    """Count the recorded scans of a batch of live scans."""
    for labels, number in Count((scan.verdict, scan.denial_reason or "") for scan in recorded).items():
        _scans(*labels).inc(number)


def count_uploads(recorded: Iterable[Scan]) -> None:
    """Count the newly recorded scans of a batch of uploads."""
    for labels, number in Count((scan.verdict, scan.violation or "") for scan in recorded).items():
        _uploaded(*labels).inc(number)


def count_failures(batcher: str, process: Process) -> Process:
    """Return `process` with a count of the attempts that get a Failure."""

    async def counting(attempts: Sequence[Attempt]) -> Sequence[Scan | Failure]:
        try:
            answers = await process(attempts)
        except Failure as failure:
            FAILURES.labels(batcher, failure.reason).inc(len(attempts))
            raise
        for reason, number in Count(answer.reason for answer in answers if isinstance(answer, Failure)).items():
            FAILURES.labels(batcher, reason).inc(number)
        return answers

    return counting
