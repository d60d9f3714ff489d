import io

import pytest
from nacl.signing import SigningKey
from PIL import Image

from tests.environment.qr_codes import read_qr_codes
from ticket_service.adapters.rendering import PIXELS_PER_MODULE, QUIET_ZONE, png, qr_modules, svg
from ticket_service.domain.events import TicketType
from ticket_service.domain.tokens import Signer
from ticketing.chassis.ids import new_id

VERSION_7_MODULES = 45


def make_token() -> str:
    return Signer(1, SigningKey.generate()).token(new_id(), new_id(), TicketType.STANDARD, 1)


def test_token_fits_a_version_7_code():
    assert len(qr_modules(make_token())) == VERSION_7_MODULES + 2 * QUIET_ZONE


@pytest.mark.parametrize("_", range(20))
def test_png_decodes_to_the_token(_):
    token = make_token()
    assert read_qr_codes(png(token)) == [token]


def test_png_has_the_size_for_phones_and_mails():
    picture = png(make_token())
    side = (VERSION_7_MODULES + 2 * QUIET_ZONE) * PIXELS_PER_MODULE
    assert Image.open(io.BytesIO(picture)).size == (side, side)
    assert len(picture) < 4_000


def test_svg_draws_the_same_modules():
    token = make_token()
    modules = qr_modules(token)
    drawn = [[False] * len(modules) for _ in modules]
    path = svg(token).decode().split('d="')[-1].split('"')[0]
    for run in path.removesuffix("z").split("z"):
        place, length = run.removeprefix("M").split("h")[:2]
        column, row = map(int, place.split())
        for offset in range(int(length.removesuffix("v1"))):
            drawn[row][column + offset] = True
    assert drawn == [list(map(bool, row)) for row in modules]
