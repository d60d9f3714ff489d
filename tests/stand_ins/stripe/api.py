"""The operations of Stripe's API that the service calls, on an account."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.stand_ins.stripe.account import DECLINED, PROCESSING, SECURE, UNKNOWN, Account
from tests.stand_ins.stripe.currencies import check_charge, check_refund
from tests.stand_ins.stripe.refusals import Json, Refused, invalid, malformed, missing

Params = Mapping[str, str]
Operation = Callable[[Account, str, Params], Json]

_PAGE: Final = {"limit", "starting_after", "created", "created[gt]", "created[gte]", "created[lt]", "created[lte]"}
_MAX_PAGE: Final = 100


def create(account: Account, _id: str, params: Params) -> Json:
    """Create an unconfirmed PaymentIntent."""
    _know(params, {"amount", "currency", "payment_method", "payment_method_types[0]", "metadata"})
    amount, currency = _whole(params, "amount"), params["currency"]
    check_charge(currency, amount)
    if params["payment_method"] == UNKNOWN:
        raise missing("PaymentMethod", UNKNOWN, "payment_method")
    return account.answer_of(account.new_intent(amount, currency, params["payment_method"], _metadata(params)))


def retrieve(account: Account, payment_id: str, params: Params) -> Json:
    """Read a PaymentIntent."""
    _know(params, set())
    return account.answer_of(_intent(account, payment_id))


def confirm(account: Account, payment_id: str, params: Params) -> Json:
    """Confirm a PaymentIntent: the card is charged, declined, or waits for the buyer or the bank."""
    _know(params, set())
    intent = _intent(account, payment_id)
    if intent["status"] != "requires_confirmation":
        raise _unexpected_state(intent, "confirm")
    method = intent["payment_method"]
    if method == DECLINED:
        error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
        intent |= {"status": "requires_payment_method", "last_payment_error": error}
        account.record("payment_intent.payment_failed", intent)
        raise Refused(402, error)
    if method in {SECURE, PROCESSING}:
        intent["status"] = "requires_action" if method == SECURE else "processing"
    else:
        account.capture(payment_id)
    return account.answer_of(intent)


def cancel(account: Account, payment_id: str, params: Params) -> Json:
    """Cancel a PaymentIntent that is neither paid nor under way at a bank."""
    _know(params, {"cancellation_reason"})
    intent = _intent(account, payment_id)
    if intent["status"] in {"succeeded", "canceled", "processing"}:
        raise _unexpected_state(intent, "cancel")
    intent["status"] = "canceled"
    account.record("payment_intent.canceled", intent)
    return account.answer_of(intent)


def refund(account: Account, _id: str, params: Params) -> Json:
    """Refund a charge in part or in full."""
    _know(params, {"payment_intent", "amount", "metadata", "reason"})
    intent = _intent(account, params["payment_intent"])
    amount = _whole(params, "amount")
    check_refund(intent["currency"], amount)
    if intent["status"] != "succeeded":
        raise invalid("payment_intent_unexpected_state", "This PaymentIntent does not have a successful charge.")
    if account.open_dispute(intent["id"]) is not None:
        raise invalid("charge_disputed", "The charge has been charged back; cannot issue a refund.")
    left = account.refundable(intent["id"])
    if left == 0:
        raise invalid("charge_already_refunded", f"Charge {account.charge_of(intent)['id']} has already been refunded.")
    if amount > left:
        raise invalid("", f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})")
    return account.new_refund(intent["id"], amount, _metadata(params))


def retrieve_charge(account: Account, charge_id: str, params: Params) -> Json:
    """Read a charge."""
    _know(params, set())
    return _named("charge", charge_id, account.charges())


def retrieve_refund(account: Account, refund_id: str, params: Params) -> Json:
    """Read a refund."""
    _know(params, set())
    return _named("refund", refund_id, account.refunds)


def retrieve_dispute(account: Account, dispute_id: str, params: Params) -> Json:
    """Read a dispute."""
    _know(params, set())
    return _named("dispute", dispute_id, list(account.disputes.values()))


def retrieve_event(account: Account, event_id: str, params: Params) -> Json:
    """Read an event."""
    _know(params, set())
    return _named("event", event_id, account.events)


def list_intents(account: Account, _id: str, params: Params) -> Json:
    """List the PaymentIntents, newest first."""
    _know(params, _PAGE)
    return _page("/v1/payment_intents", [account.answer_of(one) for one in account.intents.values()], params)


def list_charges(account: Account, _id: str, params: Params) -> Json:
    """List the charges, newest first."""
    _know(params, _PAGE | {"payment_intent"})
    return _page("/v1/charges", _matching(account.charges(), params, "payment_intent"), params)


def list_refunds(account: Account, _id: str, params: Params) -> Json:
    """List the refunds, newest first."""
    _know(params, _PAGE | {"payment_intent", "charge"})
    return _page("/v1/refunds", _matching(account.refunds, params, "payment_intent", "charge"), params)


def list_disputes(account: Account, _id: str, params: Params) -> Json:
    """List the disputes, newest first."""
    _know(params, _PAGE | {"payment_intent", "charge"})
    return _page("/v1/disputes", _matching(list(account.disputes.values()), params, "payment_intent", "charge"), params)


def list_events(account: Account, _id: str, params: Params) -> Json:
    """List the events of the last 30 days, newest first."""
    _know(params, _PAGE | {"type", "types"})
    types = {value for name, value in params.items() if name == "type" or name.startswith("types[")}
    recent = account.now() - 30 * 86_400
    found = [one for one in account.events if one["created"] > recent and (not types or one["type"] in types)]
    return _page("/v1/events", found, params)


# The resource and the method, and the operations on the collection, on one object, and on one object by an action.
OPERATIONS: Final[Mapping[tuple[str, str, int], Operation]] = {
    ("POST", "payment_intents", 1): create,
    ("GET", "payment_intents", 1): list_intents,
    ("GET", "payment_intents", 2): retrieve,
    ("POST", "refunds", 1): refund,
    ("GET", "refunds", 1): list_refunds,
    ("GET", "refunds", 2): retrieve_refund,
    ("GET", "charges", 1): list_charges,
    ("GET", "charges", 2): retrieve_charge,
    ("GET", "disputes", 1): list_disputes,
    ("GET", "disputes", 2): retrieve_dispute,
    ("GET", "events", 1): list_events,
    ("GET", "events", 2): retrieve_event,
}
ACTIONS: Final[Mapping[str, Operation]] = {"confirm": confirm, "cancel": cancel}


def operation_of(method: str, path: str) -> tuple[Operation, str]:
    """Return the operation of a call, and the id in its path."""
    parts = path.split("/")[2:]
    if method == "POST" and parts[0] == "payment_intents" and len(parts) == 3:
        return ACTIONS[parts[2]], parts[1]
    return OPERATIONS[method, parts[0], len(parts)], parts[1] if len(parts) > 1 else ""


def _intent(account: Account, payment_id: str) -> Json:
    if payment_id not in account.intents:
        raise missing("payment_intent", payment_id, "intent")
    return account.intents[payment_id]


def _named(kind: str, wanted: str, among: list[Json]) -> Json:
    found = next((one for one in among if one["id"] == wanted), None)
    if found is None:
        raise missing(kind, wanted)
    return found


def _unexpected_state(intent: Json, action: str) -> Refused:
    message = f"You cannot {action} this PaymentIntent because it has a status of {intent['status']}."
    return invalid("payment_intent_unexpected_state", message)


def _know(params: Params, known: set[str]) -> None:
    for name in params:
        if name not in known and name.partition("[")[0] not in known:
            raise malformed(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def _whole(params: Params, name: str) -> int:
    if not params.get(name, "").isdecimal():
        raise malformed(f"Invalid integer: {params.get(name)}", code="parameter_invalid_integer", param=name)
    return int(params[name])


def _metadata(params: Params) -> dict[str, str]:
    return {name[9:-1]: value for name, value in params.items() if name.startswith("metadata[")}


def _matching(found: list[Json], params: Params, *names: str) -> list[Json]:
    wanted = {name: params[name] for name in names if name in params}
    return [one for one in found if all(one[name] == value for name, value in wanted.items())]


def _page(url: str, oldest_first: list[Json], params: Params) -> Json:
    newest_first = oldest_first[::-1]
    begin = 0
    if after := params.get("starting_after"):
        ids = [one["id"] for one in newest_first]
        if after not in ids:
            raise missing(url.rpartition("/")[2], after, "starting_after")
        begin = ids.index(after) + 1
    limit = int(params.get("limit", "10"))
    if not 1 <= limit <= _MAX_PAGE:
        raise malformed(f"Invalid limit: {limit}", code="parameter_invalid_integer", param="limit")
    found = [one for one in newest_first[begin:] if _is_in_range(one["created"], params)]
    return {"object": "list", "url": url, "data": found[:limit], "has_more": len(found) > limit}


def _is_in_range(created: int, params: Params) -> bool:
    exact = params.get("created")
    return (
        (exact is None or created == int(exact))
        and created > int(params.get("created[gt]", "-1"))
        and created >= int(params.get("created[gte]", "0"))
        and created < int(params.get("created[lt]", "9" * 12))
        and created <= int(params.get("created[lte]", "9" * 12))
    )
