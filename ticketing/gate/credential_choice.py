"""The choice of the credentials in a read: the keyboard layout under which a signature verifies is the right one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ticketing.admission.scanned_text import readings
from ticketing.admission.tokens import PublicKey, Token, read_token

# The words in a text without a blank that has this length are a token that was read with a mistake.
GARBLED_LENGTH: Final = 150


@dataclass(frozen=True, slots=True)
class Choice:
    """The texts to scan, one after the other."""

    texts: Sequence[str]
    # The read looks like a token, and no known layout makes its signature verify.
    is_garbled: bool = False


def choose_credentials(text: str, event_id: UUID, keys: Mapping[int, PublicKey]) -> Choice:
    """Choose among the readings of a scanned text; a text without a credential is chosen as it is."""
    candidates = list(readings(text))
    # The identity of a layout is found by signature, then by the event; a garbled token names another event.
    ranked = sorted(candidates, key=lambda texts: _rank(texts, event_id, keys))
    if not ranked:
        return Choice([text], is_garbled=any(len(word) >= GARBLED_LENGTH for word in text.split()))
    tokens = _tokens(ranked[0])
    known = [token for token in tokens if token.key_id in keys]
    return Choice(ranked[0], is_garbled=bool(known) and not any(_verifies(token, keys) for token in known))


def _rank(texts: Sequence[str], event_id: UUID, keys: Mapping[int, PublicKey]) -> int:
    tokens = _tokens(texts)
    if any(_verifies(token, keys) for token in tokens):
        return 0
    if any(token.event_id == event_id for token in tokens):
        return 1
    return 2 if tokens else 3


def _tokens(texts: Sequence[str]) -> Sequence[Token]:
    return [token for text in texts if isinstance(token := read_token(text), Token)]


def _verifies(token: Token, keys: Mapping[int, PublicKey]) -> bool:
    key = keys.get(token.key_id)
    return key is not None and token.verifies(key.key)
