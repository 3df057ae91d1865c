"""Variables that a model changes while it infers: told apart from those that only seem to matter, and
turned into inputs and outputs where that is asked for.

The changes are followed through the graph in the order in which they happen. What an output then does not
depend on (a counter of calls, a scratch value that is written before it is read) is no state, and goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefreeze.types import State, Tensor
from edgefreeze.worker import gate
from edgefreeze.worker.flow import follow
from edgefreeze.worker.graphs import bodies, canonical, producer, unused, used_functions
from edgefreeze.worker.retracing import data, inlined, retrace
from edgefreeze.worker.sources import Source, shape_of
from edgefreeze.worker.threaded import Entangled, Variable, forget_order, thread

if TYPE_CHECKING:
    from edgefreeze.worker.sources import Arrays

_SHOWN_VALUES = 4096


def settle(source: Source, hoist: bool) -> tuple[Source, tuple[State, ...], str | None]:
    """(a source whose function changes nothing, its hoisted state, what was done or None).

    Raises Failure freeze-refused, with the names of the variables, where the outputs depend on state and
    `hoist` is false, or the changes cannot be followed.
    """
    original = source.function.graph.as_graph_def()
    written = gate.writes(original, source.labels)
    if not written:
        return source, (), None
    try:
        return _settle(source, hoist)
    except Entangled as trouble:
        raise gate.changes(written, f"{trouble}, so --hoist-state cannot help" if hoist else None) from None


def _settle(source: Source, hoist: bool) -> tuple[Source, tuple[State, ...], str | None]:
    graph = inlined(source.function)
    results = [t.name for t in source.function.outputs]
    graph = canonical(graph, [producer(t.tensor) for t in source.inputs], map(producer, results))
    present = {node.name for node in graph.node}
    captured = {
        internal.op.name: outer
        for outer, internal in source.function.graph.captures
        if internal.op.name in present
    }
    handles = _written(graph, captured)
    variables = {v.handle._id: v for v in source.function.graph.variables}
    finals: dict[str, tuple[str, str]] = {}
    pure: set[str] = set()
    callers: set[str] = set()
    for handle in handles:
        variable = variables.get(captured[handle]._id)
        if variable is None:
            raise Entangled(f"{source.labels.get(handle, handle)} is no variable")
        dtype, shape = variable.dtype.as_datatype_enum, variable.shape.as_proto()
        finals[handle] = thread(graph, Variable(handle, dtype, shape, pure, callers))
    forget_order(graph, pure | (callers - _writing(graph)))

    needed = [h for h in handles if finals[h][0] in data(graph, map(producer, results))]
    if needed and not hoist:
        what = {source.labels.get(h, "a variable without a name") for h in needed}
        written = gate.writes(source.function.graph.as_graph_def(), source.labels)
        raise gate.changes([w for w in written if w.what in what] or written, None)

    taken = {t.name for t in (*source.inputs, *source.outputs)}

    def is_taken(name: str) -> bool:
        return name in taken or f"{name}_out" in taken

    inputs, outputs = list(source.inputs), dict(zip([t.name for t in source.outputs], results, strict=True))
    states: list[State] = []
    held: dict[str, Any] = {}
    for handle in needed:
        variable = variables[captured[handle]._id]
        name = unused(variable.name.split(":")[0], is_taken)
        taken.update((name, f"{name}_out"))
        start, end = finals[handle]
        inputs.append(
            Tensor(
                name=name,
                tensor=f"{start}:0",
                dtype=variable.dtype.base_dtype.name,
                shape=shape_of(variable.shape),
            )
        )
        outputs[f"{name}_out"] = end
        value = variable.numpy()
        initial = value.tolist() if value.size <= _SHOWN_VALUES else None
        states.append(
            State(variable=variable.name.split(":")[0], input=name, output=f"{name}_out", initial=initial)
        )
        held[name] = variable
    done = f"Assign stripped ({len(handles) - len(needed)})" if len(needed) < len(handles) else None
    if needed:
        done = f"{done + ', ' if done else ''}state hoisted ({len(needed)})"
    settled = retrace(source, graph, inputs, outputs)
    return (_Hoisted.of(settled, source, held) if held else settled), tuple(states), done


def _written(graph: Any, captured: Mapping[str, Any]) -> list[str]:
    """The captures that the graph changes, by name. Raises Entangled where something else is changed."""
    found: dict[str, None] = {}
    followed: set[tuple[str | None, str]] = set()
    for use in follow(graph, {name: name for name in captured}):
        if gate.is_write(use.node):
            followed.add((use.function, use.node.name))
            found[next(name for name in use.given if name)] = None
    lost = [n for f, n in bodies(graph) if gate.is_write(n) and (f, n.name) not in followed]
    if lost:
        raise Entangled(f"it cannot be told what {lost[0].op} at {lost[0].name} changes")
    return sorted(found)


def _writing(graph: Any) -> set[str]:
    """The nodes of the main graph whose functions still change variables."""
    changing = {f.signature.name for f in graph.library.function if any(map(gate.is_write, f.node_def))}
    return {n.name for n in graph.node if changing.intersection(used_functions([n], graph.library))}


class _Hoisted(Source):
    """A source whose reference is the original with its variables set before and read after each call."""

    __slots__ = ("_held", "_original")

    _held: dict[str, Any]
    _original: Source

    @classmethod
    def of(cls, settled: Source, original: Source, held: dict[str, Any]) -> _Hoisted:
        made = cls(**{f.name: getattr(settled, f.name) for f in fields(Source)} | {"save": _no_saved_model})
        object.__setattr__(made, "_original", original)
        object.__setattr__(made, "_held", held)
        return made

    def run(self, inputs: Arrays) -> Arrays:
        """The original's outputs for inputs and state, and its state afterwards."""
        for name, variable in self._held.items():
            variable.assign(inputs[name])
        outputs = replace(self._original, runner=None).run(inputs)
        return {**outputs, **{f"{name}_out": v.numpy() for name, v in self._held.items()}}


def _no_saved_model(folder: Path) -> None:
    from edgefreeze.worker.formats import Unfit

    raise Unfit(
        "The model's own SavedModel keeps its state inside; with --hoist-state there is none to ship."
    )
