"""The rungs of freezing: models that need a rung are frozen by it, and `method` says so; each rung by itself
gives the same numbers as the model."""

import json
import subprocess
import sys

import pytest

from edgefreeze.worker.client import environment

pytestmark = pytest.mark.tf

SCRIPT = """
import json, os, sys
replies = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
import numpy as np, tensorflow as tf
from edgefreeze.errors import Failure
from edgefreeze.worker import freeze, objects
from edgefreeze.worker.optimize import run_frozen

X = tf.TensorSpec([None, 3], name="x")
generator = np.random.default_rng(0)
w, w2 = (tf.Variable(generator.standard_normal((3, 3)), dtype=tf.float32, name=n) for n in ("w", "w2"))
apart = tf.function(lambda x: tf.nn.relu(x @ w), experimental_attributes={"_noinline": True})
compiled = tf.function(lambda x, v: x @ v, jit_compile=True)
measured = tf.data.Dataset.range(3)
parts = tf.ragged.constant([[1.0, 2.0], [3.0]])

def sensitivity(x):  # the gradient of what is not inlined
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(tf.nn.tanh(apart(x)))
    return {"y": tape.gradient(total, x)}

def counting(x):  # waits for a data set of which it uses nothing
    tf.print(measured.reduce(np.int64(0), lambda a, b: a + b), output_stream=sys.stderr)
    return {"y": x @ w}

def needing(x):
    return {"y": x @ w + tf.cast(measured.reduce(np.int64(0), lambda a, b: a + b), tf.float32)}

def plain(x):
    total = tf.while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, tf.tanh(a @ w)), [0, x])[1]
    branch = tf.cond(tf.reduce_sum(x) > 0, lambda: total @ w2, lambda: total + w[0])
    return {"y": branch + tf.reduce_sum(parts), "z": compiled(x, w) + compiled(x, w2), "x": x}

table = tf.Variable(generator.standard_normal((3, 4)), dtype=tf.float32, name="table")

def raw(x):  # what TensorFlow's converter does not know
    shape = tf.raw_ops.VariableShape(input=table.handle)
    there = tf.raw_ops.VarIsInitializedOp(resource=table.handle)
    rows = tf.raw_ops.ResourceGather(
        resource=table.handle, indices=tf.constant([[0, 1], [2, 3], [1, 1]]), dtype=tf.float32, batch_dims=1
    )
    scale = tf.cast(shape[1], tf.float32) * tf.cast(there, tf.float32)
    return {"y": x @ rows * scale, "z": tf.gather(table, [2]) + tf.gather_nd(table, [[1, 2]])}

answers = {}
for function in (sensitivity, counting, needing, plain, raw):
    source = objects.source(tf.function(function, input_signature=[X]), None, (), (), None)
    x = generator.standard_normal((4, 3)).astype("f")
    reference = source.run({"x": x})

    def difference(frozen):
        found = run_frozen(frozen, [{"x": x}]).outputs[0]
        return max(float(np.abs(found[k] - v).max()) for k, v in reference.items())

    rungs = []
    for method, climb in freeze._rungs(source, False, False):
        try:
            rungs.append([method, difference(freeze._finish(*climb(), method))])
        except Exception as error:
            rungs.append([method, type(error).__name__])
    try:
        whole = freeze.freeze(source)
        answers[function.__name__] = {"rungs": rungs, "method": whole.method, "worst": difference(whole)}
    except Failure as failure:
        answers[function.__name__] = {"rungs": rungs, "found": failure.found, "code": failure.code}
replies.write(json.dumps(answers)); replies.flush(); os._exit(0)
"""
FIRST = "convert_variables_to_constants_v2(lower_control_flow=False, aggressive_inlining=False)"
SECOND = "convert_variables_to_constants_v2(lower_control_flow=False, aggressive_inlining=True)"
THIRD = f"captures detached, {FIRST}"
FOURTH = "convert_variables_to_constants_from_session_graph"
FIFTH = "variables read as constants"


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, env=environment())
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


def test_every_rung_computes_the_same(answers):
    assert [method for method, _ in answers["plain"]["rungs"]] == [FIRST, SECOND, THIRD, FOURTH, FIFTH]
    assert answers["plain"]["rungs"][-1][1] == "ValueError"  # a loop takes the variable itself
    for method, worst in answers["plain"]["rungs"][:-1]:
        assert isinstance(worst, float), (method, worst)
        assert worst <= 1e-6
    assert answers["plain"]["method"] == FIRST


@pytest.mark.parametrize(
    ("model", "method", "failing"),
    [
        ("sensitivity", f"{SECOND} after {FIRST}", [FIRST]),
        ("counting", f"{THIRD} after {FIRST}; {SECOND}", [FIRST, SECOND]),
        ("raw", f"{FIFTH} after {FIRST}; {SECOND}; {THIRD}; {FOURTH}", [FIRST, SECOND, THIRD, FOURTH]),
    ],
)
def test_a_model_gets_the_first_rung_that_holds(answers, model, method, failing):
    rungs = dict(answers[model]["rungs"])
    assert all(isinstance(rungs[rung], str) for rung in failing), rungs
    assert answers[model]["method"] == method
    assert answers[model]["worst"] <= 1e-6


def test_what_the_outputs_need_and_nothing_can_take_along_is_refused(answers):
    assert answers["needing"]["code"] == "freeze-refused"
    assert answers["needing"]["found"].startswith("ReduceDataset at ")
    assert all(isinstance(end, str) for _, end in answers["needing"]["rungs"])
