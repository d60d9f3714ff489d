"""The enrollment of a device: its one-time code is exchanged for the access token of the device."""

from typing import Final
from uuid import uuid4

import grpc

from ticketing.gate.options import CommandError
from ticketing.gate.refusal import error_text
from ticketing.gate.store import Store
from ticketing.scans.v1.device_service_pb2 import EnrollDeviceRequest, EnrollDeviceResponse
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

ENROLL_SECONDS: Final = 10.0
ENROLL_TRIES: Final = 2
# After these errors, the service may have enrolled the device all the same. A service that stops answers CANCELLED.
NO_ANSWER: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}


def enroll_device(store: Store, devices: DeviceServiceStub, code: str) -> str:
    """Exchange the one-time code for the device's access token, and store the token; return the device's name.

    Raises:
        CommandError: the service refused the code or did not answer.
    """
    # The id is stored before the call: if the answer is lost, the next try or run gets the same token.
    request_id = store.setting("enrollment_request_id") or str(uuid4())
    store.save_setting("enrollment_request_id", request_id)
    enrolled = _exchange(devices, EnrollDeviceRequest(enrollment_code=code, request_id=request_id))
    with store.transaction():
        store.save_setting("token", enrolled.access_token)
        store.clear_refusals()
        store.save_setting("enrollment_request_id", "")
    return enrolled.device.name


def _exchange(
    devices: DeviceServiceStub, request: EnrollDeviceRequest, tries: int = ENROLL_TRIES
) -> EnrollDeviceResponse:
    try:
        return devices.EnrollDevice(request, timeout=ENROLL_SECONDS)
    except grpc.RpcError as error:
        if tries > 1 and error.code() in NO_ANSWER:
            return _exchange(devices, request, tries - 1)
        raise CommandError(f"not enrolled: {error_text(error, with_code=False)}") from error
