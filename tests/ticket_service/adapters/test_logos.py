import pytest
from PIL import Image

from ticket_service.adapters.logos import logo_fault


def test_png_and_jpeg_are_printed(tmp_path):
    for name in ("a.png", "b.jpg", "c.jpeg"):
        Image.new("RGB", (40, 20), "red").save(tmp_path / name)
        assert logo_fault(tmp_path, name) is None


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "is not a file"),
        (b"", "is not a PNG or JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>", "is not a PNG or JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is not a PNG or JPEG"),
        (b"\0" * 600_000, "has more than 524288 bytes"),
    ],
)
def test_other_files_have_a_fault(tmp_path, content, fault):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    assert fault in str(logo_fault(tmp_path, "a.png"))


def test_a_huge_picture_in_a_small_file_is_refused(tmp_path):
    for side in (2_100, 30_000):
        Image.new("1", (side, side)).save(tmp_path / f"{side}.png")
        assert "pixels" in str(logo_fault(tmp_path, f"{side}.png")) or "not a PNG" in str(
            logo_fault(tmp_path, f"{side}.png")
        )


def test_a_truncated_picture_is_refused(tmp_path):
    Image.effect_noise((300, 300), 50).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    assert logo_fault(tmp_path, "a.png") == "is not a PNG or JPEG picture"


def test_a_replaced_file_is_looked_at_again(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert logo_fault(tmp_path, "a.png") is not None
    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    assert logo_fault(tmp_path, "a.png") is None


def test_without_a_folder_there_is_no_logo():
    assert "no folder" in str(logo_fault(None, "a.png"))
