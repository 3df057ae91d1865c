"""Models as objects of a process, and frozen graphs as callables: one script that reports what happened."""

import json
import subprocess
import sys

import pytest

from edgefreeze.worker.client import environment

pytestmark = pytest.mark.tf

SCRIPT = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import edgefreeze
light = [m for m in ("tensorflow", "numpy", "click", "msgspec") if m in sys.modules]
import keras, numpy as np, tensorflow as tf
v1, out = tf.compat.v1, Path(sys.argv[1])
answers = {"light": light}

def difference(found, expected):
    return max(float(np.abs(found[k] - np.asarray(v)).max()) for k, v in expected.items())

def told(frozen):
    return [frozen.status, [t.name for t in frozen.inputs], [t.name for t in frozen.outputs]]

def refusal(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "expected", None)]

model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3), keras.layers.Dense(2)])
frozen = edgefreeze.freeze(model, out / "keras.pb", optimize="max")
x = np.ones((2, 4), "f")
with edgefreeze.load_frozen(out / "keras.pb") as infer:
    answers["keras"] = [*told(frozen), difference(infer(x=x), {"output_0": model(x)})]
    answers["bad input"] = [refusal(lambda: infer(z=1)), refusal(lambda: infer(x=np.ones((2, 5))))]

@tf.function
def function(pair, scale=2.0):
    return {"sum": (pair["a"] + pair["b"]) * scale, "both": (pair["a"], {"b": pair["b"]})}

specs = {k: tf.TensorSpec([None, 2], tf.float32, name=k) for k in "ab"}
answers["function"] = told(edgefreeze.freeze(function, signature=[specs]))
answers["concrete"] = told(edgefreeze.freeze(function.get_concrete_function(specs)))
answers["no specs"] = refusal(lambda: edgefreeze.freeze(function))

class Module(tf.Module):
    def __init__(self):
        self.w = tf.Variable(tf.ones([2, 2]), name="w")
    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
    def first(self, x):
        return x @ self.w
    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
    def second(self, x):
        self.w.assign_add(tf.ones([2, 2]))
        return x @ self.w

answers["module"] = told(edgefreeze.freeze(Module(), signature="first", samples={"x": np.eye(2)}))
answers["stateful"] = refusal(lambda: edgefreeze.freeze(Module(), out / "no.pb", signature="second"))
answers["which"] = refusal(lambda: edgefreeze.freeze(Module()))
answers["written"] = (out / "no.pb").exists()

with tf.Graph().as_default() as graph:
    p = v1.placeholder(tf.float32, [None, 3], name="p")
    q = v1.placeholder(tf.string, [None], name="q")
    soft = tf.nn.softmax(p @ v1.get_variable("w", [3, 2], use_resource=False), name="soft")
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64)), -1)
    number = tf.identity(table.lookup(q), name="number")
    with v1.Session() as session:
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        frozen = edgefreeze.freeze(session, out / "session.pb", inputs=[p, "q"], outputs=["soft", number, p])
        given = {"p": [[1, 2, 3]], "q": ["b"]}
        expected = session.run({"soft": soft, "number": number}, {p: given["p"], q: given["q"]})
        answers["no outputs"] = refusal(lambda: edgefreeze.freeze(session))
infer = edgefreeze.load_frozen(out / "session.pb")
answers["session"] = [*told(frozen), difference(infer(given), expected), list(frozen.init_ops)]
answers["something else"] = refusal(lambda: edgefreeze.freeze(3))

(out / "cut.pb").write_bytes((out / "keras.pb").read_bytes()[:-20])
(out / "empty.pb").write_bytes(b"")
no_graphs = ("cut.pb", "empty.pb", "no.pb")
answers["no graph"] = [refusal(lambda: edgefreeze.load_frozen(out / name)) for name in no_graphs]

plain = v1.GraphDef.FromString((out / "session.pb").read_bytes())
for node in plain.node:
    for attr in [a for a in node.attr if a.startswith("_edgefreeze")]:
        del node.attr[attr]
(out / "plain.pb").write_bytes(plain.SerializeToString())
infer = edgefreeze.load_frozen(out / "plain.pb")
answers["without marks"] = [sorted(t.name for t in infer.inputs), difference(infer(given), expected)]
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path_factory.mktemp("objects"))],
        capture_output=True,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


def test_importing_it_costs_nothing(answers):
    assert answers["light"] == []


def test_a_keras_model(answers):
    assert answers["keras"][:3] == ["frozen", ["x"], ["output_0"]]
    assert answers["keras"][3] < 1e-5


def test_a_function_is_frozen_where_it_says_its_inputs(answers):
    expected = ["frozen", ["a", "b"], ["both_0", "both_1_b", "sum"]]
    assert answers["function"] == answers["concrete"] == expected
    assert answers["no specs"][:2] == ["Failure", "The function does not say what its inputs are."]


def test_a_module_is_frozen_by_its_only_function_or_the_one_named(answers):
    assert answers["module"] == ["frozen", ["x"], ["output_0"]]
    assert answers["stateful"][1].startswith("The model changes the variable 'w' whenever it is called")
    assert not answers["written"]
    assert answers["which"] == [
        "Failure",
        "Module has 2 tf.functions, and none is __call__.",
        "signature='first' or 'second'",
    ]


def test_a_session_with_a_table(answers):
    status, inputs, outputs, error, init_ops = answers["session"]
    assert (status, inputs, outputs) == ("frozen", ["p", "q"], ["number", "p", "soft"])
    assert error < 1e-6
    assert init_ops == ["init_all_tables"]
    assert answers["no outputs"][1] == "Nothing says what the outputs of the session are."


def test_what_is_no_model_is_a_type_error(answers):
    kind, text, _ = answers["something else"]
    assert kind == "TypeError"
    assert text.startswith("int is no path, Keras model, tf.Module, tf.function, ConcreteFunction")


def test_a_loaded_graph_checks_its_inputs(answers):
    names, shape = answers["bad input"]
    assert names == ["Failure", "These are not the model's inputs.", "x"]
    assert shape == ["Failure", "The input 'x' has another shape.", "['any', 4]"]


def test_what_is_no_graph_is_refused(answers):
    cut, empty, missing = (text for _, text, _ in answers["no graph"])
    assert cut.endswith("cut.pb is no frozen graph.")
    assert empty.endswith("empty.pb is no frozen graph.")
    assert missing.startswith("There is no frozen graph at ")


def test_a_graph_without_marks_tells_by_its_structure(answers):
    inputs, error = answers["without marks"]
    assert inputs == ["p", "q"]
    assert error < 1e-6
