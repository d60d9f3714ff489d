"""DeviceService: gate devices and their credentials."""

from typing import Any

from scan_service.convert import devices as convert
from scan_service.use_cases.devices import Devices
from ticketing.chassis.clock import Clock
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import page_size
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceServicer


class DevicesServicer(DeviceServiceServicer):
    """Answers organizers, and devices that enroll.

    Args:
        devices: does the work.
        clock: the present time, which says who is connected.
    """

    def __init__(self, devices: Devices, clock: Clock) -> None:
        self._devices = devices
        self._clock = clock

    async def CreateDevice(self, request: pb.CreateDeviceRequest, context: Any) -> pb.CreateDeviceResponse:  # noqa: ARG002, N802 - gRPC's
        """Register a device."""
        device, code = await self._devices.create(current_caller().subject, *convert.read_create(request))
        message = convert.device_message(device, self._clock())
        return pb.CreateDeviceResponse(device=message, enrollment_code=code)

    async def EnrollDevice(self, request: pb.EnrollDeviceRequest, context: Any) -> pb.EnrollDeviceResponse:  # noqa: ARG002, N802 - gRPC's
        """Trade a code for a token."""
        device, token = await self._devices.enroll(convert.read_enroll(request))
        return pb.EnrollDeviceResponse(device=convert.device_message(device, self._clock()), access_token=token)

    async def ListDevices(self, request: pb.ListDevicesRequest, context: Any) -> pb.ListDevicesResponse:  # noqa: ARG002, N802 - gRPC's
        """List the caller's devices."""
        organizer_id, size = current_caller().subject, page_size(request.page_size)
        after = convert.read_position(request, organizer_id)
        devices = await self._devices.list_devices(organizer_id, after, size)
        return convert.list_response(devices, size, organizer_id, self._clock())

    async def RevokeDevice(self, request: pb.RevokeDeviceRequest, context: Any) -> pb.RevokeDeviceResponse:  # noqa: ARG002, N802 - gRPC's
        """End a device's access."""
        device = await self._devices.revoke(convert.read_revoke(request), current_caller().subject)
        return pb.RevokeDeviceResponse(device=convert.device_message(device, self._clock()))
