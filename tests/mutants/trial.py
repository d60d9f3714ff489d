"""Run tests against one mutant, in a child of a process that has loaded and collected everything."""

import gc
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import hypothesis
import pytest
from sqlalchemy.engine import URL

from tests.environment import databases
from tests.mutants.applying import load_again, loaded_functions, swap
from ticketing.chassis.postgres import Lease

# A mutant that loops without end uses this time of the processor, and this memory.
_MAX_CPU_SECONDS: Final = 30
_MAX_BYTES: Final = 8 << 30
# A search for plugins takes a third of the time of a trial.
_PLUGINS: Final = ("-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin")
_OPTIONS: Final = (
    *("-q", "-s", "-x", "-m", "not slow", "--tb=no", "--timeout=90", "-p", "no:cacheprovider", *_PLUGINS),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


def fix_examples() -> None:
    """Give each test with generated examples few of them, always the same ones, and no deadline."""
    hypothesis.settings.register_profile("mutants", max_examples=30, derandomize=True, deadline=None, database=None)
    hypothesis.settings.load_profile("mutants")


class Trials:
    """One pytest session with its collected tests, and one PostgreSQL server with migrated databases."""

    def __init__(self, stack: ExitStack, *, with_database: bool) -> None:
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        fix_examples()
        self._items: Mapping[str, pytest.Item] = {}
        self._functions: Mapping[tuple[str, str, int], Sequence[FunctionType]] = {}
        self._template: Callable[[str], URL] | None = None
        if with_database:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ticketing-mutants-")))
            server = stack.enter_context(Lease(folder, fsync_initdb=False))
            self._template = databases.migrated_templates(server)
            for service in ("ticket", "scan"):
                self._template(service)

    @property
    def collected(self) -> Collection[str]:
        """The names of the collected tests, in their order."""
        return self._items.keys()

    def within(self, tests: Sequence[str], work: Callable[[], None]) -> None:
        """Collect tests, and do `work` in place of running them."""
        code = pytest.main([*_OPTIONS, *tests], plugins=[_Session(self._begin, work)])
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            sys.exit(f"pytest ended with {code!r}")

    def run(self, path: str, source: str, tests: Sequence[str], *, is_only_loaded: bool = False) -> str:
        """Run tests against a mutant in a child; return the test that failed, a cause, or "" if all passed.

        `is_only_loaded`: the mutated code runs while modules are loaded, and never after.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.close(reading)
                os.setsid()
                _be_silent()
                code = self._try(path, source, tests, _Report(writing), is_only_loaded=is_only_loaded)
            finally:
                os._exit(code)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as pipe:
            failed = pipe.read()
        if os.WIFSIGNALED(status):
            return f"ended by signal {os.WTERMSIG(status)}"
        code = os.WEXITSTATUS(status)
        passed = {pytest.ExitCode.OK: "", pytest.ExitCode.NO_TESTS_COLLECTED: ""}
        return passed.get(pytest.ExitCode(code), failed or "the import") if code < len(pytest.ExitCode) else "an error"

    def _begin(self, items: Sequence[pytest.Item]) -> None:
        self._items = {item.nodeid: item for item in items}
        self._functions = loaded_functions()
        # The garbage collector of a child would copy the pages of all that is loaded.
        gc.collect()
        gc.freeze()

    def _try(self, path: str, source: str, tests: Sequence[str], report: "_Report", *, is_only_loaded: bool) -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (_MAX_CPU_SECONDS, _MAX_CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_BYTES, _MAX_BYTES))
        if not is_only_loaded and swap(path, source, self._functions):
            self._lend()
            return self._run_items([self._items[test] for test in tests], report)
        load_again(path, source)
        return int(pytest.main([*_OPTIONS, *tests], plugins=[report, _Session(lambda _: self._lend())]))

    def _run_items(self, items: Sequence[pytest.Item], report: "_Report") -> int:
        session = items[0].session
        session.config.pluginmanager.register(report)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return int(pytest.ExitCode.TESTS_FAILED)
        return int(pytest.ExitCode.OK)

    def _lend(self) -> None:
        """Give the tests of this process the running server, and new databases."""
        if self._template is None:
            return
        used: Any = sys.modules["tests.environment.databases"]
        execute = used.execute

        def execute_again(url: URL, statement: str) -> None:
            if statement.startswith('CREATE DATABASE "reusable_'):
                name = statement.split('"')[1]
                execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            execute(url, statement)

        used.execute = execute_again
        used.migrated_templates = lambda _: self._template
        used.Lease = lambda *_, **__: ExitStack()


class _Session:
    """Does other work once the tests are collected."""

    def __init__(self, begin: Callable[[Sequence[pytest.Item]], None], work: Callable[[], None] | None = None) -> None:
        self._begin, self._work = begin, work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        self._begin(session.items)
        if self._work is None:
            return None
        self._work()
        return True


class _Report:
    """Writes the name of the failed test into a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._pipe, report.nodeid.encode()[:2000])


def _be_silent() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
