"""The methods that gRPC repeats, and the ids that the client chooses."""

import json
from uuid import UUID

from ticketing.client import new_id
from ticketing.client.service_config import methods, service_config


def test_methods_whose_repetition_has_an_effect_are_not_repeated() -> None:
    (config,) = json.loads(service_config())["methodConfig"]
    repeated = {(name["service"], name["method"]) for name in config["name"]}
    every = {(method.containing_service.full_name, method.name) for method in methods()}
    assert {method for _, method in every - repeated} == {"StreamScans", "LookUpTickets", "FindTickets"}


def test_every_method_that_creates_has_a_request_id() -> None:
    creating = [method for method in methods() if method.name.startswith("Create")]
    assert [method.name for method in creating if "request_id" not in method.input_type.fields_by_name] == []


def test_ids_are_uuids_of_version_7_in_the_order_of_time() -> None:
    ids = [UUID(new_id()) for _ in range(100)]
    assert {(one.version, one.variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == 100
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)
