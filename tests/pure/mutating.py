"""Small changes to a program, each of which a test of what the program says should notice. Pure.

What is changed: comparisons (to the boundary, and to the opposite), arithmetic, `and`/`or`, `not`, numbers and
truth values, conditions (negated), what is returned (None), statements that only do something (left out),
`raise` (left out), `min`/`max` and `any`/`all` (swapped). What is not: texts, annotations of functions,
assertions and decorators.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}

Put = Callable[[ast.AST], None]
Change = tuple[str, Callable[[], None]]
"""What is changed, in words, and the doing of it on the tree."""


@dataclass(frozen=True)
class Mutant:
    """The `number`th change of a program. `line`: where; `what`: the change in words."""

    number: int
    line: int
    what: str


def mutants(source: str) -> list[Mutant]:
    """All changes of a program, in an order that depends on the program alone."""
    return [Mutant(number, line, what) for number, (line, what, _) in enumerate(_changes(ast.parse(source)))]


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The program with that one change."""
    tree = ast.parse(source)
    for number, (_, _, apply) in enumerate(_changes(tree)):
        if number == mutant.number:
            apply()
            return ast.fix_missing_locations(tree)
    raise IndexError(mutant.number)


def _changes(tree: ast.Module) -> Iterator[tuple[int, str, Callable[[], None]]]:
    for node, put in _places(tree):
        for what, apply in _of(node, put):
            yield getattr(node, "lineno", 0), what, apply


def _places(node: ast.AST, annotation: bool = False) -> Iterator[tuple[ast.AST, Put]]:
    """Every node that may be changed, with what puts another in its place."""
    for field, value in ast.iter_fields(node):
        if _is_kept(node, field):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or _is_text(child) or isinstance(child, ast.Assert):
                continue
            # Of an annotated field the bounds are rules (Meta(ge=1)); the rest of it is for the type checker.
            inside = annotation or field == "annotation"
            if not inside or isinstance(child, ast.Constant):
                yield child, _putter(node, field, index if isinstance(value, list) else None)
            yield from _places(child, inside)


def _is_kept(node: ast.AST, field: str) -> bool:
    function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    return (
        field in ("decorator_list", "returns")
        or (field == "annotation" and isinstance(node, ast.arg))
        or (field == "ctx")
        or (function and field == "type_params")
    )


def _is_text(node: ast.AST) -> bool:
    """A docstring, or a text with values in it."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.JoinedStr)


def _putter(node: ast.AST, field: str, index: int | None) -> Put:
    def put(other: ast.AST) -> None:
        if index is None:
            setattr(node, field, other)
        else:
            getattr(node, field)[index] = other

    return put


def _of(node: ast.AST, put: Put) -> Iterator[Change]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BinOp(op=op) | ast.AugAssign(op=op) if type(op) in _COMPUTED and not _of_texts(node):
            other = _COMPUTED[type(op)]
            yield f"{_name(op)} → {_name(other())}", lambda: setattr(node, "op", other())
        case ast.BoolOp(op=op):
            swapped = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield f"{_name(op)} → {_name(swapped)}", lambda: setattr(node, "op", swapped)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert() as op, operand=operand):
            yield f"no {_name(op)}", lambda: put(operand)
        case ast.Constant(value=bool() as value):
            yield f"{value} → {not value}", lambda: put(ast.Constant(not value))
        case ast.Constant(value=int() | float() as number):
            yield f"{number} → {number + 1}", lambda: put(ast.Constant(number + 1))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield "condition negated", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=ifs):
            for at, test in enumerate(ifs):
                yield "filter negated", _setter(ifs, at, ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield "returns None", lambda: setattr(node, "value", ast.Constant(None))
        case ast.Expr() | ast.Raise():
            yield f"no {_name(node)}", lambda: put(ast.Pass())
        case ast.Call(func=ast.Name(id=name)) if name in _SWAPPED:
            yield f"{name} → {_SWAPPED[name]}", lambda: setattr(node.func, "id", _SWAPPED[name])


def _comparisons(node: ast.Compare) -> Iterator[Change]:
    for at, op in enumerate(node.ops):
        for other in _COMPARED[type(op)]:
            yield f"{_name(op)} → {_name(other())}", _setter(node.ops, at, other())


def _setter(sequence: list, at: int, value: ast.AST) -> Callable[[], None]:
    return lambda: sequence.__setitem__(at, value)


def _of_texts(node: ast.AST) -> bool:
    """Whether a text is put together here, for a person."""
    sides = [getattr(node, side, None) for side in ("left", "right", "value")]
    return any(
        isinstance(side, ast.JoinedStr)
        or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        or (isinstance(side, ast.BinOp) and _of_texts(side))
        for side in sides
    )


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _name(node: ast.AST) -> str:
    return type(node).__name__.lower()
