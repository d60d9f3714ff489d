"""A ticket service as a process."""

from collections.abc import Mapping

from tests.processes.service import ServiceProcess


class TicketProcess(ServiceProcess):
    def __init__(self, variables: Mapping[str, str], *arguments: str) -> None:
        super().__init__("ticket_service", variables, *arguments)
