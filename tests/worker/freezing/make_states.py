"""Models that keep state: `python make_states.py v1|v2|keras FOLDER`. For each a model, and NAME.npz with what
the original gives when it is called several times in a row: "0|in|KEY", "0|out|KEY", "1|in|KEY", …
"""

import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
CALLS = 4
X = tf.TensorSpec([2, 3], name="x")


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype("f")


def keep(path, inputs, call):
    arrays = {}
    for index, given in enumerate(inputs):
        arrays |= {f"{index}|in|{key}": value for key, value in given.items()}
        arrays |= {f"{index}|out|{key}": np.asarray(value) for key, value in call(given).items()}
    np.savez(path, **arrays)


class States(tf.Module):
    """State that is read and written in loops and branches, each as a signature."""

    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(1.0, name="calls")
        self.memory = tf.Variable(tf.zeros([2, 3]), name="memory")
        self.w = tf.Variable(normal((3, 3), 1), name="w")
        self.scale = tf.constant([0.5, 2.0])  # captured as a tensor
        self.step = tf.function(
            lambda x: self.memory.assign_add(x), experimental_attributes={"_noinline": True}
        )

    @tf.function(input_signature=[X])
    def loop(self, x):
        total = tf.zeros([2, 3])
        for i in tf.range(3):
            self.memory.assign(tf.tanh(self.memory @ self.w + x))
            self.calls.assign_add(tf.cast(i, tf.float32))
            total += self.memory * self.calls
        return {"total": total, "now": self.memory.read_value()}

    @tf.function(input_signature=[X])
    def branch(self, x):
        if tf.reduce_sum(x) > 0:
            self.memory.assign_add(x)
            self.calls.assign(tf.reduce_max(x))
        else:
            self.memory.assign(self.memory * 0.5)
        return {"y": self.memory @ self.w + self.calls}

    @tf.function(input_signature=[X])
    def nested(self, x):
        for i in tf.range(4):
            if tf.equal(i % 2, 0):
                self.memory.assign_add(x)
            else:
                for _ in tf.range(2):
                    self.memory.assign(tf.sin(self.memory) + self.calls)
                self.calls.assign_sub(0.25)
        return {"y": self.memory + 0.0}

    @tf.function(input_signature=[X])
    def until(self, x):
        while self.calls < 5.0:
            self.calls.assign_add(1.5)
        self.calls.assign_sub(4.0)
        return {"y": x * self.calls}

    @tf.function(input_signature=[X])
    def parts(self, x):
        self.memory.assign_add(x * tf.reduce_sum(self.scale))
        for _ in tf.range(2):
            self.memory[0, 1].assign(5.0 + self.memory[1, 1])
            self.memory.scatter_add(tf.IndexedSlices(tf.ones([1, 3]), [1]))
        return {"y": tf.gather(self.memory, [1, 0])}

    @tf.function(input_signature=[X])
    def called(self, x):
        self.step(x)
        self.step(2.0 * x)
        return {"y": self.memory @ self.w}

    @tf.function(input_signature=[X])
    def counted(self, x):
        for _ in tf.range(3):
            self.calls.assign_add(1.0)
        return {"y": x @ self.w}

    @tf.function(input_signature=[X])
    def cases(self, x):
        def first():
            self.memory.assign_add(x)
            return 0.0

        return {"y": self.memory + tf.switch_case(tf.cast(x[0, 0], tf.int32), [first, lambda: 1.0])}


def make_v2(folder):
    names = ("loop", "branch", "nested", "until", "parts", "called", "counted", "cases")
    states = States()
    tf.saved_model.save(states, str(folder / "states"), {name: getattr(states, name) for name in names})
    for name in names:
        fresh = States()
        inputs = [{"x": normal((2, 3), seed)} for seed in range(CALLS)]
        call = getattr(fresh, name)
        keep(folder / f"{name}.npz", inputs, lambda given, call=call: call(tf.constant(given["x"])))


def make_keras(folder):
    """Recurrent layers that remember: of Keras 3, or of Keras 2 where that is asked for."""
    import keras

    if os.environ.get("TF_USE_LEGACY_KERAS"):
        import tf_keras as keras

        shape = {"batch_input_shape": (2, 4, 3)}
    else:
        shape = {"batch_shape": (2, 4, 3)}
    for name, layer in (("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)):
        keras.utils.set_random_seed(3)
        series = keras.layers.InputLayer(name="series", **shape)
        model = keras.Sequential([series, layer(5, stateful=True), keras.layers.Dense(2)])
        model.save(folder / f"{name}.{'h5' if 'batch_input_shape' in shape else 'keras'}")
        inputs = [{"series": normal((2, 4, 3), seed)} for seed in range(CALLS)]
        key = model.output_names[0] if "batch_input_shape" in shape else "output_0"
        keep(folder / f"{name}.npz", inputs, lambda given, of=model, key=key: {key: of(given["series"])})


def graph(resources):
    """A running mean and a window behind a branch and a loop, of reference or of resource variables."""
    given = v1.placeholder(tf.float32, [3], name="x")
    x = v1.cond(given[0] > 0, lambda: given * 0.5, lambda: given)
    _, x = v1.while_loop(lambda i, _: i < 2, lambda i, a: (i + 1, a + 0.5), [0, x])
    mean = v1.get_variable("mean", initializer=np.zeros(3, "f"), use_resource=resources)
    window = v1.get_variable("window", initializer=np.zeros((4, 3), "f"), use_resource=resources)
    weights = v1.get_variable("weights", initializer=normal((3, 2), 4), use_resource=resources)
    moved = v1.assign(mean, 0.9 * mean + 0.1 * x)
    with tf.control_dependencies([moved]):
        slid = v1.assign(window, tf.concat([window[1:], x[None]], 0))
    with tf.control_dependencies([slid]):
        y = tf.matmul(window.read_value() - mean.read_value(), weights, name="y")
    return given, y


def either(resources):
    """A branch of version 1 that writes."""
    x = v1.placeholder(tf.float32, [3], name="x")
    mean = v1.get_variable("mean", initializer=np.zeros(3, "f"), use_resource=resources)
    y = v1.cond(tf.reduce_sum(x) > 0, lambda: v1.assign_add(mean, x) * 2.0, lambda: mean + 1.0)
    return x, tf.identity(y, name="y")


def make_v1(folder):
    v1.disable_v2_behavior()
    v1.disable_control_flow_v2()
    for build in (graph, either):
        for resources in (False, True):
            name = f"{build.__name__}_{'resources' if resources else 'references'}"
            with tf.Graph().as_default(), v1.Session() as session:
                x, y = build(resources)
                session.run(v1.global_variables_initializer())
                v1.saved_model.simple_save(session, str(folder / name), {"x": x}, {"y": y})
                (folder / f"{name}_checkpoint").mkdir()
                v1.train.Saver().save(session, str(folder / f"{name}_checkpoint" / "model.ckpt"))
                inputs = [{"x": normal(3, seed)} for seed in range(CALLS)]
                keep(
                    folder / f"{name}.npz",
                    inputs,
                    lambda given, s=session, x=x, y=y: {"y": s.run(y, {x: given["x"]})},
                )


if __name__ == "__main__":
    {"v1": make_v1, "v2": make_v2, "keras": make_keras}[sys.argv[1]](Path(sys.argv[2]))
