"""What the device could not store on its disk: it keeps this in memory and stores it once the disk works again."""

from collections import OrderedDict
from typing import Final
from uuid import UUID

from ticketing.chassis.ids import new_id
from ticketing.scans.v1 import scan_pb2

# The service's verdicts of some hours at one gate, about 1 kB each.
MAX_ANSWERS: Final = 20_000
MAX_REQUESTS: Final = 1_000


class Unstored:
    """The requests, answers and shown scans of one run that the device's file lacks."""

    def __init__(self) -> None:
        # The ids of requests without an answer, so that a repeated scan continues under its id.
        self._requests: OrderedDict[bytes, UUID] = OrderedDict()
        # The service's verdicts that were shown, by scan_id, with the scanned texts; the service has recorded them.
        self.answers: OrderedDict[str, tuple[scan_pb2.Scan, str]] = OrderedDict()
        # The ids of scans that were shown and whose request may still stand in the file.
        self.shown: set[str] = set()

    def scan_id(self, request: bytes) -> UUID:
        """Return the id of a request whose answer was not shown, or a new one."""
        scan_id = self._requests.setdefault(request, new_id())
        while len(self._requests) > MAX_REQUESTS:
            self._requests.popitem(last=False)
        return scan_id

    def forget(self, request: bytes) -> None:
        """Forget a request: its answer was shown, or the file contains it."""
        self._requests.pop(request, None)

    def add_shown(self, scan_id: str) -> None:
        """Keep the id of a scan that was shown; beyond MAX_ANSWERS, the file drops the request by its age."""
        if len(self.shown) < MAX_ANSWERS:
            self.shown.add(scan_id)

    def add_answer(self, scan: scan_pb2.Scan, text: str) -> None:
        """Keep a verdict of the service on a scanned text."""
        self.answers[scan.scan_id] = scan, text
        while len(self.answers) > MAX_ANSWERS:
            self.answers.popitem(last=False)
