"""A frozen graph as a callable: edgefreeze.load_frozen. TensorFlow runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefreeze.errors import Failure
from edgefreeze.text import clean
from edgefreeze.types import Shape, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class FrozenModel:
    """A frozen graph in a session, its tables filled. Call it with the inputs by name, as keywords or as one
    dict; it returns NumPy arrays by the outputs' names. Also a context manager, which closes the session.
    """

    def __init__(
        self, path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor], init_ops: Sequence[str],
        threads: int,
    ) -> None:  # fmt: skip
        from edgefreeze.device.runtimes import tf_frozen

        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.init_ops = tuple(init_ops)
        ends = {
            role: [{"name": t.name, "tensor": t.tensor} for t in tensors]
            for role, tensors in (("inputs", inputs), ("outputs", outputs))
        }
        self._model = tf_frozen.load(str(path), {**ends, "init_ops": list(init_ops)}, threads)

    def __call__(self, arrays: Mapping[str, Any] | None = None, /, **named: Any) -> dict[str, Array]:
        """One inference. Raises Failure bad-input unless exactly the inputs are given, in shapes and dtypes
        that the graph takes."""
        import numpy as np

        given = {**(arrays or {}), **named}
        wanted = {t.name: t for t in self.inputs}
        if set(given) != set(wanted):
            raise Failure(
                "bad-input",
                "These are not the model's inputs.",
                expected=", ".join(wanted) or "none",
                found=", ".join(given) or "none",
            )
        feeds: dict[str, Any] = {}
        for name, tensor in wanted.items():
            dtype = object if tensor.dtype == "string" else np.dtype(tensor.dtype)
            array = np.asarray(given[name], dtype)
            fixed = tensor.shape is None or (
                array.ndim == len(tensor.shape)
                and all(d in (None, n) for d, n in zip(tensor.shape, array.shape, strict=True))
            )
            if not fixed:
                raise Failure(
                    "bad-input",
                    f"The input {name!r} has another shape.",
                    expected=str(["any" if d is None else d for d in tensor.shape or ()]),
                    found=str(list(array.shape)),
                )
            feeds[name] = array
        outputs: dict[str, Array] = self._model.run(feeds)
        return outputs

    def close(self) -> None:
        """End the session."""
        self._model.close()

    def __enter__(self) -> FrozenModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_frozen(path: str | Path, *, threads: int = 0) -> FrozenModel:
    """Load a frozen graph that edgefreeze wrote, or another one, whose placeholders are then the inputs and
    whose nodes that nothing uses the outputs.

    threads: 0 lets TensorFlow choose. Raises Failure: model-missing, model-broken (no GraphDef).
    """
    where = Path(path)
    graph = _read(where)
    inputs, outputs, init_ops = _marks(graph)
    return FrozenModel(where, inputs, outputs, init_ops, threads)


def _read(path: Path) -> Any:
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except FileNotFoundError as error:
        raise Failure(
            "model-missing", f"There is no frozen graph at {path}.", found="no such file"
        ) from error
    except Exception as error:  # protobuf's DecodeError, whose class depends on its implementation
        raise Failure(
            "model-broken",
            f"{path} is no frozen graph.",
            expected="a GraphDef (.pb)",
            found=clean(f"{type(error).__name__}: {error}", 200),
        ) from error
    if not graph.node:
        raise Failure(
            "model-broken", f"{path} is no frozen graph.", expected="a GraphDef (.pb)", found="no nodes"
        )
    return graph


def _marks(graph: Any) -> tuple[list[Tensor], list[Tensor], list[str]]:
    """(inputs, outputs, init ops): as the graph says of itself, else as its structure suggests."""
    from edgefreeze.worker import marks

    def marked(attr: str) -> list[Tensor]:
        found = []
        for node in graph.node:
            if attr in node.attr:
                position, _, key = node.attr[attr].s.decode("utf-8", "replace").partition(" ")
                found.append((int(position) if position.isdigit() else 0, _tensor(key, node)))
        return [tensor for _, tensor in sorted(found, key=lambda entry: entry[0])]

    inputs, outputs = marked(marks.INPUT), marked(marks.OUTPUT)
    init_ops = [node.name for node in graph.node if marks.INIT in node.attr]
    if outputs:
        return inputs, outputs, init_ops
    used = {ref.removeprefix("^").split(":")[0] for node in graph.node for ref in node.input}
    inputs = [_tensor(n.name, n) for n in graph.node if n.op == "Placeholder"]
    filling = ("LookupTableImport", "InitializeTable")
    init_ops = [n.name for n in graph.node if n.op.startswith(filling)]
    aside = {"NoOp", "Assert", "Const", "Placeholder"}
    outputs = [
        _tensor(n.name, n)
        for n in graph.node
        if n.name not in used and n.op not in aside and n.name not in init_ops
    ]
    return inputs, outputs, init_ops


def _tensor(key: str, node: Any) -> Tensor:
    from tensorflow.dtypes import as_dtype

    attr = node.attr["dtype"] if "dtype" in node.attr else node.attr["T"]
    stated = node.attr["shape"].shape if "shape" in node.attr else None
    shape: Shape | None = None
    if stated is not None and not stated.unknown_rank:
        shape = tuple(d.size if d.size >= 0 else None for d in stated.dim)
    return Tensor(
        name=key, tensor=f"{node.name}:0", dtype=as_dtype(attr.type).name if attr.type else "", shape=shape
    )
