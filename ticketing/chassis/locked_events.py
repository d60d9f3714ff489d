"""The metric of events whose requests are refused, because another session has locked rows."""

from typing import Final

from prometheus_client import Gauge

LOCKED: Final = Gauge(
    "locked_events", "Events whose requests wait for no lock, because another session has locked rows.", ["batcher"]
)
# The metric leaves out an event for which no request comes any more: nothing shows whether its rows are free.
COUNTED_SECONDS: Final = 60.0
