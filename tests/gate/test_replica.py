"""The device replica follows the changes of its event."""

import uuid

from tests.environment.waiting import eventually
from ticketing.gate.credential import Credential
from ticketing.scans.v1 import scan_service_pb2 as pb


def test_new_replica_replaces_the_old_one_once_complete(handheld, stand_in):
    stand_in.ticket()
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 1)
    before = handheld.store.cursor(stand_in.event_id)
    first, second = (pb.TicketAdmission(ticket_id=uuid.uuid4().bytes, issue=1) for _ in range(2))
    parts = [
        pb.WatchAdmissionsResponse(rules=stand_in.rules, restart=True),
        pb.WatchAdmissionsResponse(tickets=[first]),
        pb.WatchAdmissionsResponse(tickets=[second], cursor="whole"),
    ]
    seen = []

    class ScanServiceClient:
        credential = Credential("secret")

        class stub:  # noqa: N801 - stands for the stub
            @staticmethod
            def WatchAdmissions(request, metadata):  # noqa: N802
                seen.append(request.after_cursor)
                return Call()

    class Call:
        def __iter__(self):
            for part in parts:
                assert handheld.store.cursor(stand_in.event_id) == before
                yield part

        def cancel(self) -> None:
            handheld.replica.thread._stopped.set()  # noqa: SLF001 - one stream is enough

    eventually(lambda: handheld.store.cursor(stand_in.event_id))
    before = handheld.store.cursor(stand_in.event_id)
    handheld.replica.stop()
    handheld.replica._client = ScanServiceClient  # noqa: SLF001 - a service that sends `parts`
    handheld.replica.thread._stopped.clear()  # noqa: SLF001 - runs in this thread
    handheld.replica.thread._run()  # noqa: SLF001 - runs in this thread
    assert seen == [before]
    assert (handheld.store.cursor(stand_in.event_id), handheld.store.ticket_count(stand_in.event_id)) == ("whole", 2)
