"""What is parsed out of a serialized tf.Example or tf.SequenceExample, told from the operation that parses,
and messages that it can parse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgefreeze.worker.flow import Use
from edgefreeze.worker.graphs import producer

Text = Callable[[np.random.Generator], bytes]
Feature = tuple[str, int, int]
"""A key, its dtype (types_pb2), how many values it has (in each step, of a sequence)."""

OPS = (
    "ParseExample",
    "ParseExampleV2",
    "ParseSingleExample",
    "ParseSequenceExample",
    "ParseSequenceExampleV2",
    "ParseSingleSequenceExample",
)
STEPS = 3
"""How long the lists of a sequence are."""
_FREE = 2
"""How many values a feature has whose number is not fixed."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The features of an example, and of each step of a sequence (None: it is no sequence)."""

    features: Sequence[Feature]
    steps: Sequence[Feature] | None

    def __str__(self) -> str:
        names = ", ".join(key for key, _, _ in self.features)
        if self.steps is None:
            return f"tf.Example with {names}"
        return f"tf.SequenceExample of {STEPS} steps with " + ", ".join(
            filter(None, (names, *(f"{key}[]" for key, _, _ in self.steps)))
        )

    def make(self, generator: np.random.Generator, below: int, text: Text) -> bytes:
        """A message: floats are drawn, integers are below `below`, texts are made."""
        from tensorflow.core.example import example_pb2

        if self.steps is None:
            message = example_pb2.Example()
            context = message.features.feature
        else:
            message = example_pb2.SequenceExample()
            context = message.context.feature
            for key, dtype, count in self.steps:
                steps = message.feature_lists.feature_list[key].feature
                for _ in range(STEPS):
                    _fill(steps.add(), generator, dtype, count, below, text)
        for key, dtype, count in self.features:
            _fill(context[key], generator, dtype, count, below, text)
        serialized: bytes = message.SerializeToString(deterministic=True)
        return serialized


def _fill(
    feature: Any, generator: np.random.Generator, dtype: int, count: int, below: int, text: Text
) -> None:
    from tensorflow.core.framework import types_pb2

    if dtype == types_pb2.DT_STRING:
        feature.bytes_list.value.extend(text(generator) for _ in range(count))
    elif dtype == types_pb2.DT_FLOAT:
        feature.float_list.value.extend(generator.standard_normal(count).tolist())
    else:
        feature.int64_list.value.extend(generator.integers(0, below, count).tolist())


def features(use: Use) -> Parsed | None:
    """What an operation of OPS parses; None where the keys are not constants beside it."""
    node, attr = use.node, use.node.attr
    if "Sequence" in node.op:
        return _sequence(use)
    if node.op == "ParseSingleExample":
        keys: list[list[str] | None] = [_stated(attr["sparse_keys"]), _stated(attr["dense_keys"]), []]
    elif node.op == "ParseExample":
        count, total = attr["Nsparse"].i, attr["Nsparse"].i + attr["Ndense"].i
        both = _texts(use, list(node.input[2 : 2 + total]))
        keys = [both and both[:count], both and both[count:], []] if both is not None else [None]
    else:
        keys = [_texts(use, [ref]) for ref in node.input[2:5]]
    found = _features(keys, attr, "sparse_types", "Tdense", "dense_shapes", "ragged_value_types")
    return None if found is None else Parsed(found, None)


def _sequence(use: Use) -> Parsed | None:
    node, attr = use.node, use.node.attr
    counts = ("Ncontext_sparse", "Ncontext_dense", "Nfeature_list_sparse", "Nfeature_list_dense")
    if node.op == "ParseSequenceExampleV2":
        context = [_texts(use, [ref]) for ref in node.input[2:5]]
        steps = [_texts(use, [ref]) for ref in node.input[5:8]]
    elif node.op == "ParseSequenceExample":
        context = [_stated(attr["context_sparse_keys"]), _stated(attr["context_dense_keys"]), []]
        steps = [_stated(attr["feature_list_sparse_keys"]), _stated(attr["feature_list_dense_keys"]), []]
    else:
        at, groups = 2, []
        for count in counts:
            groups.append(_texts(use, list(node.input[at : at + attr[count].i])))
            at += attr[count].i
        context, steps = [*groups[:2], []], [*groups[2:], []]
    found = _features(
        context,
        attr,
        "context_sparse_types",
        "Tcontext_dense",
        "context_dense_shapes",
        "context_ragged_value_types",
    )
    lists = _features(
        steps,
        attr,
        "feature_list_sparse_types",
        "feature_list_dense_types",
        "feature_list_dense_shapes",
        "feature_list_ragged_value_types",
    )
    return None if found is None or lists is None else Parsed(found, lists)


def _features(
    keys: Sequence[list[str] | None], attr: Any, sparse: str, dense: str, shapes: str, ragged: str
) -> list[Feature] | None:
    """keys: sparse, dense, ragged; the rest are the attributes with their dtypes and shapes."""
    known = [group for group in keys if group is not None]
    if len(known) < 3:
        return None
    found: list[Feature] = [
        (key, dtype, _FREE) for key, dtype in zip(known[0], attr[sparse].list.type, strict=True)
    ]
    for key, dtype, shape in zip(known[1], attr[dense].list.type, attr[shapes].list.shape, strict=True):
        sizes = [dim.size if dim.size >= 0 else _FREE for dim in shape.dim]
        found.append((key, dtype, int(np.prod(sizes, dtype=int))))
    found += [(key, dtype, _FREE) for key, dtype in zip(known[2], attr[ragged].list.type, strict=True)]
    return found


def _stated(attr: Any) -> list[str]:
    return [key.decode() for key in attr.list.s]


def _texts(use: Use, refs: list[str]) -> list[str] | None:
    """The strings of constants; None if one of them is no constant of the same body."""
    from tensorflow.python.framework import tensor_util

    found: list[str] = []
    for ref in refs:
        node = use.siblings.get(producer(ref))
        while node is not None and node.op == "Identity":
            node = use.siblings.get(producer(node.input[0]))
        if node is None or node.op != "Const":
            return None
        found += [key.decode() for key in tensor_util.MakeNdarray(node.attr["value"].tensor).reshape(-1)]
    return found
