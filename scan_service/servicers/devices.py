"""The servicer of DeviceService."""

from typing import Any

from scan_service.convert import devices as convert
from scan_service.use_cases.devices import Devices
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import id_position, page_size
from ticketing.chassis.parsing import read_uuid
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceServicer


class DevicesServicer(DeviceServiceServicer):
    """Serves DeviceService."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def CreateDevice(self, request: pb.CreateDeviceRequest, _context: Any) -> pb.CreateDeviceResponse:  # noqa: N802 - the contract's name
        """Register a device."""
        device, code = await self._devices.create(current_caller().subject, convert.read_create(request))
        return pb.CreateDeviceResponse(device=convert.device_message(device), enrollment_code=code)

    async def EnrollDevice(self, request: pb.EnrollDeviceRequest, _context: Any) -> pb.EnrollDeviceResponse:  # noqa: N802 - the contract's name
        """Exchange an enrollment code for an access token."""
        device, token = await self._devices.enroll(*convert.read_enroll(request))
        return pb.EnrollDeviceResponse(device=convert.device_message(device), access_token=token)

    async def ListDevices(self, request: pb.ListDevicesRequest, _context: Any) -> pb.ListDevicesResponse:  # noqa: N802 - the contract's name
        """List the caller's devices."""
        organizer_id, size = current_caller().subject, page_size(request.page_size)
        after = id_position(request.page_token, (organizer_id,))
        devices, now = await self._devices.list_devices(organizer_id, after, size)
        return convert.list_response(devices, size, organizer_id, now)

    async def RevokeDevice(self, request: pb.RevokeDeviceRequest, _context: Any) -> pb.RevokeDeviceResponse:  # noqa: N802 - the contract's name
        """Revoke a device."""
        device = await self._devices.revoke(read_uuid(request, "device_id"), current_caller().subject)
        return pb.RevokeDeviceResponse(device=convert.device_message(device))
