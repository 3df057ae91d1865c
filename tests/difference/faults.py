"""Faults put into frozen graphs and TFLite files, as conversions and hand-made ports make them."""

from __future__ import annotations

import numpy as np

from edgefreeze.difference.cut import constant_behind, set_constant
from edgefreeze.inspection import schema


def graph_of(path):
    graph = schema.tensorflow("GraphDef")
    graph.ParseFromString(path.read_bytes())
    return graph


def node_of(graph, name):
    return next(node for node in graph.node if node.name == name)


def value_of(graph, name):
    tensor = node_of(graph, name).attr["value"].tensor
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    return np.frombuffer(tensor.tensor_content, np.float32).reshape(shape).copy()


def weights_behind(graph, name, at=1):
    return constant_behind(graph, node_of(graph, name).input[at])


def changed_weight(graph, name, at=1):
    constant = weights_behind(graph, name, at)
    value = value_of(graph, constant)
    value.reshape(-1)[value.size // 2] += 3
    set_constant(graph, constant, value)


def transposed_kernel(graph, name):
    constant = weights_behind(graph, name)
    value = value_of(graph, constant)
    axes = (1, 0, *range(2, value.ndim))
    set_constant(graph, constant, np.transpose(value, axes).reshape(value.shape))


def swapped_inputs(graph, name):
    node = node_of(graph, name)
    node.input[:] = list(reversed(node.input))


def other_padding(graph, name):
    padding = node_of(graph, name).attr["padding"]
    padding.s = b"VALID" if padding.s == b"SAME" else b"SAME"


def training_mode(graph, name):
    node_of(graph, name).attr["is_training"].b = True


def scaled(path, scale, factor):
    """The .tflite file with one of its scales, a float that occurs in it once, times a factor."""
    data = bytearray(path.read_bytes())
    bits = np.float32(scale).tobytes()
    assert data.count(bits) == 1
    at = data.find(bits)
    data[at : at + 4] = np.float32(scale * factor).tobytes()
    return bytes(data)


def chain(layers):
    """A frozen graph of so many dense layers of four nodes each, whose values neither vanish nor grow."""
    random = np.random.default_rng(3)
    graph = schema.tensorflow("GraphDef")

    def add(name, op, *inputs):
        node = graph.node.add(name=name, op=op)
        node.input.extend(inputs)
        node.attr["T"].type = 1
        return name

    def const(name, value):
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = 1
        node.attr["value"].tensor.dtype = 1
        set_constant(graph, name, value.astype(np.float32))
        return name

    placeholder = graph.node.add(name="x", op="Placeholder")
    placeholder.attr["dtype"].type = 1
    here = "x"
    for number in range(layers):
        kernel, _ = np.linalg.qr(random.normal(size=(16, 16)))
        weights = const(f"layer_{number}/kernel", kernel)
        bias = const(f"layer_{number}/bias", random.normal(0, 0.1, 16))
        product = add(f"layer_{number}/MatMul", "MatMul", here, weights)
        added = add(f"layer_{number}/add", "AddV2", product, bias)
        bent = add(f"layer_{number}/Tanh", "Tanh", added)
        here = add(f"layer_{number}/sum", "AddV2", bent, bias)
    add("y", "Identity", here)
    return graph
