from pathlib import Path

import pytest

from ticket_service.domain.page_design import PageDesign, Paper, design_faults, design_of, ink_on, logo_of

DEFAULT = PageDesign(Paper.LETTER, "#102030", "house.png", Path("/logos"), "Default")


def linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def test_an_event_changes_the_fields_that_it_names():
    own = {"paper": "PHONE", "color": "#FFaa00", "terms": "Mine"}
    assert design_of({"ticket_page": own}, DEFAULT) == PageDesign(
        Paper.PHONE, "#FFaa00", "house.png", Path("/logos"), "Mine"
    )
    assert design_of({"ticket_page": {"logo": ""}}, DEFAULT).logo == ""
    assert design_of({"other": 1}, DEFAULT) == DEFAULT


@pytest.mark.parametrize("own", [None, "A4", 5, [], {"paper": "A0"}, {"logos": "/etc"}, {"terms": "x" * 301}])
def test_wrong_metadata_of_old_events_change_nothing(own):
    assert design_of({"ticket_page": own}, DEFAULT) == DEFAULT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("paper", "a4"),
        ("color", "red"),
        ("color", "#12345"),
        ("color", "#1234567"),
        ("color", "#12345g\n"),
        ("logo", "../secret.png"),
        ("logo", "/etc/x.png"),
        ("logo", "a/b.png"),
        ("logo", ".png"),
        ("logo", "https://x.example/a.png"),
        ("logo", "a.svg"),
        ("logo", "a.png\n"),
        ("terms", "x" * 301),
        ("terms", None),
        ("logos", "/etc"),
    ],
)
def test_each_wrong_field_is_named(field, value):
    assert [name for name, _ in design_faults({field: value})] == [field]
    assert logo_of({"ticket_page": {field: value}}) == ""


def test_a_design_that_is_no_object_is_named_itself():
    assert list(design_faults("A4")) == [("", "is not an object")]


def test_ink_is_readable_on_every_colour_on_screen_and_in_grey():
    for number in range(0, 256**3, 40_009):
        color = f"#{number:06x}"
        red, green, blue = (channel / 255 for channel in bytes.fromhex(color[1:]))
        screen = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        for light in (screen, linear(0.299 * red + 0.587 * green + 0.114 * blue)):
            contrast = 1.05 / (light + 0.05) if ink_on(color) == "#ffffff" else (light + 0.05) / 0.05
            assert contrast > 3.3, color


@pytest.mark.parametrize("logo", ["house.png", "a.JPG", "_1-b.c.jpeg", "x" * 100 + ".png"])
def test_a_logo_is_the_name_of_a_picture(logo):
    assert list(design_faults({"logo": logo})) == []
    assert logo_of({"ticket_page": {"logo": logo}}) == logo


@pytest.mark.parametrize("metadata", [None, "house.png", [], {}, {"ticket_page": {"color": "#000000"}}])
def test_an_event_without_a_logo_has_none(metadata):
    assert logo_of(metadata) == ""


def test_terms_have_at_most_300_characters():
    assert list(design_faults({"terms": "x" * 300})) == []
    assert list(design_faults({"terms": "x" * 301})) == [("terms", "has more than 300 characters")]


def test_an_unknown_field_is_named_in_its_first_50_characters():
    [(name, fault)] = design_faults({"x" * 51: 1})
    assert (name, fault) == ("x" * 50, "is unknown; the fields are paper, color, logo, terms")


def test_a_paper_of_the_metadata_is_one_of_the_known_sizes():
    assert design_of({"ticket_page": {"paper": "PHONE"}}, DEFAULT).paper is Paper.PHONE


@pytest.mark.parametrize(
    ("color", "ink"),
    [
        ("#000000", "#ffffff"),
        ("#ffffff", "#000000"),
        # The contrasts of black and of white are nearly equal on these greys.
        ("#757575", "#ffffff"),
        ("#767676", "#000000"),
        # On a screen black has the higher contrast on red; in a grey print red is dark.
        ("#ff0000", "#ffffff"),
        ("#0000ff", "#ffffff"),
        ("#00ff00", "#000000"),
        ("#ffff00", "#000000"),
    ],
)
def test_ink_is_black_or_white_by_the_higher_contrast(color, ink):
    assert ink_on(color) == ink
