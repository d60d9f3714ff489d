"""Every refusal of a service in this process has a reason that the contract declares for its method."""

from collections.abc import Iterator
from typing import Any

import pytest

from ticketing.chassis import failures, interceptor
from ticketing.chassis.failures import Failure
from ticketing.client.service_config import methods
from ticketing.options.v1 import options_pb2

EVERY_CALL = {
    failures.INVALID_ARGUMENT,
    failures.UNAUTHENTICATED,
    failures.FORBIDDEN,
    failures.OVERLOADED,
    failures.DEPENDENCY_UNAVAILABLE,
}
DECLARED = {
    f"/{method.containing_service.full_name}/{method.name}": set(
        method.GetOptions().Extensions[options_pb2.errors].reasons
    )
    for method in methods()
}


@pytest.fixture(scope="session", autouse=True)
def undeclared() -> Iterator[set[str]]:
    """Collect the refusals whose reason the contract does not declare."""
    found: set[str] = set()
    completion: Any = interceptor._CallCompletion  # noqa: SLF001 - each call of a service ends in it
    end = completion.__aexit__

    async def observe(self: Any, kind: object, error: BaseException | None, trace: object) -> None:
        method = self._method
        if isinstance(error, Failure) and error.reason not in DECLARED.get(method, {error.reason}) | EVERY_CALL:
            found.add(f"{method} fails with {error.reason}: add it to the errors option of the method")
        await end(self, kind, error, trace)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completion, "__aexit__", observe)
        yield found


@pytest.fixture(autouse=True)
def reasons_are_declared(undeclared: set[str]) -> Iterator[None]:
    """Fail the test in which a service gave an undeclared reason."""
    yield
    seen = sorted(undeclared)
    undeclared.clear()
    assert seen == []
