import pytest
from email_validator import validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from ticket_service.convert import addresses
from ticket_service.convert.addresses import address_of_claim, mailbox, normalised

GOOD = {
    "bob@example.com": "bob@example.com",
    "Bob.Builder+tag@EXAMPLE.com": "Bob.Builder+tag@example.com",
    "o'neil@example.co.uk": "o'neil@example.co.uk",
    "bob@münchen.de": "bob@münchen.de",
    "bob@xn--mnchen-3ya.de": "bob@münchen.de",
    "bób@example.com": "bób@example.com",
    # A decomposed letter is stored composed.
    "bo\u0301b@example.com": "bób@example.com",
}
BAD = [
    "bob",
    "bob@",
    "@example.com",
    "bob@example",
    "bob@example.com.",
    "bob@example..com",
    ".bob@example.com",
    "bob.@example.com",
    "b..b@example.com",
    "<bob@example.com>",
    "Bob <bob@example.com>",
    "\ufeffbob@example.com",
    "bob\u200b@example.com",
    "bob\u202e@example.com",
    "bob @example.com",
    "bob@example.com ",
    "bob@example.com\n",
    "bob\r\nBcc:eve@example.com",
    "bo\x01b@example.com",
    '"bob"@example.com',
    "bob@example.com,eve@example.com",
    "bob@[192.0.2.1]",
    "bob@192.0.2.1",
    "bob@-example.com",
    "bob@exam_ple.com",
    "bob@localhost",
    "a" * 65 + "@example.com",
    "bob@" + "a" * 64 + ".com",
    "bob@" + "a." * 125 + "com",
]


@pytest.mark.parametrize(("address", "stored"), GOOD.items())
def test_an_address_is_stored_in_one_form(address: str, stored: str):
    assert normalised(address) == stored


@pytest.mark.parametrize("address", BAD)
def test_an_address_without_mail_is_refused(address: str):
    assert normalised(address) is None


@settings(deadline=None)
@given(st.from_regex(addresses.PLAIN, fullmatch=True))
def test_plain_addresses_are_those_the_library_keeps(address: str):
    assert validate_email(address, check_deliverability=False, strict=True).normalized == address


def test_a_bad_address_in_a_token_counts_as_none():
    assert address_of_claim("<bob@example.com>", smtputf8=True) == ""
    assert address_of_claim("bob@example.com", smtputf8=True) == "bob@example.com"


@pytest.mark.parametrize(
    ("address", "sent"),
    [
        ("bob@münchen.de", "bob@xn--mnchen-3ya.de"),
        ("jörg@münchen.de", "jörg@xn--mnchen-3ya.de"),
        ("bob@bücher.中国", "bob@xn--bcher-kva.xn--fiqs8s"),
        ("alice@example.com", "alice@example.com"),
        # Stored unchecked by an older version, or the host of a local network.
        ("tickets@mail", "tickets@mail"),
        ("bob@[192.0.2.1]", "bob@[192.0.2.1]"),
        ("not an address", None),
        ("a@b@c", None),
        ("", None),
        ("ü", None),
    ],
)
def test_mail_servers_get_domains_in_a_labels(address, sent):
    assert mailbox(address) == sent


def test_a_local_part_that_is_not_ascii_needs_a_server_that_takes_it():
    assert normalised("jörg@example.com") == "jörg@example.com"
    assert normalised("jörg@example.com", smtputf8=False) is None
    assert normalised("bob@münchen.de", smtputf8=False) == "bob@münchen.de"
