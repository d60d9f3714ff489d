"""The decorator of the data that one scan makes."""

from typing import TYPE_CHECKING

__all__ = ["record"]

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen, slots):  # noqa: ANN001, ANN201 - the type checker sees `dataclass` instead
        """Make a dataclass that only the type checker keeps frozen: its construction takes a third of the time."""
        return dataclass(slots=slots, unsafe_hash=frozen)
