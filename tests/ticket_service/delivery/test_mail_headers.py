"""Headers of mails, read by Python's two parsers and by a decoder that is written from RFC 2047."""

import base64
import email
import email.policy
import re
from email.header import decode_header, make_header
from email.message import EmailMessage

import pytest

from ticket_service.delivery.mail_headers import MailPolicy, encoded_words, mailbox_header, text_header

NAMES = (
    "Gäste ü der Nacht",
    "Концерт в Москве",
    "Συναυλία στην Αθήνα",
    "קונצרט בתל אביב",
    "حفلة موسيقية في القاهرة",
    "दिल्ली में संगीत कार्यक्रम",
    "คอนเสิร์ตในกรุงเทพ",
    "東京フィルハーモニー交響楽団",
    "서울 재즈 페스티벌",
    "👩\u200d👩\u200d👧 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "ᠮᠣᠩᠭᠣᠯ",
    "=?utf-8?q?no_word?= of ours",
    "plain",
    "x" * 150,
    'a, b; <c> "d" \\e\\ (f) @ g',
)
SUBJECTS = [
    start + " ".join([name] * count)
    for name in NAMES
    for count in (1, 2, 7)
    for start in ("", "Your tickets for ", "Ihre Tickets für ", "x" * 60 + " ")
]
WORD = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/]*={0,2})\?=")


def headers_of(message: EmailMessage) -> dict[str, str]:
    """Return the unfolded headers as they are sent, after a check of their lines."""
    lines = message.as_bytes().split(b"\r\n\r\n", 1)[0].decode().split("\r\n")
    assert all(len(line) <= 76 for line in lines if "=?" in line)
    assert all(len(line.encode()) <= 998 for line in lines)
    return dict(line.split(": ", 1) for line in re.sub(r"\n ", " ", "\n".join(lines)).split("\n"))


def decoded(value: str) -> str:
    """Decode a header by RFC 2047: the space between two encoded words is not a part of the text."""
    words = WORD.findall(value)
    assert all(len(f"=?utf-8?b?{word}?=") <= 75 for word in words)
    if not words:
        return value
    # Each word decodes by itself: no character is split.
    texts = [base64.b64decode(word, validate=True).decode() for word in words]
    assert WORD.sub("", value).strip() == ""
    return "".join(texts)


@pytest.mark.parametrize("part", range(6))
def test_every_reader_finds_the_subject(part):
    for subject in SUBJECTS[part::6]:
        message = EmailMessage(policy=MailPolicy())
        message["Subject"] = text_header("Subject", subject)
        message.set_content("Hello")
        sent = headers_of(message)["Subject"]
        assert decoded(sent) == subject
        assert str(make_header(decode_header(sent))) == subject
        assert email.message_from_bytes(message.as_bytes(), policy=email.policy.default)["subject"] == subject


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_finds_the_name_of_the_sender(name):
    message = EmailMessage(policy=MailPolicy())
    message["From"] = mailbox_header("From", name, "tickets@xn--mnchen-3ya.de")
    message.set_content("Hello")
    sent = headers_of(message)["From"]
    if "=?" in sent:
        assert decoded(sent.rpartition(" <")[0]) == name
    [sender] = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)["from"].addresses
    assert sender.addr_spec == "tickets@xn--mnchen-3ya.de"
    if sent.count("=?") < 2:
        # This parser puts a space between the encoded words of a phrase, unlike RFC 2047.
        assert sender.display_name == name


def test_no_encoded_word_exceeds_75_octets_wherever_the_text_begins():
    for first in range(20, 76):
        words = encoded_words("日本ü" * 40, first)
        assert len(words[0]) <= first
        assert max(map(len, words)) <= 75
        assert "".join(map(decoded, words)) == "日本ü" * 40


def test_content_needs_no_8_bit_server():
    message = EmailMessage(policy=MailPolicy())
    message["To"] = mailbox_header("To", "", "alice@example.com")
    message.set_content("Grüße aus 東京\n")
    assert message.as_bytes().isascii()
    parsed = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)
    assert parsed.get_content().splitlines() == ["Grüße aus 東京"]


@pytest.mark.parametrize("text", ["Concert\r\nBcc: all@example.com", "Concert\x00\x07\x7f", "Gäste\r\nBcc: x"])
def test_no_text_begins_another_header(text):
    for value in (text_header("Subject", text), mailbox_header("From", text, "tickets@example.com")):
        assert not re.search("[\\x00-\\x1f\\x7f-\\x9f]", value.replace("\r\n =?", "").replace("\r\n <", ""))
