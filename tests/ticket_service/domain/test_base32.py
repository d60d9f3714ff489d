import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticket_service.domain.base32 import base32


@given(st.binary(max_size=160))
def test_bytes_are_encoded_as_rfc_4648_says(data: bytes):
    assert base32(data) == base64.b32encode(data).decode().rstrip("=")


@pytest.mark.parametrize("size", range(161))
def test_every_length_has_its_digits(size: int):
    assert base32(b"\xff" * size) == base64.b32encode(b"\xff" * size).decode().rstrip("=")


def test_more_bytes_than_fit_are_refused():
    with pytest.raises(ValueError, match="161 bytes"):
        base32(bytes(161))
