import pytest

from ticketing.chassis.failures import INVALID_ARGUMENT, Failure
from ticketing.chassis.paging import MAX_TOKEN_CHARACTERS, page_position, page_size, page_token

FILTER = ("alice", "PUBLISHED", None)


def test_a_token_contains_its_position() -> None:
    token = page_token(["2026-01-01", "id"], FILTER)
    assert page_position(token, FILTER, parts=2) == ["2026-01-01", "id"]


def test_no_token_means_the_first_page() -> None:
    assert page_position("", FILTER, parts=2) is None


@pytest.mark.parametrize(
    "token",
    [
        page_token(["a", "b"], ("bob", "PUBLISHED", None)),
        page_token(["only one"], FILTER),
        page_token(["a", "b"], FILTER)[:-4],
        page_token(["a", "b"], FILTER) + "AAAA",
        "A",
        "not base64 at all ✗",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "A" * (MAX_TOKEN_CHARACTERS + 1),
    ],
)
def test_a_token_of_another_filter_or_a_forged_one_is_refused(token: str) -> None:
    with pytest.raises(Failure) as caught:
        page_position(token, FILTER, parts=2)
    assert caught.value.reason == INVALID_ARGUMENT
    assert caught.value.violations[0].field == "page_token"


@pytest.mark.parametrize(("requested", "effective"), [(0, 25), (1, 1), (100, 100), (5000, 100)])
def test_page_sizes_have_a_default_and_a_maximum(requested: int, effective: int) -> None:
    assert page_size(requested) == effective


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(Failure, match="page_size"):
        page_size(-1)
