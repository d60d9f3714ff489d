"""Put a mutant in force in this process: into the loaded functions if possible, else by loading every module again."""

import gc
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from tests.environment import ROOT

# The modules that a mutant may have changed by the values that they imported.
_PROJECT: Final = ("ticket_service", "scan_service", "tests", "dev", "benchmarks", "examples", "deploy")
_NAMESPACE: Final = tuple(f"ticketing.{package}" for package in ("admission", "chassis", "client", "gate"))


def loaded_functions() -> Mapping[tuple[str, str, int], Sequence[FunctionType]]:
    """Return the functions of this process by file, qualified name and first line."""
    # A dataclass with slots is a second class with the same functions, so functions are sought, not classes.
    found: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
    for function in gc.get_objects():
        if isinstance(function, FunctionType):
            found[_place(function.__code__)].append(function)
    return found


def swap(path: str, source: str, functions: Mapping[tuple[str, str, int], Sequence[FunctionType]]) -> bool:
    """Replace the code of the loaded functions by that of `source`; return False if other statements differ too."""
    changed = _changed_functions(path, source)
    return changed is not None and _replace(changed, functions)


def _place(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _changed_functions(path: str, source: str) -> list[tuple[CodeType, CodeType]] | None:
    """Return the functions whose code differs, each before and after; None: other statements differ too."""
    file = str(ROOT / path)
    changed = list[tuple[CodeType, CodeType]]()
    bodies = [(compile((ROOT / path).read_text(), file, "exec"), compile(source, file, "exec"))]
    while bodies:
        old, new = bodies.pop()
        old_codes, new_codes = list(_codes(old)), list(_codes(new))
        if len(old_codes) != len(new_codes) or _statements(old) != _statements(new):
            return None
        for before, after in zip(old_codes, new_codes, strict=True):
            if before != after:
                is_class = "__module__" in before.co_names and "__qualname__" in before.co_names
                (bodies if is_class else changed).append((before, after))
    return changed


def _codes(code: CodeType) -> Iterator[CodeType]:
    return (constant for constant in code.co_consts if isinstance(constant, CodeType))


def _statements(code: CodeType) -> tuple[object, ...]:
    constants = [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
    return code.co_code, code.co_names, [(type(constant), constant) for constant in constants]


def _replace(
    changed: Sequence[tuple[CodeType, CodeType]], functions: Mapping[tuple[str, str, int], Sequence[FunctionType]]
) -> bool:
    """Replace the code of the loaded functions; return whether each was found."""
    for old, new in changed:
        found = functions.get(_place(old), ())
        if not found or any(len(function.__code__.co_freevars) != len(new.co_freevars) for function in found):
            return False
        for function in found:
            function.__code__ = new
    return True


def load_again(path: str, source: str) -> None:
    """Forget the modules of the project; the next import of the mutated one executes `source`."""
    for name in list(sys.modules):
        if name.split(".")[0] in _PROJECT or name.startswith(_NAMESPACE):
            del sys.modules[name]
    # Metrics register themselves when their modules are loaded.
    from prometheus_client import REGISTRY  # noqa: PLC0415 - the copy that the loaded modules use

    for collector in list(REGISTRY._collector_to_names):  # noqa: SLF001 - no public function lists them
        REGISTRY.unregister(collector)
    sys.meta_path.insert(0, _Finder(path.removesuffix(".py").replace("/", "."), str(ROOT / path), source))


class _Finder(MetaPathFinder, Loader):
    """Finds the mutated module before any other finder."""

    def __init__(self, name: str, file: str, source: str) -> None:
        self._name, self._file, self._source = name, file, source

    def find_spec(self, fullname: str, _path: Any, _target: Any = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, self, origin=self._file) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = self._file
        exec(compile(self._source, self._file, "exec"), module.__dict__)  # noqa: S102 - a mutant of our own module
