"""The structural gate, on graphs with one fault each, and what makes a GraphDef canonical."""

import subprocess
import sys

import pytest

from edgefreeze.worker.client import environment

pytestmark = pytest.mark.tf

SCRIPT = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
import tensorflow as tf
from edgefreeze.errors import Failure
from edgefreeze.types import Tensor
from edgefreeze.worker import gate, graphs

def tensor(name, dtype="float32"):
    return Tensor(name=name, tensor=name + ":0", dtype=dtype, shape=(None,))

@tf.function(autograph=False)
def double(x):
    return x + x

def good():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        tf.identity(double(x), name="y")
    return graph.as_graph_def()

def verdict(change, inputs=("x",), outputs=("y",), labels=None):
    graph = good()
    change(graph)
    try:
        gate.check(graph, [tensor(i) for i in inputs], [tensor(o) for o in outputs], labels)
    except Failure as failure:
        return [failure.code, failure.message, failure.found]
    return None

def node(where, name, op, *inputs):
    made = where.add(name=name, op=op)
    made.input.extend(inputs)
    return made

def in_function(graph):
    node(graph.library.function[0].node_def, "read", "ReadVariableOp", "x")

def resource(graph):
    node(graph.node, "table", "Placeholder").attr["dtype"].type = tf.resource.as_datatype_enum
    node(graph.node, "through", "Identity", "table")
    node(graph.node, "find", "LookupTableFindV2", "through", "x", "x")

def dangling(graph):
    graph.node[-1].input[0] = "nowhere:0"

def lost_function(graph):
    del graph.library.function[:]

answers = {
    "good": verdict(lambda g: None),
    "variable": verdict(lambda g: node(g.node, "v", "VarHandleOp")),
    "ref variable": verdict(lambda g: node(g.node, "w", "VariableV2")),
    "assign": verdict(lambda g: node(g.node, "a", "AssignAddVariableOp", "x", "x")),
    "in a function": verdict(in_function),
    "resource": verdict(resource, labels={"table": "the table 'words'"}),
    "resource without a name": verdict(resource),
    "unknown op": verdict(lambda g: node(g.node, "m", "MadeUpOp", "x")),
    "lost function": verdict(lost_function),
    "dangling": verdict(dangling),
    "input": verdict(lambda g: None, inputs=("z",)),
    "input that is no placeholder": verdict(lambda g: None, inputs=("x", "y")),
    "output": verdict(lambda g: None, outputs=("logits",)),
    "placeholder": verdict(lambda g: node(g.node, "phase", "Placeholder")),
}

# Canonical: the trace counters and the order of nodes do not show; two bodies of one name do.
def shuffled(graph):
    nodes = list(graph.node)[::-1]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.node[0].experimental_debug_info.original_node_names.append("past")
    return graph

one = graphs.canonical(good(), ["x"], ["y"])
two = graphs.canonical(shuffled(good()), ["x"], ["y"])
again = graphs.canonical(one, ["x"], ["y"])
other = good()
other.library.function[0].node_def[0].op = "Mul"
other = graphs.canonical(other, ["x"], ["y"])
name = lambda g: g.library.function[0].signature.name
unused = good()
node(unused.node, "dead", "Placeholder")
answers["canonical"] = {
    "equal": one.SerializeToString(deterministic=True) == two.SerializeToString(deterministic=True),
    "stable": one.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True),
    "name": name(one),
    "other": name(other),
    "used": any(name(one) in (n.op, *(f.name for f in graphs.functions_of(n))) for n in one.node),
    "pruned": "dead" not in {n.name for n in graphs.canonical(unused, ["x"], ["y"]).node},
    "kept": "dead" in {n.name for n in graphs.canonical(unused, ["x", "dead"], ["y"]).node},
}
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""


@pytest.fixture(scope="module")
def answers():
    import json

    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, env=environment())
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


def test_a_whole_graph_passes(answers):
    assert answers["good"] is None


@pytest.mark.parametrize(
    ("fault", "message", "found"),
    [
        ("variable", "still has variables", "VarHandleOp at v"),
        ("ref variable", "still has variables", "VariableV2 at w"),
        ("assign", "still has variables", "AssignAddVariableOp at a"),
        ("in a function", "still has variables", "ReadVariableOp at read in function __inference_double_"),
        (
            "resource",
            "uses the table 'words', which a frozen graph cannot take along",
            "LookupTableFindV2 at find",
        ),
        ("resource without a name", "uses the resource 'table', which", "LookupTableFindV2 at find"),
        ("unknown op", "operations that TensorFlow does not know", "MadeUpOp"),
        ("lost function", "operations that TensorFlow does not know", "__inference_double_"),
        ("dangling", "nodes whose inputs are not there", "nowhere:0 of y"),
        ("input", "lacks inputs of the signature", "z (z:0)"),
        ("input that is no placeholder", "lacks inputs of the signature", "y (y:0)"),
        ("output", "lacks outputs of the signature", "logits (logits:0)"),
        ("placeholder", "placeholders that are no input of the signature", "phase"),
    ],
)
def test_a_fault_is_refused_by_name(answers, fault, message, found):
    code, said, named = answers[fault]
    assert code == "freeze-refused"
    assert message in said
    assert found in named


def test_a_canonical_graph_shows_the_model_and_not_the_process(answers):
    result = answers["canonical"]
    assert result["equal"]
    assert result["stable"]
    assert result["used"]
    assert result["pruned"]
    assert result["kept"]
    assert result["name"].startswith("double_h")
    assert result["other"].startswith("double_h")
    assert result["other"] != result["name"]
