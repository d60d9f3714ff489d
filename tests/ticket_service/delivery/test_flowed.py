import pytest

from ticket_service.delivery.flowed import WIDTH, columns, flowed

LATIN = (
    "Thank you for your order. Show the code of each ticket at the gate, on your phone or printed, and be there early."
)
JAPANESE = (
    "ご注文ありがとうございます。各チケットのコードを、スマートフォンの画面または印刷した紙で入口にてご提示ください。"
)


def joined(text: str) -> str:
    """Join lines as RFC 3676 says, with DelSp=yes."""
    lines, current = [], ""
    for line in text.split("\n"):
        content = line.removeprefix(" ")
        if content.endswith(" "):
            current += content[:-1]
        else:
            lines.append(current + content)
            current = ""
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        LATIN,
        JAPANESE,
        f"{LATIN}\n\n{JAPANESE}\nshort\n",
        f"{LATIN} {JAPANESE} {LATIN}",
        "> not a quotation\nFrom here on\n  indented " + LATIN,
        "x" * 200 + " " + "日本" * 100,
        "שלום " * 40 + "end",
        "",
    ],
)
def test_lines_are_short_and_join_to_the_same_text(text):
    lines = flowed(text).split("\n")
    assert joined(flowed(text)) == text
    assert all(columns(line) <= WIDTH + 3 or " " not in line.strip() for line in lines)
    assert not any(line.startswith((">", "From ")) for line in lines)


def test_a_wide_character_takes_two_columns_and_a_mark_none():
    assert (columns("abc"), columns("日本"), columns("e\u0301\u200d")) == (3, 4, 1)


def test_no_line_begins_with_a_closing_mark():
    assert not any(line[0] in "。、」" for line in flowed(JAPANESE * 5).split("\n"))
