"""The mutants of a module, made by the operators of mutmut.

These rules leave mutants out:

- Annotations, decorators, imports, classes of constants, and the fields of dataclasses are declarations.
- A text that contains a space, or stands in a raise statement, is read by people. Of the three mutants that mutmut makes
  of any other text, one remains.
- mypy refuses nearly every None in place of an argument or a value, and a call without one of its arguments.

One operator is added: the condition of an if statement that is a name or a call is negated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

_DECLARATIONS = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom, cst.TypeAlias, cst.FormattedStringText)
_LEFT_OUT = (mutators.operator_dict_arguments, mutators.operator_arg_removal, mutators.operator_assignment)


def _negate(node: cst.If) -> Iterator[cst.If]:
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call):
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), node.test))


_OPERATORS = [(kind, make) for kind, make in mutators.mutation_operators if make not in _LEFT_OUT] + [(cst.If, _negate)]


@dataclass(frozen=True)
class Mutant:
    """A changed source of one module."""

    path: str
    # The first and the last line of the changed code, from 1.
    line: int
    last_line: int
    # The changed lines, before and after: with `path` they name the mutant, also after other lines have moved.
    change: str
    source: str


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yield the mutants of a module; two changes with the same result are one mutant."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    module, lines = wrapper.module, wrapper.resolve(PositionProvider)
    codes = [module.code_for_node(statement) for statement in module.body]
    # The comment at the begin and the lines at the end belong to no statement.
    begin, _, end = source.partition("".join(codes))
    seen = {source}
    for number, statement in enumerate(module.body):
        visitor = _Visitor()
        statement.visit(visitor)
        for old, new in visitor.found:
            changed = module.code_for_node(cast("cst.CSTNode", statement.deep_replace(old, new)))
            mutated = begin + "".join([*codes[:number], changed, *codes[number + 1 :]]) + end
            if mutated not in seen and _compiles(mutated):
                seen.add(mutated)
                span = lines[old]
                yield Mutant(path, span.start.line, span.end.line, changed_lines(source, mutated), mutated)


def changed_lines(before: str, after: str) -> str:
    """Return the lines between the common begin and the common end of two texts."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return "\n".join([f"- {line.strip()}" for line in old] + [f"+ {line.strip()}" for line in new])


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


class _Visitor(cst.CSTVisitor):
    """Collects the old node and the new node of each mutant."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []
        self._raising = 0
        self._class_bodies: list[bool] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _DECLARATIONS) or self._is_declaration(node) or _is_docstring(node):
            return False
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self._class_bodies.append(isinstance(node, cst.ClassDef))
        self._raising += isinstance(node, cst.Raise)
        for kind, mutate in _OPERATORS:
            if isinstance(node, kind):
                self._add(node, list(mutate(node)))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self._class_bodies.pop()
        self._raising -= isinstance(original_node, cst.Raise)

    def _is_declaration(self, node: cst.CSTNode) -> bool:
        """Return whether a node is a statement of a class body that is no method."""
        in_class = bool(self._class_bodies) and self._class_bodies[-1]
        return in_class and isinstance(node, cst.SimpleStatementLine)

    def _add(self, node: cst.CSTNode, changed: list[cst.CSTNode]) -> None:
        if isinstance(node, cst.SimpleString):
            changed = [] if self._raising or " " in node.value else changed[:1]
        self.found.extend((node, new) for new in changed)


def _is_docstring(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString | cst.ConcatenatedString)
