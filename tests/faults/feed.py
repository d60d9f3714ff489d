"""A follower of the feed beside the scan service: from its own cursor, over every fault, it must miss nothing."""

import random
import threading
from collections.abc import Sequence
from typing import Any, Final

import grpc

from tests.environment.access import PEER_METADATA
from tests.faults.callers import CHANNEL_OPTIONS
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

STREAM_SECONDS: Final = 10.0


class Follower:
    """The state of all tickets as the feed has sent it."""

    def __init__(self, addresses: Sequence[str], choice: random.Random) -> None:
        self._addresses, self._random = addresses, choice
        self._epoch = ""
        self.revisions: dict[str, int] = {}
        # Revision, issue and status by ticket id.
        self.tickets: dict[str, tuple[int, int, int]] = {}
        self.streams = 0
        self._ends = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._follow, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the stream."""
        self._ends.set()
        call = self._call
        if call is not None:
            call.cancel()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ends.is_set():
            # Each stream ends by itself after a while, so that the cursor is used often.
            with grpc.insecure_channel(self._random.choice(self._addresses), options=CHANNEL_OPTIONS) as channel:
                request = feed_pb.WatchTicketsRequest(
                    after_revisions=self.revisions, epoch=self._epoch, max_events=self._random.choice([1, 100])
                )
                seconds = self._random.uniform(1, STREAM_SECONDS)
                self._call = TicketFeedServiceStub(channel).WatchTickets(
                    request, metadata=PEER_METADATA, timeout=seconds
                )
                self.streams += 1
                try:
                    for message in self._call:
                        self._apply(message)
                except grpc.RpcError:
                    self._ends.wait(self._random.uniform(0, 0.5))

    def _apply(self, message: feed_pb.WatchTicketsResponse) -> None:
        if message.epoch and message.epoch != self._epoch:
            if self._epoch:
                self.revisions.clear()
                self.tickets.clear()
            self._epoch = message.epoch
        pages: list[feed_pb.WatchTicketsResponse | feed_pb.EventChanges] = [message, *message.others]
        for page in pages:
            if not page.event.event_id:
                continue
            for ticket in page.tickets:
                self.tickets[ticket.ticket_id] = (ticket.revision, ticket.issue, ticket.status)
            self.revisions[page.event.event_id] = page.revision
