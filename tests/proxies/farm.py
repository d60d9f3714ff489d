"""Two processes of each service behind proxies, as on hosts of their own: each has an address of 127.0.0.0/8."""

import signal
import ssl
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final, Self

from dev.clients import ApiClient
from tests.environment.access import Issuer
from tests.environment.certificates import Folder
from tests.processes.service import ServiceProcess
from tests.proxies.programs import Program, configuration, running
from ticketing.chassis.probe import is_ready
from ticketing.chassis.tls import Tls

# The hosts of the shipped configurations, and those of the tests.
HOSTS: Final = {
    "tickets-1": ("10.0.0.11", "127.0.1.11"),
    "tickets-2": ("10.0.0.12", "127.0.1.12"),
    "scans-1": ("10.0.0.21", "127.0.1.21"),
    "scans-2": ("10.0.0.22", "127.0.1.22"),
}
PROXY_HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Ports:
    """The ports of the services."""

    tickets: int
    scans: int
    tickets_metrics: int
    scans_metrics: int


@dataclass(frozen=True)
class ProxyPorts:
    """The ports at which a proxy serves both services."""

    tickets: int
    scans: int


@dataclass(frozen=True)
class Farm:
    """The processes as seen through one proxy, and the means to start the processes, proxies and clients."""

    ports: Ports
    proxy: ProxyPorts
    # The processes take turns with these proxies for their calls to each other.
    proxies: Sequence[ProxyPorts]
    variables: Mapping[str, str]
    issuer: Issuer
    certificates: Folder
    running: dict[str, ServiceProcess] = field(default_factory=dict)

    def through(self, proxy: ProxyPorts) -> Self:
        """Return the same processes, seen through another proxy."""
        return replace(self, proxy=proxy)

    def start(self, name: str) -> ServiceProcess:
        """Start or restart a process."""
        module = "ticket_service" if name.startswith("tickets") else "scan_service"
        peer = self.proxies[list(HOSTS).index(name) % len(self.proxies)]
        variables = {
            **self.variables,
            "TICKETING_HOST": HOSTS[name][1],
            "TICKETS_SCANS_ADDRESS": f"{PROXY_HOST}:{peer.scans}",
            "SCANS_TICKETS_ADDRESS": f"{PROXY_HOST}:{peer.tickets}",
        }
        process = ServiceProcess(module, variables)
        self.running[name] = process
        return process

    def start_all(self) -> None:
        """Start every process at the same time."""
        with ThreadPoolExecutor(len(HOSTS)) as threads:
            list(threads.map(self.start, HOSTS))

    def restart(self, name: str) -> None:
        """Stop a process as an operator does, and start it again."""
        process = self.running.pop(name)
        assert process.end() == 0, process.log()
        self.start(name)

    def kill_all(self) -> None:
        """End every process at once."""
        for process in self.running.values():
            process.send(signal.SIGKILL)
        for process in self.running.values():
            process.end(signal.SIGKILL)

    @contextmanager
    def behind(self, program: Program, folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[None]:
        """Run a proxy in front of the processes, with further `changes` of its configuration."""
        with running(program, folder, self.text(program, changes or {})) as process:
            tls = Tls(server_ca=self.certificates.ca)
            for port in (self.proxy.tickets, self.proxy.scans):
                assert is_ready(f"{PROXY_HOST}:{port}", READY_SECONDS, tls), (
                    folder / f"{program.name}.log"
                ).read_text() + f"exit status {process.poll()}"
            yield

    def text(self, program: Program, changes: Mapping[str, str]) -> str:
        """Return the configuration of a proxy with the addresses and files of this test."""
        text = configuration(program, changes)
        for old, new in self._changes(program).items():
            text = text.replace(old, new)
        return text

    def client(
        self, stack: ExitStack, role: str, subject: str, options: Sequence[tuple[str, object]] = ()
    ) -> ApiClient:
        """Make a client that calls through the proxy."""
        return self.client_at(stack, (self.proxy.tickets, self.proxy.scans), self.issuer.token(role, subject), options)

    def client_at(
        self, stack: ExitStack, ports: tuple[int, int], token: str, options: Sequence[tuple[str, object]] = ()
    ) -> ApiClient:
        """Make a client of these ports, at which the proxy answers."""
        tls = Tls(server_ca=self.certificates.ca)
        tickets, scans = (stack.enter_context(tls.channel(f"{PROXY_HOST}:{port}", options)) for port in ports)
        return ApiClient(tickets, scans, token)

    def calls(self, name: str, method: str) -> int:
        """Return the number of calls that a process has answered, by its metrics."""
        port = self.ports.tickets_metrics if name.startswith("tickets") else self.ports.scans_metrics
        context = ssl.create_default_context(cafile=self.certificates.ca)
        context.check_hostname = False
        with closing(HTTPSConnection(HOSTS[name][1], port, timeout=20, context=context)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        counts = (line for line in lines if line.startswith("grpc_server_calls_total{") and f'/{method}"' in line)
        return sum(int(float(line.split()[-1])) for line in counts)

    def _changes(self, program: Program) -> dict[str, str]:
        ports, files = self.ports, self.certificates.path
        listen = {
            "haproxy": ("bind :{}", "bind 127.0.0.1:{}"),
            "nginx": ("listen {} ssl", "listen 127.0.0.1:{} ssl"),
            "envoy": ("address: 0.0.0.0, port_value: {}", "address: 127.0.0.1, port_value: {}"),
        }
        backend = {"haproxy": "{}:{}", "nginx": "{}:{}", "envoy": "address: {}, port_value: {}"}[program.name]
        old, new = listen[program.name]
        changes = {
            old.format(50051): new.format(self.proxy.tickets),
            old.format(50052): new.format(self.proxy.scans),
            " port 9464": f" port {ports.tickets_metrics}",
            " port 9465": f" port {ports.scans_metrics}",
            "/etc/ticketing": str(files),
            # nginx of an ordinary user cannot write to the folders of the package.
            "http {": "http {\n" + "".join(f"{kind}_temp_path temp;\n" for kind in TEMPORARY),
        }
        for name, (shipped, used) in HOSTS.items():
            port, used_port = (50051, ports.tickets) if name.startswith("tickets") else (50052, ports.scans)
            changes[backend.format(shipped, port)] = backend.format(used, used_port)
        return changes


TEMPORARY: Final = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
