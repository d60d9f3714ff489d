"""Wait until every connected gate has the newest state of an event; the organizer's token has the role `organizer`."""

import os
import time

from ticketing.client import connect
from ticketing.tickets.v1 import event_service_pb2
from ticketing.tickets.v1.event_service_pb2_grpc import EventServiceStub

TRIES = 30

with connect(os.environ["TICKETS_ADDRESS"], os.environ["ORGANIZER_TOKEN"], plain_text=True) as channel:
    request = event_service_pb2.GetGateReplicaRequest(event_id=os.environ["EVENT_ID"])
    for _ in range(TRIES):
        replica = EventServiceStub(channel).GetGateReplica(request)
        if replica.known:
            break
        time.sleep(1)
    print("the gates know" if replica.known else f"the gates lack changes since {replica.complete_time.ToJsonString()}")
