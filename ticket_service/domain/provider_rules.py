"""Decide which prices a payment provider can charge, and which amounts it can refund."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from ticket_service.domain.events import Event
from ticket_service.domain.reasons import Reason
from ticketing.chassis.failures import Failure, FieldViolation, invalid_fields


@dataclass(frozen=True, slots=True)
class CurrencyRule:
    """The amounts of one currency that a provider charges, in minor units; it refunds multiples of `step`."""

    step: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """The amounts that a provider charges and refunds."""

    # The provider charges no other currency.
    currencies: Mapping[str, CurrencyRule]

    def find_fault(self, currency: str, price: int, quantity: int = 1) -> tuple[str, str] | None:
        """Return the field of Money at fault and why the provider cannot charge a price; None if it can.

        `quantity` is the smallest number of tickets in one purchase: only their sum must reach the minimum.
        """
        rule = self.currencies.get(currency)
        if rule is None:
            return "currency_code", "it does not charge this currency"
        if price % rule.step:
            return "minor_units", f"in {currency} it charges multiples of {rule.step}"
        if price * quantity < rule.minimum:
            return "minor_units", f"in {currency} it charges {rule.minimum} or more"
        if price * quantity > rule.maximum:
            return "minor_units", f"in {currency} it charges {rule.maximum} or less"
        return None

    def step(self, currency: str) -> int:
        """Return the number of which every refund is a multiple."""
        rule = self.currencies.get(currency)
        return 1 if rule is None else rule.step

    def refundable(self, currency: str, amount: int, paid: int) -> int:
        """Round an amount up to one that the provider refunds, but to no more than was paid.

        An amount that the provider cannot refund at all is returned unchanged: the provider then refuses the refund.
        """
        step = self.step(currency)
        return min(-(-amount // step) * step, paid // step * step) or amount


# The rules of several providers, by name.
RulesByProvider = Mapping[str, ProviderRules]


@dataclass(frozen=True, slots=True)
class PriceFault:
    """A price of an event that a provider cannot charge."""

    # The path in the event, such as `offers[0].price.minor_units`.
    path: str
    provider: str
    why: str

    @property
    def description(self) -> str:
        """Return the fault as text."""
        return f"{self.provider} cannot charge this price: {self.why}"


def check_prices(wanted: Event, before: Event | None, rules: RulesByProvider) -> None:
    """Raise INVALID_ARGUMENT if a provider cannot charge a price of `wanted` that `before` does not have."""
    known = set() if before is None else {(before.currency, *price) for _, *price in _prices(before)}
    violations = [
        FieldViolation(f"event.{fault.path}", fault.description)
        for path, price, quantity in _prices(wanted)
        if (wanted.currency, price, quantity) not in known
        for fault in _faults(path, wanted.currency, (price, quantity), rules)
    ]
    if violations:
        raise invalid_fields(violations)


def check_publication(event: Event, rules: RulesByProvider) -> None:
    """Raise PRICE_NOT_CHARGEABLE if a provider cannot charge a price of an event that is about to go on sale.

    A provider may have been configured after the price was set.
    """
    for path, price, quantity in _prices(event):
        for fault in _faults(path, event.currency, (price, quantity), rules):
            raise _not_chargeable(event.event_id, fault)


def _prices(event: Event) -> Iterator[tuple[str, int, int]]:
    """Yield the path of each price that is not 0, the price, and the smallest number of tickets in one purchase."""
    if event.ticket_price:
        yield "ticket_price", event.ticket_price, 1
    for index, offer in enumerate(event.offers):
        if offer.price:
            yield f"offers[{index}].price", offer.price, offer.min_per_purchase


def _faults(path: str, currency: str, least: tuple[int, int], rules: RulesByProvider) -> Iterator[PriceFault]:
    for provider, its in rules.items():
        fault = its.find_fault(currency, *least)
        if fault is not None:
            field, why = fault
            yield PriceFault(f"{path}.{field}", provider, why)


def _not_chargeable(event_id: UUID, fault: PriceFault) -> Failure:
    message = f"{fault.path}: {fault.description}"
    return Failure(Reason.PRICE_NOT_CHARGEABLE, message, event_id=event_id, field=fault.path, provider=fault.provider)
