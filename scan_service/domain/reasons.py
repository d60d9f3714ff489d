"""The reasons of failed calls: the names of ticketing.scans.v1.ErrorReason without their prefix."""

from enum import StrEnum


class Reason(StrEnum):
    """The reason of a Failure; `scan_service.errors` maps each to its status code and metadata."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND"
    SCAN_NOT_FOUND = "SCAN_NOT_FOUND"
    DEVICE_NOT_FOUND = "DEVICE_NOT_FOUND"
    GATE_NOT_OPEN = "GATE_NOT_OPEN"
    SCAN_NOT_ANNULLABLE = "SCAN_NOT_ANNULLABLE"
    ENROLLMENT_CODE_INVALID = "ENROLLMENT_CODE_INVALID"
    LOOK_UP_NOT_ALLOWED = "LOOK_UP_NOT_ALLOWED"
    SCAN_ID_REUSED = "SCAN_ID_REUSED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    OVERLOADED = "OVERLOADED"
    DEPENDENCY_UNAVAILABLE = "DEPENDENCY_UNAVAILABLE"
