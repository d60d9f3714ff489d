"""The servicer of DeviceService."""

from typing import Any

from scan_service.convert import devices as convert
from scan_service.convert.callers import own_organizer
from scan_service.use_cases.devices import Devices
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.parsing import read_uuid
from ticketing.scans.v1 import device_service_pb2 as pb
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceServicer


class DevicesServicer(DeviceServiceServicer):
    """Serves DeviceService."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def CreateDevice(self, request: pb.CreateDeviceRequest, _context: Any) -> pb.CreateDeviceResponse:  # noqa: N802 - the contract's name
        """Register a device."""
        device, code = await self._devices.create(current_caller(), convert.read_create(request))
        return pb.CreateDeviceResponse(device=convert.device_message(device), enrollment_code=code)

    async def EnrollDevice(self, request: pb.EnrollDeviceRequest, _context: Any) -> pb.EnrollDeviceResponse:  # noqa: N802 - the contract's name
        """Exchange an enrollment code for an access token."""
        device, token = await self._devices.enroll(*convert.read_enroll(request))
        return pb.EnrollDeviceResponse(device=convert.device_message(device), access_token=token)

    async def ListDevices(self, request: pb.ListDevicesRequest, _context: Any) -> pb.ListDevicesResponse:  # noqa: N802 - the contract's name
        """List devices."""
        caller = current_caller()
        query = convert.read_list(request, caller)
        devices, now = await self._devices.list_devices(query)
        return convert.list_response(request, caller, devices, now)

    async def RevokeDevice(self, request: pb.RevokeDeviceRequest, _context: Any) -> pb.RevokeDeviceResponse:  # noqa: N802 - the contract's name
        """Revoke a device."""
        caller = current_caller()
        device = await self._devices.revoke(caller, read_uuid(request, "device_id"), own_organizer(caller))
        return pb.RevokeDeviceResponse(device=convert.device_message(device))
