"""Tests that the order, repetition and splitting of uploads do not change the end state."""

import os
import random

import grpc
import pytest

from scan_service.store.tables import tickets as tickets_table
from tests.scanning.gates import Device
from tests.scanning.uploads import ACCESS, ADMITTED, BEGIN, DENIED, IN, MINUTE, OUT, decided
from ticketing.scans.v1 import scan_service_pb2 as pb

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TICKETING_ROUNDS", "6"))


def night(database, chance: random.Random, event_id) -> list[pb.ScanAttempt]:
    """Make the offline decisions of several devices in one night, valid and invalid ones."""
    statuses = ("ACTIVE", "ACTIVE", "ACTIVE", "REFUNDED", "BLOCKED")
    shown = [database.ticket(event_id, status=chance.choice(statuses)).token for _ in range(4)]
    shown += [database.unknown(event_id).token, shown[0][:-2], "nothing"]
    return [
        decided(
            chance.choice(shown),
            chance.randrange(30),
            verdict=chance.choice((ADMITTED, ADMITTED, ADMITTED, DENIED)),
            kind=chance.choice((IN, IN, OUT, ACCESS)),
            annulled=chance.random() < 0.2,
        )
        for _ in range(25)
    ]


def forget(database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE scans, incidents, incident_scans")
        connection.execute(tickets_table.delete().where(tickets_table.c.known.is_(False)))
        connection.exec_driver_sql(
            "UPDATE tickets SET check_in_time = NULL, entry_scan_id = NULL, entry_time = NULL, entry_location = NULL,"
            " inside = false, sequence = 0, reported_sequence = 0"
        )


def state(database) -> tuple[object, ...]:
    """Return all data that must not depend on the order; sequences and record times may differ."""

    def rows(table: str, *without: str) -> list[str]:
        return sorted(str({k: v for k, v in row.items() if k not in without}) for row in database.rows(table))

    with_scans = {(r["kind"], r["subject"]) for r in database.rows("incident_scans")}
    assert with_scans <= {(r["kind"], r["subject"]) for r in database.rows("incidents")}
    return (
        rows("tickets", "sequence", "reported_sequence", "changed_by"),
        rows("scans", "record_time"),
        rows("incident_scans"),
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", ["SINGLE_ENTRY", "RE_ENTRY", "UNLIMITED", "ONCE_PER_DAY"])
async def test_the_order_and_repetition_of_uploads_do_not_matter(database, service, policy):
    chance = random.Random(f"uploads {policy}")
    # The day changes in the middle of the night.
    event_id = database.event(admission_policy=policy, day_change_hour=(BEGIN + 15 * MINUTE).hour)
    for _ in range(ROUNDS):
        scans = night(database, chance, event_id)
        expected = None
        for repeat in range(4):
            forget(database)
            sent = scans if repeat == 0 else [*scans, *chance.choices(scans, k=15)]
            if repeat:
                chance.shuffle(sent)
            # Two devices upload the messages at once.
            devices = [Device(service), Device(service)]
            for device in devices:
                await device.open(event_id)
            while sent:
                device, size = chance.choice(devices), chance.randrange(1, 12)
                await device.send(upload=pb.Upload(scans=sent[:size]))
                sent = sent[size:]
            for device in devices:
                await device.call.done_writing()
                while (message := await device.receive()) is not grpc.aio.EOF:
                    assert not message.uploaded.rejected
            expected = expected or state(database)
            assert state(database) == expected
