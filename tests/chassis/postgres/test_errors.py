import pytest

from ticketing.chassis.postgres import EmbeddedPostgresError


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("could not write: No space left on device", "free some space"),
        ("could not write: Disk quota exceeded", "free some space"),
        ("[Errno 13] Permission denied: 'x'", "choose another data directory"),
        ("[Errno 30] Read-only file system: 'x'", "can be written to"),
    ],
)
def test_a_known_cause_comes_with_advice_once(text, advice):
    message = str(EmbeddedPostgresError(text))
    assert message.startswith(text + "\n")
    assert advice in message
    assert str(EmbeddedPostgresError(message)) == message


def test_an_unknown_cause_comes_without_advice():
    assert str(EmbeddedPostgresError("something else")) == "something else"
