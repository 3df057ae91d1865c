"""The models of TensorFlow 1's recipes, built and frozen as the recipes do: `python recipes.py NAME`, in the
folder to work in. Writes what the recipe itself computes into expected.npz, "in|NAME" and "out|NAME".
"""

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.tools import freeze_graph as freeze_graph_tool
from tensorflow.python.tools import optimize_for_inference_lib, strip_unused_lib

v1 = tf.compat.v1
GENERATOR = np.random.default_rng(7)
IMAGES = GENERATOR.standard_normal((5, 8)).astype("f")
LABELS = GENERATOR.integers(0, 3, 32)


def keep(inputs, outputs):
    arrays = {f"in|{k}": np.asarray(v) for k, v in inputs.items()}
    np.savez("expected.npz", **arrays, **{f"out|{k}": np.asarray(v) for k, v in outputs.items()})


def load_graph(path):
    """As every tutorial has it."""
    graph_def = v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return graph


def computed(path, feeds, fetches):
    with v1.Session(graph=load_graph(path)) as sess:
        return sess.run(fetches, feeds)


@contextlib.contextmanager
def trained(hidden=False):
    """A session on a softmax regression after some steps of training: image → softmax, and a, b."""
    with tf.Graph().as_default():
        v1.set_random_seed(1)
        image = v1.placeholder(tf.float32, [None, 8], name="image")
        label = v1.placeholder(tf.int64, [None], name="label")
        weights = v1.get_variable("weights", [8, 3], use_resource=False)
        bias = v1.get_variable("bias", [3], initializer=v1.zeros_initializer(), use_resource=hidden)
        logits = tf.nn.bias_add(tf.matmul(image, weights), bias, name="logits")
        tf.nn.softmax(logits, name="softmax")
        tf.identity(tf.nn.softmax(logits), name="a")
        tf.argmax(logits, 1, name="b")
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits))
        step = v1.train.GradientDescentOptimizer(0.5).minimize(loss)
        with v1.Session() as sess:
            sess.run(v1.global_variables_initializer())
            pictures = np.random.default_rng(8).standard_normal((32, 8))
            for _ in range(20):
                sess.run(step, {image: pictures, label: LABELS})
            yield sess


def session():
    """convert_variables_to_constants of a live session; then the page's own line on the same session."""
    with trained() as sess:
        constants = tf.compat.v1.graph_util.convert_variables_to_constants(sess, sess.graph_def, ["softmax"])
        Path("recipe.pb").write_bytes(constants.SerializeToString())
        keep({"image": IMAGES}, {"softmax": computed("recipe.pb", {"image:0": IMAGES}, "softmax:0")})
        here(sess=sess)


def checkpoint():
    with trained(hidden=True) as sess:
        v1.train.Saver().save(sess, "./model.ckpt")
    with tf.Graph().as_default(), v1.Session() as sess:
        v1.train.import_meta_graph("./model.ckpt.meta").restore(sess, "./model.ckpt")
        constants = v1.graph_util.convert_variables_to_constants(sess, sess.graph_def, ["softmax"])
        Path("recipe.pb").write_bytes(constants.SerializeToString())
    keep({"image": IMAGES}, {"softmax": computed("recipe.pb", {"image:0": IMAGES}, "softmax:0")})


def freeze_graph(**given):
    """The tool with its arguments under their own names."""
    arguments = {
        "input_graph": "", "input_saver": "", "input_binary": True, "input_checkpoint": "",
        "output_node_names": "", "restore_op_name": "", "filename_tensor_name": "", "output_graph": "recipe.pb",
        "clear_devices": True, "initializer_nodes": "",
    }  # fmt: skip
    freeze_graph_tool.freeze_graph(**{**arguments, **given})


def meta_graph():
    with trained() as sess:
        v1.train.Saver().save(sess, "./model.ckpt")
    freeze_graph(
        input_meta_graph="./model.ckpt.meta", input_checkpoint="./model.ckpt", output_node_names="a,b"
    )
    found = computed("recipe.pb", {"image:0": IMAGES}, {"a": "a:0", "b": "b:0"})
    keep({"image": IMAGES}, found)


def saved_model():
    with trained() as sess:
        get = sess.graph.get_tensor_by_name
        v1.saved_model.simple_save(sess, "D", {"image": get("image:0")}, {"softmax": get("softmax:0")})
    freeze_graph(input_saved_model_dir="D", saved_model_tags="serve", output_node_names="softmax")
    keep({"image": IMAGES}, {"softmax": computed("recipe.pb", {"image:0": IMAGES}, "softmax:0")})


