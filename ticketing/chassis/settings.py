"""Settings from environment variables, read once; one message names all faults."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)
MAX_PORT = 65_535


class SettingsError(Exception):
    """One or more settings are missing or invalid; the message names each of them."""


class Environment:
    """A reader of settings that collects their faults; call `check()` after the last one."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._faults: list[str] = []

    def check(self) -> None:
        """Raise SettingsError if any setting has a fault."""
        if self._faults:
            raise SettingsError("these settings are wrong:\n" + "\n".join(f"  {fault}" for fault in self._faults))

    def fault(self, name: str, description: str) -> None:
        """Record a fault of the setting `name`."""
        self._faults.append(f"{name} {description}")

    def text(self, name: str, default: str | None = None, *, min_length: int = 0) -> str:
        """Read a text of at least `min_length` characters; required if there is no default."""
        value = self._variables.get(name, "").strip()
        if not value:
            if default is None:
                self.fault(name, "is required and not set")
            return default or ""
        if len(value) < min_length:
            self.fault(name, f"is shorter than {min_length} characters")
        return value

    def optional(self, name: str) -> str | None:
        """Read a text; None if it is not set."""
        return self._variables.get(name, "").strip() or None

    def choice(self, name: str, default: str, choices: Sequence[str]) -> str:
        """Read one of `choices`."""
        value = self.text(name, default)
        if value not in choices:
            self.fault(name, f"is {value!r}; it can be {', '.join(choices)}")
            return default
        return value

    def port(self, name: str, default: int) -> int:
        """Read a TCP port; 0 lets the system choose."""
        return self.number(name, default, minimum=0, maximum=MAX_PORT)

    def number(self, name: str, default: int, *, minimum: int, maximum: int) -> int:
        """Read a whole number within bounds."""
        return self._parsed(name, default, (minimum, maximum), int)

    def seconds(self, name: str, default: float, *, minimum: float, maximum: float) -> float:
        """Read a duration in seconds within bounds."""
        return self._parsed(name, default, (minimum, maximum), float)

    def path(self, name: str, default: str | None = None) -> Path:
        """Read a path."""
        return Path(self.text(name, default)).expanduser()

    def optional_path(self, name: str) -> Path | None:
        """Read a path; None if it is not set."""
        text = self.optional(name)
        return None if text is None else Path(text).expanduser()

    def flag(self, name: str) -> bool:
        """Read `yes` or `no`; the default is no."""
        return self.choice(name, "no", ("yes", "no")) == "yes"

    def _parsed(self, name: str, default: N, bounds: tuple[N, N], parse: Callable[[str], N]) -> N:
        value = self._variables.get(name, "").strip()
        if not value:
            return default
        try:
            parsed = parse(value)
        except ValueError:
            self.fault(name, f"is {value!r}, not a {'whole ' if parse is int else ''}number")
            return default
        # NaN fails this comparison, as it should.
        if not bounds[0] <= parsed <= bounds[1]:
            self.fault(name, f"is {value}, not within {bounds[0]} and {bounds[1]}")
            return default
        return parsed
