"""Both services implement codes and tokens, because neither imports the other: the formats must be the same."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ticket_service.domain.codes import Codes as TicketCodes
from ticket_service.domain.codes import read_code as read_typed_code
from ticket_service.domain.events import TicketType
from ticket_service.domain.tokens import Signer, token_digest
from ticketing.admission.codes import Codes as ScanCodes
from ticketing.admission.codes import read_code
from ticketing.admission.tokens import DAMAGED, Token, read_token
from ticketing.tickets.v1 import ticket_feed_service_pb2 as feed_pb

SECRET = "a-secret-that-both-services-share-0123"
ISSUES = st.integers(min_value=1, max_value=2**31 - 1)


# The additions of people to a code, and the digits that they mistake for each other.
SEPARATORS = ["", "", "", " ", "-", "\N{EN DASH}", "\N{NO-BREAK SPACE}", "\N{ZERO WIDTH SPACE}", "  ", "\t"]
MISREAD = str.maketrans("01", "OL")


@given(st.uuids(), ISSUES)
def test_both_services_derive_the_same_code(ticket_id: UUID, issue: int) -> None:
    issued, expected = TicketCodes(SECRET), ScanCodes(SECRET)
    code = issued.code(ticket_id, issue)
    assert expected.code(ticket_id, issue) == code
    assert expected.digest(code) == issued.digest(code)
    assert read_code(f" {code.lower()}\n") == code


@given(st.uuids(), ISSUES, st.data())
def test_both_services_read_a_code_as_people_type_it(ticket_id: UUID, issue: int, data: st.DataObject) -> None:
    code = TicketCodes(SECRET).code(ticket_id, issue)
    typed = code.removeprefix("TKT-") if data.draw(st.booleans()) else code
    typed = typed.translate(MISREAD) if data.draw(st.booleans()) else typed
    typed = typed.lower() if data.draw(st.booleans()) else typed
    typed = "".join(letter + data.draw(st.sampled_from(SEPARATORS)) for letter in typed[:-1]) + typed[-1]
    assert read_typed_code(typed) == read_code(typed) == code


def test_the_format_of_codes_never_changes() -> None:
    """Printed tickets outlive releases, so these values are constants."""
    ticket_id = UUID("0197a2b0-1111-7000-8000-0123456789ab")
    codes = TicketCodes(SECRET)
    assert codes.code(ticket_id, 1) == "TKT-CDCDFE7DED686F02"
    assert codes.digest("TKT-0123456789ABCDEF").hex() == "fad7ab7c8c81146b4e58bce46d016f82"


@given(st.binary(min_size=32, max_size=32), st.uuids(), st.uuids(), st.sampled_from(TicketType), ISSUES)
def test_a_token_of_one_service_verifies_at_the_other(
    seed: bytes, event_id: UUID, ticket_id: UUID, ticket_type: TicketType, issue: int
) -> None:
    key = SigningKey(seed)
    text = Signer(3, key).token(event_id, ticket_id, ticket_type, issue)
    token = read_token(text)
    assert isinstance(token, Token)
    assert (token.key_id, token.event_id, token.ticket_id, token.issue) == (3, event_id, ticket_id, issue)
    assert str(token.ticket_type) == str(ticket_type)
    assert token.digest == token_digest(text)
    assert token.verifies(key.verify_key)
    assert not token.verifies(SigningKey(bytes(32)).verify_key) or seed == bytes(32)


def test_the_format_of_tokens_never_changes() -> None:
    event_id, ticket_id = UUID(int=1), UUID(int=2)
    text = Signer(1, SigningKey(bytes(range(32)))).token(event_id, ticket_id, TicketType.VIP, 1)
    assert text == (
        "T13AGJ3U4PIWHPVF5C45ISMLKJOSUG7VF4KTITZTUCAQKZRUFTUTLYHRRQKMM6ML5PHYY7JSMGRTWAVMVXKFUNVHBX"
        "LC4OR6RHMP7LWDYIAEJBAAAAAAAAAAAAAAAAAAAAAAAAAAI2CAAAAAAAAAAAAAAAAAAAAAAAAABCAARIAE"
    )


@given(st.integers(min_value=0), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_token_with_one_letter_changed_is_never_genuine(position: int, letter: str) -> None:
    key = SigningKey(bytes(range(32)))
    text = Signer(1, key).token(UUID(int=1), UUID(int=2), TicketType.VIP, 1)
    place = 2 + position % (len(text) - 2)
    changed = text[:place] + letter + text[place + 1 :]
    if changed == text:
        return
    token = read_token(changed)
    assert token is DAMAGED or (isinstance(token, Token) and not token.verifies(key.verify_key))


def test_nested_changes_of_the_previous_version_are_readable() -> None:
    """The previous version nested WatchTicketsResponse in itself; a pair of two versions must understand each other."""
    event, tickets = feed_pb.GateEvent(event_id="e"), [feed_pb.GateTicket(ticket_id="t", revision=7)]
    changes = feed_pb.EventChanges(event=event, tickets=tickets, revision=7)
    nested = feed_pb.WatchTicketsResponse(event=event, tickets=tickets, revision=7)
    assert changes.SerializeToString() == nested.SerializeToString()
    assert feed_pb.EventChanges.FromString(nested.SerializeToString()) == changes
