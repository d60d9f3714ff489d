"""The model of one single-entry ticket, and the search for an order of its operations that explains every answer.

Gates, cancellations and reissues of one ticket are linearizable: each has one moment between its request and its answer
at which it takes effect. An operation without an answer may have taken effect at any moment after its request, or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final, NamedTuple

SCAN, CANCEL, REISSUE, TRANSFER, ANNUL, CLOSE = "scan", "cancel", "reissue", "transfer", "annul", "close"
ADMITTED: Final = "ADMITTED"
# More states than this mean that the search gives up; no ticket of a run comes near it.
MAX_STATES: Final = 200_000


@dataclass(frozen=True)
class Step:
    """An operation on the ticket.

    `result` is ADMITTED or the reason of a denial for a scan, the new issue for a reissue, and otherwise empty; None:
    unanswered. `argument` is the issue of the scanned token, and for an annulment the id of the scan.
    """

    kind: str
    begin: float
    end: float
    result: str | None
    argument: str = ""
    scan_id: str = ""


class State(NamedTuple):
    """The state of the ticket; `checked_in` is the scan that admitted it, or empty."""

    checked_in: str = ""
    is_cancelled: bool = False
    issue: int = 1
    is_closed: bool = False


def explain(steps: Sequence[Step]) -> list[Step] | None:
    """Return an order of the steps that explains their answers; None: there is none, so a promise is broken.

    Steps without an answer are left out of the order where they had no effect.
    """
    seen = set[tuple[frozenset[int], State]]()
    stack: list[tuple[frozenset[int], State, list[int]]] = [(frozenset(range(len(steps))), State(), [])]
    while stack:
        left, state, order = stack.pop()
        if all(steps[index].result is None for index in left):
            return [steps[index] for index in order]
        if (left, state) in seen:
            continue
        seen.add((left, state))
        if len(seen) > MAX_STATES:
            raise AssertionError(f"too many orders of {len(steps)} steps")
        # A step may come next unless another one had ended before it began.
        first_end = min((steps[index].end for index in left if steps[index].result is not None), default=inf)
        for index in left:
            step = steps[index]
            if step.begin <= first_end:
                stack += [(left - {index}, after, [*order, index]) for after in apply(step, state)]
    return None


def apply(step: Step, state: State) -> list[State]:
    """Return the states after a step; none if its answer is impossible in this state."""
    match step.kind:
        case "scan":
            return _scan(step, state)
        case "cancel":
            return [] if state.checked_in else [replace_state(state, is_cancelled=True)]
        case "transfer" | "reissue":
            issue = int(step.result) if step.result else state.issue + 1
            is_possible = not state.is_cancelled and issue == state.issue + 1
            is_possible &= not (step.kind == TRANSFER and state.checked_in)
            return [replace_state(state, issue=issue)] if is_possible else []
        case "annul":
            if state.checked_in == step.argument:
                return [replace_state(state, checked_in="")]
            return []
        case "close":
            return [replace_state(state, is_closed=True)]
    raise AssertionError(step)


def _scan(step: Step, state: State) -> list[State]:
    reason = reason_of(state, int(step.argument))
    if step.result is not None and step.result != reason:
        return []
    return [replace_state(state, checked_in=step.scan_id) if reason == ADMITTED else state]


def reason_of(state: State, issue: int) -> str:
    """Return the answer to a scan of a token of an issue."""
    if state.is_closed:
        return "EVENT_CANCELLED"
    if issue < state.issue:
        return "SUPERSEDED"
    if state.is_cancelled:
        return "REFUNDED"
    return "ALREADY_CHECKED_IN" if state.checked_in else ADMITTED


def replace_state(state: State, **changes: object) -> State:
    """Return a state with other fields."""
    return state._replace(**changes)  # type: ignore[arg-type]  # the names are those of the fields


def shown(steps: Sequence[Step]) -> str:
    """Return the steps as a line each, by their beginning, for a person who looks into a violation."""
    first = min(step.begin for step in steps)
    moved = sorted((replace(step, begin=step.begin - first, end=step.end - first) for step in steps), key=_begin)
    return "".join(
        f"\n      {step.begin:8.3f} to {step.end:8.3f} {step.kind} {step.argument} {step.scan_id[-6:]}: {step.result}"
        for step in moved
    )


def _begin(step: Step) -> float:
    return step.begin
