"""Sweep the due work of each payment provider alone, so that a provider that hangs delays no work of another."""

from dataclasses import dataclass
from typing import Protocol


class ProviderWork(Protocol):
    """Due work that needs payment providers."""

    async def sweep(self, provider: str) -> bool:
        """Complete due work of one configured provider; return whether more may be due at once."""

    async def sweep_unconfigured(self) -> bool:
        """Handle due work of providers that are not configured; return whether more may be due at once."""


@dataclass(frozen=True, slots=True)
class ProviderSweep:
    """The due work of one configured provider."""

    work: ProviderWork
    provider: str

    async def sweep(self) -> bool:
        """Complete a part of the work; return whether more may be due at once."""
        return await self.work.sweep(self.provider)


@dataclass(frozen=True, slots=True)
class UnconfiguredSweep:
    """The due work of providers that are not configured."""

    work: ProviderWork

    async def sweep(self) -> bool:
        """Handle a part of the work; return whether more may be due at once."""
        return await self.work.sweep_unconfigured()
