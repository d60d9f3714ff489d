from tests.selling.rows import NOW
from ticket_service.domain.incidents import Incident, divide_by_event
from ticketing.chassis.ids import new_id


def test_incidents_of_unknown_events_have_no_organizer():
    known, unknown = new_id(), new_id()
    first, second, other = (
        Incident(event, new_id(), "DOUBLE_ADMISSION", None, NOW, 2, "") for event in (known, known, unknown)
    )
    here, elsewhere = divide_by_event([first, other, second], {known})
    assert here == {(known, first.incident_id): first, (known, second.incident_id): second}
    assert elsewhere == [other]
