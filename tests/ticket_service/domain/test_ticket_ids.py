import hashlib
from uuid import RFC_4122, UUID

import pytest

from ticket_service.domain.ticket_ids import MAX_TICKETS, number_in_purchase, ticket_ids_of
from ticketing.chassis.ids import new_id


def test_ids_are_version_7_unique_and_ascending():
    ids = ticket_ids_of(new_id(), MAX_TICKETS, new_id())
    assert len(set(ids)) == MAX_TICKETS
    assert list(ids) == sorted(ids)
    assert {(one.version, one.variant) for one in ids} == {(7, RFC_4122)}


def test_a_ticket_shows_its_number_in_its_purchase_alone():
    purchase_id, begin = new_id(), new_id()
    ids = ticket_ids_of(purchase_id, 4, begin)
    assert [number_in_purchase(one, purchase_id) for one in ids] == [0, 1, 2, 3]
    assert [number_in_purchase(one, new_id()) for one in (*ids, new_id())] == [None] * 5


def test_one_ticket_gives_the_ids_of_all():
    purchase_id = new_id()
    ids = ticket_ids_of(purchase_id, 3, new_id())
    assert ticket_ids_of(purchase_id, 3, ids[2]) == ids


def test_more_tickets_than_numbers_are_refused():
    with pytest.raises(ValueError, match="at most"):
        ticket_ids_of(new_id(), MAX_TICKETS + 1, new_id())


def test_the_ids_of_a_purchase_never_change():
    # Tickets sold before a restore are assigned to their purchases by these ids.
    purchase_id, begin = UUID(int=7), UUID("0197a2b0-1111-7000-8000-00000000000a")
    digest = hashlib.sha256(b"ticket of purchase\0" + bytes(15) + b"\x07" + b"\0\x02").hexdigest()
    last = ticket_ids_of(purchase_id, 3, begin)[2]
    # The digest gives its first 62 bits, after the two of the variant.
    assert str(last).startswith("0197a2b0-1111-7002-")
    assert last.int & (1 << 62) - 1 == int(digest[:16], 16) >> 2