def network():
    """A graph as training leaves it: picture → x (its own mean taken off) → convolution, batch norm → y."""
    with tf.Graph().as_default() as graph:
        picture = v1.placeholder(tf.float32, [None, 6, 6, 2], name="picture")
        x = tf.subtract(picture, tf.reduce_mean(picture, [1, 2, 3], keepdims=True), name="x")
        draw = GENERATOR.standard_normal
        kernel = tf.constant(draw((3, 3, 2, 4)), tf.float32)
        normed, *_ = v1.nn.fused_batch_norm(
            tf.nn.conv2d(x, kernel, 1, "SAME"),
            tf.constant(draw(4), tf.float32),
            tf.constant(draw(4), tf.float32),
            tf.constant(draw(4), tf.float32),
            tf.constant(np.abs(draw(4)) + 0.5, tf.float32),
            is_training=False,
        )
        y = tf.nn.relu(normed, name="y")
        tf.reduce_mean(y, name="loss")
    Path("old.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return GENERATOR.standard_normal((2, 6, 6, 2)).astype("f")


def _as_tool(result, pictures):
    Path("recipe.pb").write_bytes(result.SerializeToString())
    keep({"x": pictures}, {"y": computed("recipe.pb", {"x:0": pictures}, "y:0")})


def optimize_for_inference():
    pictures = network()
    old = v1.GraphDef.FromString(Path("old.pb").read_bytes())
    kind = tf.float32.as_datatype_enum
    _as_tool(optimize_for_inference_lib.optimize_for_inference(old, ["x"], ["y"], kind), pictures)


def strip_unused():
    pictures = network()
    old = v1.GraphDef.FromString(Path("old.pb").read_bytes())
    kind = tf.float32.as_datatype_enum
    _as_tool(strip_unused_lib.strip_unused(old, ["x"], ["y"], kind), pictures)


class Several(tf.Module):
    """Two signatures; what saved_model_cli freezes has a fixed batch, since it takes no other."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(GENERATOR.standard_normal((8, 3)), dtype=tf.float32, name="w")

    @tf.function(input_signature=[tf.TensorSpec([5, 8], name="x")])
    def k(self, x):
        return {"y": tf.nn.softmax(x @ self.w)}

    @tf.function(input_signature=[tf.TensorSpec([5, 8], name="x")])
    def other(self, x):
        return {"y": -(x @ self.w)}


def saved_model_cli():
    module = Several()
    tf.saved_model.save(module, "D", signatures={"k": module.k, "other": module.other})
    tool = Path(sys.executable).with_name("saved_model_cli")
    subprocess.run(
        [tool, "freeze_model", "--dir", "D", "--tag_set", "serve", "--signature_def_key", "k",
         "--output_prefix", "recipe"],
        check=True,
    )  # fmt: skip
    # As recipe/config.pbtxt names them.
    found = computed("recipe/frozen_graph.pb", {"k_x:0": IMAGES}, "StatefulPartitionedCall:0")
    keep({"x": IMAGES}, {"y": found})


def load_and_run():
    """model.pb is edgefreeze's own, of a graph with a table; what the recipe computes is the session's."""
    import edgefreeze

    with tf.Graph().as_default():
        x = v1.placeholder(tf.string, [None], name="x")
        filled = tf.lookup.KeyValueTensorInitializer(["no", "yes"], tf.constant([1, 2], tf.int64))
        found = tf.lookup.StaticHashTable(filled, 0).lookup(x)
        weights = v1.get_variable("weights", [3, 2], use_resource=False)
        tf.gather(weights, found, name="y")
        with v1.Session() as sess:
            sess.run([v1.global_variables_initializer(), v1.tables_initializer()])
            edgefreeze.freeze(sess, "model.pb", inputs=["x"], outputs=["y"])
            words = np.array([b"yes", b"maybe", b"no"])
            keep({"x": words}, {"y": sess.run("y:0", {"x:0": words})})


def frozen_again():
    """A frozen function saved again: the recipe's own SavedModel lies in `recipe`."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    module = Several()
    tf.saved_model.save(module, "D", signatures={"serving_default": module.k})
    constant = convert_variables_to_constants_v2(module.k.get_concrete_function())
    again = tf.Module()
    again.serve = tf.function(
        lambda x: {"y": constant(x)[0]}, input_signature=[tf.TensorSpec([5, 8], name="x")]
    )
    tf.saved_model.save(again, "recipe", signatures={"serving_default": again.serve})
    infer = tf.saved_model.load("recipe").signatures["serving_default"]
    keep({"x": IMAGES}, {"y": infer(x=tf.constant(IMAGES))["y"]})


def here(**names):
    """Run the page's line of Python, in page.py, with the names that it takes for granted."""
    import edgefreeze

    line = compile(Path("page.py").read_text(), "page.py", "exec")
    exec(line, {"edgefreeze": edgefreeze, "tf": tf, **names})


if __name__ == "__main__":
    globals()[sys.argv[1]]()
