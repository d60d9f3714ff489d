import pytest

from ticketing.chassis.postgres.errors import with_advice


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("could not write: No space left on device", "free some space"),
        ("could not write: Disk quota exceeded", "free some space"),
        ("[Errno 13] Permission denied: 'x'", "choose another data directory"),
        ("[Errno 30] Read-only file system: 'x'", "can be written to"),
    ],
)
def test_a_known_cause_comes_with_what_to_do(text, advice):
    assert with_advice(text).startswith(text + "\n")
    assert advice in with_advice(text)


def test_an_unknown_cause_comes_as_it_is():
    assert with_advice("something else") == "something else"
