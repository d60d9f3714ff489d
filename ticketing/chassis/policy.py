"""The policy of a service: the roles that may call each RPC, as the contract's `access` option states them."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

from ticketing.chassis.callers import Role
from ticketing.chassis.interceptor import PUBLIC, Policy
from ticketing.options.v1 import options_pb2

_ROLE_PREFIX: Final = "ROLE_"


def policy_of(files: Iterable[FileDescriptor]) -> Policy:
    """Derive the policy of every RPC in `files`; an RPC without roles is left out, so the interceptor denies it."""
    policy = {}
    for file in files:
        for service in file.services_by_name.values():
            for method in service.methods:
                access = method.GetOptions().Extensions[options_pb2.access]
                if access.public or access.roles:
                    policy[method_path(method)] = _roles(access)
    return policy


def changing_methods(files: Iterable[FileDescriptor]) -> frozenset[str]:
    """Return every RPC in `files` that the contract does not declare free of side effects."""
    return frozenset(
        method_path(method)
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    )


def method_path(method: MethodDescriptor) -> str:
    """Return the name by which gRPC calls the method, such as "/package.Service/Method"."""
    return f"/{method.containing_service.full_name}/{method.name}"


def _roles(access: options_pb2.Access) -> frozenset[Role]:
    if access.public:
        return PUBLIC
    return frozenset(Role(options_pb2.Role.Name(role).removeprefix(_ROLE_PREFIX).lower()) for role in access.roles)
