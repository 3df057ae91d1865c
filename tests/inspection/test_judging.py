"""The judgements: candidates, shapes and cost, fit, advice, blocks. No model is loaded."""

import pytest

from edgefreeze.errors import Failure
from edgefreeze.inspection import advice, blocks, graph_def
from edgefreeze.inspection.candidates import candidates
from edgefreeze.inspection.cost import cost
from edgefreeze.inspection.fit import changes_state, fit, fit_of_layers
from edgefreeze.inspection.graph import Graph, Node, Value
from edgefreeze.inspection.shapes import infer
from tests.inspection.graphs import INT32, add, classifier
from tests.inspection.graphs import graph_def as empty


def test_outputs_are_ranked_and_what_training_leaves_is_left_out():
    found = candidates(classifier())
    assert found.outputs[0].node == "softmax"
    assert any("Softmax" in reason for reason in found.outputs[0].reasons)
    wrong = {
        "loss/xent",
        "gradients/conv/Conv2D_grad",
        "save/control_dependency",
        "summaries/loss",
        "queue/enqueue",
    }
    assert not wrong & {c.node for c in found.outputs}
    left_out = {entry.node: entry.reason for entry in found.left_out}
    assert left_out["gradients/conv/Conv2D_grad"] == "a gradient"
    assert left_out["save/control_dependency"] == "a saver's"
    assert left_out["summaries/loss"] == "a summary"
    assert left_out["queue/enqueue"] == "a queue's or reader's"


def test_the_input_is_the_placeholder_that_feeds_the_first_layer():
    found = candidates(classifier())
    assert found.inputs[0].node == "image"
    assert "first layer" in found.inputs[0].reasons[0]
    assert "labels" not in {c.node for c in found.inputs}  # the outputs do not need it
    (switch,) = [c for c in found.inputs if c.node == "keep_prob"]
    assert "training switch" in switch.reasons[0]


def test_shapes_and_cost_by_hand():
    graph = graph_def.read(classifier(), ["softmax"])
    values = infer(graph)
    assert values["conv/Conv2D:0"].shape == (1, 4, 4, 4)
    assert values["dense/MatMul:0"].shape == (1, 5)
    by = {row.op: row for row in cost(graph).by_operation}
    assert by["Conv2D"].flops == 2 * (4 * 4 * 4) * (3 * 3 * 3)
    assert by["MatMul"].flops == 2 * 5 * 64
    assert by["Relu"].bytes == 2 * 4 * 64
    assert cost(graph).uncounted == 0


def test_a_called_function_is_inlined_and_a_loop_is_not():
    g = empty()
    add(g, "x", "Placeholder", shape=(None, 3))
    call = add(g, "call", "PartitionedCall", "x")
    call.attr["f"].func.name = "twice"
    loop = add(g, "loop", "While", "call:0")
    loop.attr["body"].func.name = "twice"
    function = g.library.function.add()
    function.signature.name = "twice"
    function.signature.input_arg.add(name="value")
    function.signature.output_arg.add(name="result")
    node = function.node_def.add(name="double", op="Mul")
    node.input.extend(["value", "value"])
    function.ret["result"] = "double:z:0"
    graph = graph_def.read(g, ["loop"])
    assert [(n.op, n.body) for n in graph.nodes] == [
        ("Placeholder", None), ("Mul", None), ("While", None), ("Mul", "loop"),
    ]  # fmt: skip
    assert graph.nodes[2].inputs == ("double:0",)


@pytest.mark.parametrize(
    ("kind", "ops", "name", "works", "stands_in_the_way"),
    [
        ("frozen_graph", ["Conv2D", "Relu"], "tflite", "yes", ()),
        ("frozen_graph", ["DecodeWav", "Mfcc", "Conv2D"], "tflite", "no", ("DecodeWav", "Mfcc")),
        ("frozen_graph", ["DecodeWav", "Conv2D"], "onnx", "no", ("DecodeWav",)),
        ("frozen_graph", ["DecodeWav", "Conv2D"], "frozen_pb", "yes", ()),
        ("saved_model", ["AssignVariableOp", "Add"], "frozen_pb", "no", ("AssignVariableOp",)),
        ("saved_model", ["AssignVariableOp", "Add"], "saved_model", "no", ("AssignVariableOp",)),
        ("saved_model", ["DecodeWav", "Add"], "saved_model", "yes", ()),
        ("tflite", ["CONV_2D", "custom FlexErf"], "tflite", "no", ("custom FlexErf",)),
        ("tflite", ["CONV_2D"], "onnx", "no", ()),
        ("keras", [], "tflite", "unknown", ()),
    ],
)
def test_a_format_is_refused_by_the_operations_in_its_way(kind, ops, name, works, stands_in_the_way):
    found = fit(kind, ops, name)
    assert (found.works, found.operations) == (works, stands_in_the_way)
    assert not found.operations or found.operations[0] in found.reason


def test_a_keras_file_is_judged_by_its_layers():
    assert fit_of_layers(["Dense", "ReLU"], "tflite").works == "yes"
    assert fit_of_layers(["TextVectorization"], "onnx").works == "no"
    assert fit_of_layers(["MyOwn"], "onnx").works == "unknown"
    assert fit_of_layers(["MyOwn"], "frozen_pb").works == "yes"


