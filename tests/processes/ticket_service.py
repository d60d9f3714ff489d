"""A ticket service as a process of its own."""

from collections.abc import Mapping

from tests.processes.service import ServiceProcess


class TicketProcess(ServiceProcess):
    """Starts a ticket service with these settings."""

    def __init__(self, variables: Mapping[str, str], *arguments: str) -> None:
        super().__init__("ticket_service", variables, *arguments)
