"""Guard the contract: `python -m dev.contract generate|drift|breaking`.

`generate` replaces the committed stubs and the reasons of the client. `drift` compares them with newly generated ones.
`breaking` lets buf compare the contract with the main branch, or, on the main branch, with the commit before.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "protos"
BIN = Path(sys.executable).parent
REASONS = ROOT / "ticketing" / "client" / "reason.py"


def generate(target: Path) -> None:
    """Generate the stubs of the contract into `target`."""
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    services = [source for source in sources if source.endswith("_service.proto")]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    # protoc finds its plugins by PATH; they are beside the interpreter, and the environment may not be activated.
    variables = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    for outputs, files in (("python_out mypy_out", sources), ("grpc_python_out mypy_grpc_out", services)):
        options = [f"--{output}={'quiet:' if 'mypy' in output else ''}{target}" for output in outputs.split()]
        subprocess.run([*protoc, *options, *files], env=variables, check=True)


def stubs(root: Path) -> dict[str, Path]:
    """Return the generated files below `root` by their path."""
    return {str(path.relative_to(root)): path for path in root.rglob("*_pb2*.py*") if path.suffix in {".py", ".pyi"}}


def client_reasons() -> str:
    """Return the module with the reasons of failures of both services."""
    contracts = [PROTOS / "ticketing" / package / "v1" / "error_reason.proto" for package in ("tickets", "scans")]
    names = [
        name for path in contracts for name in re.findall(r"^  ERROR_REASON_(\w+) = ", path.read_text(), re.MULTILINE)
    ]
    members = "".join(f'    {name} = "{name}"\n' for name in dict.fromkeys(names))
    return (
        '"""The reasons of failures; `make proto` generates them from error_reason.proto of both services."""\n\n'
        "from enum import StrEnum\n\n\n"
        f'class Reason(StrEnum):\n    """A reason; docs/api/errors.md says what to do about each."""\n\n{members}'
    )


def drift() -> int:
    """Print the committed files that differ from those of the contract; return the exit status."""
    with tempfile.TemporaryDirectory() as directory:
        generate(Path(directory))
        fresh, committed = stubs(Path(directory)), stubs(PROTOS)
        different = [
            name
            for name in sorted(fresh.keys() | committed.keys())
            if name not in fresh or name not in committed or fresh[name].read_bytes() != committed[name].read_bytes()
        ]
    different = [f"protos/{name}" for name in different]
    if REASONS.read_text() != client_reasons():
        different.append(str(REASONS.relative_to(ROOT)))
    for name in different:
        print(f"{name} is not what the contract generates; run `make proto`", file=sys.stderr)
    return 1 if different else 0


def regenerate() -> int:
    """Replace the committed stubs and the reasons of the client by newly generated ones."""
    for path in stubs(PROTOS).values():
        path.unlink()
    generate(PROTOS)
    REASONS.write_text(client_reasons())
    return 0


def baseline() -> str | None:
    """Return the commit whose callers the contract must not break; None without a history."""
    head = _revision("HEAD")
    main = _revision("origin/main") or _revision("main")
    return main if main != head else _revision("HEAD~1")


def _revision(name: str) -> str | None:
    git = ["git", "-C", str(ROOT), "rev-parse", "-q", "--verify", f"{name}^{{commit}}"]
    result = subprocess.run(git, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def breaking() -> int:
    """Print the changes that break callers of the baseline's contract; return the exit status."""
    against = baseline()
    if against is None:
        print("no history to compare the contract with")
        return 0
    buf = [str(BIN / "buf"), "breaking", "--against", f".git#ref={against}"]
    return subprocess.run(buf, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run the command of the command line."""
    commands = {"generate": regenerate, "drift": drift, "breaking": breaking}
    parser = Parser(prog="python -m dev.contract", description="Generate or check the code of the contract.")
    named = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in commands.items():
        named.add_parser(name, help=(command.__doc__ or "").partition(";")[0].rstrip(".").lower())
    return commands[parser.parse_args().command]()


if __name__ == "__main__":
    sys.exit(quietly(main))