def test_a_model_with_state_is_refused_in_every_format_as_a_build_refuses_it():
    formats = ("tflite", "frozen_pb", "saved_model")
    fits = {name: fit("saved_model", ["Assign"], name) for name in formats}
    facts = advice.Facts(
        kind="saved_model", signatures=1, input_dtypes=("float32",), tables=0, control_flow=(), parameters=1, flops=1, free_batch=False,
    )  # fmt: skip
    found = advice.advise("board", formats, fits, facts)
    assert found.format is None
    assert all("--hoist-state" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("op", "changes"),
    [
        ("ScatterNd", False), ("ScatterNdNonAliasingAdd", False), ("ScatterNdUpdate", True), ("Assign", True),
        ("LookupTableInsertV2", True), ("LookupTableFindV2", False), ("Conv2D", False),
    ],
)  # fmt: skip
def test_state_is_what_the_next_call_sees(op, changes):
    assert changes_state(op) == changes
    assert (fit("saved_model", [op], "frozen_pb").works == "no") == changes


def test_tensorrt_has_a_name_and_a_reason_where_it_is_first():
    formats = ("tensorrt", "saved_model")
    facts = advice.Facts(
        kind="saved_model", signatures=1, input_dtypes=("float32",), tables=0, control_flow=(),
        parameters=1, flops=1, free_batch=False,
    )  # fmt: skip
    for ops, first, reason in (
        (["Conv2D"], "tensorrt", "engine"),
        (["DecodeWav"], "saved_model", "not TensorRT"),
    ):
        found = advice.advise("orin", formats, {n: fit("saved_model", ops, n) for n in formats}, facts)
        assert found.format == first
        assert any(reason in sentence for sentence in found.reasons)


@pytest.mark.parametrize(
    ("op", "inputs", "kernel"),
    [
        ("Conv2DBackpropInput", ("size", "kernel", "small"), (3, 3, 5, 3)),
        ("TRANSPOSE_CONV", ("size", "kernel", "small"), (5, 3, 3, 3)),
        ("ConvTranspose", ("small", "kernel"), (3, 5, 3, 3)),
    ],
)
def test_a_transposed_convolution_costs_each_input_times_its_kernel(op, inputs, kernel):
    values = {
        "small": Value("float32", (1, 4, 4, 3)), "kernel": Value("float32", kernel),
        "size": Value("int32", (4,)), "y": Value("float32", (1, 8, 8, 5)),
    }  # fmt: skip
    graph = Graph([Node("up", op, inputs, ("y",))], values, ("small",), ("y",))
    found = cost(graph)
    assert (found.flops, found.uncounted) == (2 * (4 * 4 * 3) * (3 * 3 * 5), 0)


@pytest.mark.parametrize(
    "op", ["LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BlockLSTMV2", "GRU", "Einsum", "XlaEinsum"]
)
def test_what_hangs_on_more_than_shapes_is_not_counted(op):
    node = Node("n", op, ("x",), ("y",))
    graph = Graph([node], {"x": Value("float32", (1, 3)), "y": Value("float32", (1, 3))}, ("x",), ("y",))
    assert cost(graph).uncounted == 1


def test_functions_that_double_at_each_call_are_refused_and_not_followed():
    g = empty()
    add(g, "x", "Placeholder", shape=(1,))
    for depth in range(40):
        function = g.library.function.add()
        function.signature.name = f"f{depth}"
        function.signature.input_arg.add(name="value")
        function.signature.output_arg.add(name="result")
        for name in ("one", "two"):
            node = function.node_def.add(name=name, op=f"f{depth + 1}" if depth < 39 else "Neg")
            node.input.append("value")
        function.ret["result"] = "one:result:0"
    add(g, "call", "f0", "x")
    with pytest.raises(Failure) as caught:
        graph_def.read(g, ["call"])
    assert caught.value.code == "model-broken"


def test_a_chain_that_doubles_its_integers_ends():
    g = empty()
    add(g, "axis", "Const", shape=(), dtype=INT32, values=(0,))
    add(g, "c0", "Const", shape=(2,), dtype=INT32, values=(1, 2))
    for number in range(40):
        add(g, f"c{number + 1}", "ConcatV2", f"c{number}", f"c{number}", "axis", dtype=INT32)
    values = infer(graph_def.read(g, ["c40"]))
    assert values["c5:0"].integers is not None
    assert values["c40:0"].integers is None


def test_blocks_are_layers_not_nodes():
    found, edges = blocks.of_graph(graph_def.read(classifier(), ["softmax"]))
    names = [block.name for block in found]
    assert names == ["image", "conv", "keep_prob", "dropout", "flat", "dense", "softmax"]
    assert ("conv", "dropout") in edges
    assert next(b for b in found if b.name == "conv").parameters == 3 * 3 * 3 * 4
    text = blocks.dot('a "b"', found, edges)
    assert text.startswith('digraph "a \\"b\\"" {')
    assert text.count("->") == len(edges)
