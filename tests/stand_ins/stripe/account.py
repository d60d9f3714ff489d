"""One account of Stripe: its payments, refunds, disputes and events, and what happens there without the service."""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from tests.stand_ins.stripe.refusals import Json

# The payment methods are named after their outcome.
CARD, DECLINED, SECURE, UNKNOWN = "pm_card", "pm_declined", "pm_3d_secure", "pm_unknown"
# A bank takes days to answer.
PROCESSING: Final = "pm_processing"
API_VERSION: Final = "2024-06-20"
_RETURNED: Final = frozenset({"failed", "canceled"})


@dataclass
class Account:
    """The objects of an account; a test reads them, and calls the methods for what the service does not ask for."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    intents: dict[str, Json] = field(default_factory=dict)
    refunds: list[Json] = field(default_factory=list)
    disputes: dict[str, Json] = field(default_factory=dict)
    # Oldest first, with the object as it was then.
    events: list[Json] = field(default_factory=list)
    # The status of new refunds.
    refund_status: str = "succeeded"

    def charged(self) -> dict[str, int]:
        """Return the captured amount of each purchase."""
        sums: dict[str, int] = defaultdict(int)
        for intent in self.intents.values():
            if intent["status"] == "succeeded":
                sums[_purchase_of(intent)] += intent["amount"]
        return dict(sums)

    def refunded(self) -> dict[str, int]:
        """Return the refunded amount of each purchase, by whomever."""
        sums: dict[str, int] = defaultdict(int)
        for refund in self.refunds:
            if refund["status"] == "succeeded":
                sums[_purchase_of(self.intents[refund["payment_intent"]])] += refund["amount"]
        return dict(sums)

    def disputed(self) -> dict[str, int]:
        """Return the amount of each purchase that its bank has taken back, for the time being or for good."""
        sums: dict[str, int] = defaultdict(int)
        for dispute in self.disputes.values():
            if dispute["status"] != "won":
                sums[_purchase_of(self.intents[dispute["payment_intent"]])] += dispute["amount"]
        return dict(sums)

    def finish(self, payment_id: str, *, succeeds: bool = True) -> None:
        """Confirm or reject a charge as the buyer or their bank does."""
        intent = self.intents[payment_id]
        assert intent["status"] in {"requires_action", "processing"}
        if succeeds:
            self.capture(payment_id)
            return
        error = {"type": "card_error", "code": "payment_intent_authentication_failure"}
        intent |= {"status": "requires_payment_method", "last_payment_error": error}
        self.record("charge.failed", self.charge_of(intent))
        self.record("payment_intent.payment_failed", intent)

    def capture(self, payment_id: str) -> None:
        """Capture a charge in whatever status, behind the back of the service."""
        intent = self.intents[payment_id]
        assert intent["status"] != "succeeded"
        intent |= {"status": "succeeded", "last_payment_error": None}
        self.record("charge.succeeded", self.charge_of(intent))
        self.record("payment_intent.succeeded", intent)

    def new_intent(self, amount: int, currency: str, payment_method: str, metadata: dict[str, str]) -> Json:
        """Create an unconfirmed charge; without our metadata, a program or a person other than the service made it."""
        payment_id = f"pi_{uuid.uuid4().hex}"
        self.intents[payment_id] = {
            "id": payment_id,
            "object": "payment_intent",
            "created": self.now(),
            "amount": amount,
            "currency": currency,
            "payment_method": payment_method,
            "status": "requires_confirmation",
            "client_secret": f"{payment_id}_secret",
            "last_payment_error": None,
            "livemode": False,
            "metadata": metadata,
        }
        self.record("payment_intent.created", self.intents[payment_id])
        return self.intents[payment_id]

    def new_refund(self, payment_id: str, amount: int, metadata: dict[str, str]) -> Json:
        """Refund a charge in part; without our metadata, a person refunds it in the dashboard."""
        intent = self.intents[payment_id]
        refund = {
            "id": f"re_{uuid.uuid4().hex}",
            "object": "refund",
            "created": self.now(),
            "amount": amount,
            "charge": self.charge_of(intent)["id"],
            "currency": intent["currency"],
            "payment_intent": payment_id,
            "reason": None,
            "status": self.refund_status,
            "metadata": metadata,
        }
        self.refunds.append(refund)
        self.record("refund.created", refund)
        self.record("charge.refunded", self.charge_of(intent))
        return refund

    def refund_in_dashboard(self, payment_id: str, amount: int | None = None) -> Json:
        """Refund a charge as a person does in the dashboard; None refunds what is left of it."""
        left = self.refundable(payment_id)
        assert amount is None or amount <= left
        return self.new_refund(payment_id, left if amount is None else amount, {})

    def settle_refund(self, refund_id: str, status: str, failure_reason: str | None = None) -> None:
        """End a refund, or let a succeeded one fail later, as banks do: `succeeded`, `failed` or `canceled`."""
        refund = self.find_refund(refund_id)
        assert refund is not None
        refund["status"] = status
        if status in _RETURNED:
            refund["failure_reason"] = failure_reason or "unknown"
        for kind in ("charge.refund.updated", "refund.failed" if status == "failed" else "refund.updated"):
            self.record(kind, refund)

    def dispute(self, payment_id: str, amount: int | None = None, reason: str = "fraudulent") -> Json:
        """Take a charge back, as the buyer's bank does; None takes all of it."""
        intent = self.intents[payment_id]
        assert intent["status"] == "succeeded"
        dispute = {
            "id": f"dp_{uuid.uuid4().hex}",
            "object": "dispute",
            "created": self.now(),
            "amount": intent["amount"] if amount is None else amount,
            "charge": self.charge_of(intent)["id"],
            "currency": intent["currency"],
            "payment_intent": payment_id,
            "is_charge_refundable": False,
            "livemode": False,
            "reason": reason,
            "status": "needs_response",
            "metadata": {},
        }
        self.disputes[str(dispute["id"])] = dispute
        self.record("charge.dispute.created", dispute)
        self.record("charge.dispute.funds_withdrawn", dispute)
        return dispute

    def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        """Decide a dispute; if it is won, the money comes back."""
        dispute = self.disputes[dispute_id]
        dispute["status"] = "won" if won else "lost"
        dispute["is_charge_refundable"] = won
        if won:
            self.record("charge.dispute.funds_reinstated", dispute)
        self.record("charge.dispute.closed", dispute)

    def refundable(self, payment_id: str) -> int:
        """Return what is left of a charge."""
        given_back: int = self.charge_of(self.intents[payment_id])["amount_refunded"]
        left: int = self.intents[payment_id]["amount"] - given_back
        return left

    def find_refund(self, refund_id: str) -> Json | None:
        """Return a refund."""
        return next((refund for refund in self.refunds if refund["id"] == refund_id), None)

    def open_dispute(self, payment_id: str) -> Json | None:
        """Return the dispute that forbids refunds of a charge."""
        of_charge = (one for one in self.disputes.values() if one["payment_intent"] == payment_id)
        return next((one for one in of_charge if not one["is_charge_refundable"]), None)

    def charges(self) -> list[Json]:
        """Return the charges of all intents on which a payment was tried, oldest first."""
        return [self.charge_of(intent) for intent in self.intents.values() if _was_tried(intent)]

    def charge_of(self, intent: Json) -> Json:
        """Return the charge of an intent, as it is now."""
        of_intent = [refund for refund in self.refunds if refund["payment_intent"] == intent["id"]]
        refunded = sum(refund["amount"] for refund in of_intent if refund["status"] not in _RETURNED)
        is_paid = intent["status"] == "succeeded"
        error = intent["last_payment_error"] or {}
        return {
            "id": _charge_id(intent),
            "object": "charge",
            "created": intent["created"],
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if is_paid else 0,
            "amount_refunded": refunded,
            "captured": is_paid,
            "currency": intent["currency"],
            "disputed": any(one["payment_intent"] == intent["id"] for one in self.disputes.values()),
            "failure_code": error.get("code"),
            "livemode": False,
            "metadata": intent["metadata"],
            "paid": is_paid,
            "payment_intent": intent["id"],
            "refunded": is_paid and refunded == intent["amount"],
            "status": "succeeded" if is_paid else "pending" if intent["status"] == "processing" else "failed",
        }

    def answer_of(self, intent: Json) -> Json:
        """Return an intent as the API shows it."""
        is_paid = intent["status"] == "succeeded"
        charge = _charge_id(intent) if _was_tried(intent) else None
        return intent | {"amount_received": intent["amount"] if is_paid else 0, "latest_charge": charge}

    def record(self, kind: str, about: Json) -> Json:
        """Record an event with a copy of its object."""
        shown = self.answer_of(about) if about["object"] == "payment_intent" else about
        event = {
            "id": f"evt_{uuid.uuid4().hex}",
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": {"object": json.loads(json.dumps(shown))},
            "livemode": False,
            "pending_webhooks": 1,
            "type": kind,
        }
        self.events.append(event)
        return event

    def events_of(self, *kinds: str) -> list[Json]:
        """Return the events of these types, oldest first; of all types if none is named."""
        return [event for event in self.events if not kinds or event["type"] in kinds]

    def now(self) -> int:
        """Return the time as Stripe writes it: in whole seconds."""
        return int(self.clock().timestamp())


def _purchase_of(intent: Json) -> str:
    return str(intent["metadata"].get("purchase_id", intent["id"]))


def _charge_id(intent: Json) -> str:
    return "ch_" + str(intent["id"]).removeprefix("pi_")


def _was_tried(intent: Json) -> bool:
    return intent["status"] in {"succeeded", "processing"} or bool(intent["last_payment_error"])
