"""Requests for devices whose answer was lost: a repetition returns the same answer."""

import asyncio
import uuid
from datetime import timedelta

import grpc
import pytest

from tests.environment.refusals import refusal
from ticketing.scans.v1 import device_service_pb2 as pb


def new_id() -> str:
    return str(uuid.uuid4())


async def create(service, metadata, request_id, name="Handheld 12", event_ids=()) -> pb.CreateDeviceResponse:
    request = pb.CreateDeviceRequest(name=name, event_ids=event_ids, request_id=request_id)
    return await service.devices.CreateDevice(request, metadata=metadata)


async def enroll(service, code, request_id="") -> pb.EnrollDeviceResponse:
    return await service.devices.EnrollDevice(pb.EnrollDeviceRequest(enrollment_code=code, request_id=request_id))


async def test_a_repeated_creation_returns_the_same_device_and_code(database, service, orga):
    event_ids, request_id = [str(database.event()), str(database.event())], new_id()
    first = await create(service, orga, request_id, event_ids=event_ids)
    assert await create(service, orga, request_id.upper(), event_ids=event_ids[::-1]) == first
    assert len(database.rows("devices")) == 1
    assert (await enroll(service, first.enrollment_code)).device.device_id == first.device.device_id


async def test_two_creations_at_once_make_one_device(database, service, orga):
    request_id = new_id()
    answers = await asyncio.gather(*(create(service, orga, request_id) for _ in range(8)))
    assert len({(answer.device.device_id, answer.enrollment_code) for answer in answers}) == 1
    assert len(database.rows("devices")) == 1


@pytest.mark.parametrize("change", [{"name": "Handheld 13"}, {"event_ids": ()}])
async def test_another_creation_under_the_same_id_is_refused(database, service, orga, change):
    event_id, request_id = str(database.event()), new_id()
    await create(service, orga, request_id, event_ids=[event_id])
    refused = await refusal(create(service, orga, request_id, **{"event_ids": [event_id], **change}))
    assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert refused.metadata == {"request_id": request_id}


async def test_request_ids_of_two_organizers_are_independent(service, orga, issuer):
    request_id = new_id()
    first = await create(service, orga, request_id)
    second = await create(service, issuer.metadata("organizer", "oskar"), request_id)
    assert first.device.device_id != second.device.device_id
    assert first.enrollment_code != second.enrollment_code


async def test_a_creation_that_had_no_effect_is_forgotten(database, service, orga):
    request_id = new_id()
    assert (await refusal(create(service, orga, request_id, event_ids=[new_id()]))).reason == "EVENT_NOT_FOUND"
    assert (await create(service, orga, request_id)).device.name == "Handheld 12"


async def test_a_repeated_enrollment_returns_the_same_token(database, service, orga):
    created, request_id = await create(service, orga, ""), new_id()
    first = await enroll(service, created.enrollment_code, request_id)
    second = await enroll(service, created.enrollment_code.lower(), request_id.upper())
    assert (second.access_token, second.device.enroll_time) == (first.access_token, first.device.enroll_time)
    metadata = (("authorization", f"Bearer {first.access_token}"),)
    ticket = database.ticket(database.event())
    assert (await service.scan(ticket.event_id, ticket.token, metadata=metadata)).device_id == created.device.device_id


async def test_two_enrollments_at_once_get_one_token(service, orga):
    created, request_id = await create(service, orga, ""), new_id()
    answers = await asyncio.gather(*(enroll(service, created.enrollment_code, request_id) for _ in range(8)))
    assert len({answer.access_token for answer in answers}) == 1


@pytest.mark.parametrize("request_id", ["", "0197a2b0-1111-7000-8000-000000000002"])
async def test_a_used_code_is_refused_under_another_request_id(service, orga, request_id):
    created = await create(service, orga, "")
    await enroll(service, created.enrollment_code, new_id())
    assert (await refusal(enroll(service, created.enrollment_code, request_id))).reason == "ENROLLMENT_CODE_INVALID"


async def test_a_code_used_without_a_request_id_is_refused(service, orga):
    created = await create(service, orga, "")
    await enroll(service, created.enrollment_code)
    assert (await refusal(enroll(service, created.enrollment_code, new_id()))).reason == "ENROLLMENT_CODE_INVALID"


async def test_an_enrollment_is_repeated_within_the_hour_only(service, orga):
    created, request_id = await create(service, orga, ""), new_id()
    await enroll(service, created.enrollment_code, request_id)
    service.clock.advance(timedelta(hours=1, seconds=1))
    assert (await refusal(enroll(service, created.enrollment_code, request_id))).reason == "ENROLLMENT_CODE_INVALID"


async def test_a_revoked_device_is_not_enrolled_again(service, orga):
    created, request_id = await create(service, orga, ""), new_id()
    await enroll(service, created.enrollment_code, request_id)
    await service.devices.RevokeDevice(pb.RevokeDeviceRequest(device_id=created.device.device_id), metadata=orga)
    assert (await refusal(enroll(service, created.enrollment_code, request_id))).reason == "ENROLLMENT_CODE_INVALID"


async def test_a_request_id_has_to_be_a_uuid(service, orga):
    assert (await refusal(create(service, orga, "42"))).fields == {"request_id"}
    assert (await refusal(enroll(service, "code", "42"))).fields == {"request_id"}
