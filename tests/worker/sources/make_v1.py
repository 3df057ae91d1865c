"""Models of TensorFlow 1, made on the spot: `python make_v1.py FOLDER`. In a process of its own, in which
TensorFlow behaves as version 1 did."""

import shutil
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

v1 = tf.compat.v1
v1.disable_v2_behavior()
v1.disable_control_flow_v2()
v1.disable_resource_variables()

WORDS = ["ape", "bee", "cat"]


def normal(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype("f")


def variable(name, value, **options):
    return v1.get_variable(name, initializer=value, **options)


def session():
    made = v1.Session()
    made.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
    return made


def signature(inputs, outputs):
    def infos(tensors):
        return {key: v1.saved_model.utils.build_tensor_info(t) for key, t in tensors.items()}

    return v1.saved_model.build_signature_def(infos(inputs), infos(outputs), "predict")


def words(folder):
    """Two MetaGraphs; in the one that serves, words are looked up in a table that an asset fills."""
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    builder = v1.saved_model.Builder(str(folder))
    for tags, scale in ((["train", "gpu"], 3.0), (["serve"], 1.0)):
        with tf.Graph().as_default():
            word = v1.placeholder(tf.string, [None], name="word")
            ids = v1.placeholder(tf.int64, [None], name="ids")
            weights = variable("weights", normal([4, 2], 1) * scale)
            table = tf.lookup.StaticHashTable(
                tf.lookup.TextFileInitializer(
                    str(vocabulary),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                3,
            )
            found = tf.gather(weights, table.lookup(word))
            signatures = {
                "look_up": signature({"word": word}, {"row": found, "word": word}),
                "rows/by id": signature({"the ids": ids}, {"a row": tf.gather(weights, ids)}),
            }
            with session() as made:
                made.run(v1.tables_initializer())
                options = {
                    "signature_def_map": signatures,
                    "main_op": v1.tables_initializer(),
                    "strip_default_attrs": True,
                }
                if scale == 3.0:
                    builder.add_meta_graph_and_variables(
                        made,
                        tags,
                        assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
                        **options,
                    )
                else:
                    builder.add_meta_graph(
                        tags, assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS), **options
                    )
    builder.save()
    vocabulary.unlink()


def simple(folder, build, tags=("serve",)):
    """One MetaGraph; `build` returns (inputs, outputs) or signatures, and may return what to initialise."""
    with tf.Graph().as_default():
        built = build()
        signatures = built if isinstance(built, dict) else {"serving_default": signature(*built)}
        with session() as made:
            builder = v1.saved_model.Builder(str(folder))
            builder.add_meta_graph_and_variables(
                made,
                list(tags),
                signature_def_map=signatures,
                main_op=v1.tables_initializer() if v1.get_collection("table_initializer") else None,
                assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS) or None,
            )
            builder.save()


def baked_path():
    """A table filled from a path of the author's machine that is not declared as an asset."""
    word = v1.placeholder(tf.string, [None], name="word")
    table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            "/home/author/words.txt",
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )
    variable("spare", normal([1], 1))
    v1.get_default_graph().clear_collection(v1.GraphKeys.ASSET_FILEPATHS)
    return {"word": word}, {"id": table.lookup(word)}


def reads_file(path):
    def build():
        asset = tf.constant(str(path))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        x = v1.placeholder(tf.string, [None], name="x")
        variable("spare", normal([1], 1))
        return {"x": x}, {"y": tf.strings.join([x, tf.io.read_file(asset)])}

    return build


def uses_path(path):
    def build():
        inputs, _ = reads_file(path)()
        asset = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)[0]
        return inputs, {"y": tf.strings.join([inputs["x"], asset])}

    return build


def sparse():
    x = v1.sparse_placeholder(tf.float32, [None, 4], name="x")
    weights = variable("weights", normal([4, 2], 2))
    return {"x": x}, {"y": tf.sparse.sparse_dense_matmul(x, weights)}


def counting():
    x = v1.placeholder(tf.float32, [None], name="x")
    hits = variable("hits", np.zeros([3], "f"))
    counter = variable("counter", np.float32(0))
    with tf.control_dependencies([v1.assign_add(counter, 1.0), v1.scatter_add(hits, [1], [2.0])]):
        return {"x": x}, {"y": x + counter + tf.reduce_sum(hits)}


def network(x, keep):
    """Reference variables, a loop and a branch of version 1, and dropout."""
    weights, bias = variable("dense/weights", normal([4, 3], 3)), variable("dense/bias", normal([3], 4))
    hidden = tf.nn.relu(v1.nn.xw_plus_b(x, weights, bias))
    hidden = tf.where(keep < 1.0, v1.nn.dropout(hidden, keep_prob=keep), hidden)
    steps = tf.constant(3)
    _, looped = v1.while_loop(
        lambda i, a: i < steps,
        lambda i, a: (i + 1, tf.tanh(tf.matmul(a, weights, transpose_b=True)[:, :3])),
        [0, hidden],
    )
    scale = variable("scale", np.float32(2.0), collections=[v1.GraphKeys.LOCAL_VARIABLES])
    branch = tf.cond(tf.reduce_sum(looped) > 0, lambda: looped * scale, lambda: looped - bias)
    return tf.identity(branch, "logits")


def training():
    """A training graph: placeholders, loss, slots, summaries, a saver. Returns its saver."""
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    labels = v1.placeholder(tf.int64, [None], name="labels")
    keep = v1.placeholder_with_default(1.0, [], name="keep_prob")
    logits = network(x, keep)
    probabilities = tf.nn.softmax(logits, name="probabilities")
    tf.argmax(probabilities, -1, name="prediction")
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels), name="loss"
    )
    v1.summary.scalar("loss", loss)
    v1.train.AdamOptimizer(0.01).minimize(loss)


def checkpoint(folder, build=training, name="model.ckpt", **saver):
    folder.mkdir()
    with tf.Graph().as_default():
        build()
        with session() as made:
            v1.train.Saver(**saver).save(made, str(folder / name))


def rewrite(source, target, change):
    """A copy of a checkpoint whose MetaGraph is changed."""
    shutil.copytree(source, target)
    (meta,) = target.glob("*.meta")
    graph = v1.MetaGraphDef.FromString(meta.read_bytes())
    change(graph)
    meta.write_bytes(graph.SerializeToString())


def as_of_2016(meta):
    meta.meta_info_def.tensorflow_version = "0.12.head"
    for node in meta.graph_def.node:
        if node.op == "VariableV2":
            node.op = "Variable"


def without_saver(meta):
    meta.ClearField("saver_def")


def partitioned():
    with v1.variable_scope("", partitioner=v1.fixed_size_partitioner(2)):
        table = v1.get_variable("table", [6, 2], initializer=v1.initializers.random_normal(seed=1))
    ids = v1.placeholder(tf.int64, [None], name="ids")
    v1.nn.embedding_lookup(table, ids, partition_strategy="div", name="rows")


def pipeline():
    queue = v1.FIFOQueue(4, [tf.float32], shapes=[[2, 4]], name="queue")
    weights = variable("weights", normal([4, 3], 3))
    tf.matmul(queue.dequeue(name="dequeue"), weights, name="y")


def graph_of(build):
    with tf.Graph().as_default() as graph:
        build()
        return graph.as_graph_def()


def two_outputs():
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    mean, variance = tf.nn.moments(x, [1], name="moments")
    tf.identity(mean, "mean")
    tf.split(x, 2, axis=1, name="halves")
    tf.identity(variance, "variance")


def one_output():
    x = v1.placeholder(tf.float32, [None, 4], name="x")
    hidden = tf.nn.relu(tf.matmul(x, tf.constant(normal([4, 3], 1))), name="hidden")
    tf.nn.softmax(hidden, name="probabilities")


def old_table():
    """Reference tables, as before version 1.0, filled from constants."""
    from tensorflow.python.ops import gen_lookup_ops

    word = v1.placeholder(tf.string, [None], name="word")
    table = gen_lookup_ops.hash_table(tf.string, tf.int64, shared_name="words", name="table")
    gen_lookup_ops.initialize_table(table, tf.constant(WORDS), tf.constant([5, 6, 7], tf.int64), name="fill")
    gen_lookup_ops.lookup_table_find(table, word, tf.constant(-1, tf.int64), name="id")


def of_version_8():
    """An operation that was taken away in version 9 of the graph format."""
    graph = graph_of(one_output)
    graph.versions.producer = 8
    for name, value in (
        ("m", normal([3], 5)),
        ("v", np.abs(normal([3], 6))),
        ("b", normal([3], 7)),
        ("g", normal([3], 8)),
    ):
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = 1
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    shape = graph.node.add(name="image/shape", op="Const")
    shape.attr["dtype"].type = 3
    shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array([-1, 1, 1, 3], "i4")))
    image = graph.node.add(name="image", op="Reshape", input=["hidden", "image/shape"])
    image.attr["T"].type = 1
    image.attr["Tshape"].type = 3
    norm = graph.node.add(
        name="norm", op="BatchNormWithGlobalNormalization", input=["image", "m", "v", "b", "g"]
    )
    norm.attr["T"].type = 1
    norm.attr["variance_epsilon"].f = 0.001
    norm.attr["scale_after_normalization"].b = True
    return graph


def for_gpus():
    from tensorflow.python.ops import gen_cudnn_rnn_ops

    x = v1.placeholder(tf.float32, [5, 2, 3], name="x")
    state = tf.zeros([1, 2, 4])
    gen_cudnn_rnn_ops.cudnn_rnn(x, state, state, tf.zeros([200]), name="rnn")


def with_op(op):
    graph = graph_of(one_output)
    node = graph.node.add(name="odd", op=op, input=["probabilities"])
    node.attr["T"].type = 1
    return graph


def make(folder):
    words(folder / "words")
    (folder / "note.txt").write_text(" is noted")
    simple(folder / "baked_path", baked_path)
    (folder / "baked_path" / "assets").mkdir()
    (folder / "baked_path" / "assets" / "words.txt").write_text("\n".join(WORDS) + "\n")
    simple(folder / "reads_file", reads_file(folder / "note.txt"))
    simple(folder / "uses_path", uses_path(folder / "note.txt"))
    simple(folder / "sparse", sparse)
    simple(folder / "counting", counting)
    simple(folder / "unsigned", lambda: (training(), {})[1])
    text = saved_model_pb2.SavedModel.FromString((folder / "sparse" / "saved_model.pb").read_bytes())
    shutil.copytree(folder / "sparse", folder / "as_text")
    (folder / "as_text" / "saved_model.pb").unlink()
    (folder / "as_text" / "saved_model.pbtxt").write_text(text_format.MessageToString(text))

    checkpoint(folder / "v2")
    checkpoint(folder / "sharded_v1", name="export", write_version=1, sharded=True)
    checkpoint(folder / "whole_v1", name="export", write_version=1)
    rewrite(folder / "v2", folder / "of_2016", as_of_2016)
    rewrite(folder / "v2", folder / "no_saver", without_saver)
    checkpoint(folder / "partitioned", partitioned)
    checkpoint(folder / "pipeline", pipeline)
    shutil.copytree(folder / "v2", folder / "no_meta")
    (folder / "no_meta" / "model.ckpt.meta").unlink()
    shutil.copytree(folder / "v2", folder / "no_values")
    for file in (folder / "no_values").glob("model.ckpt.*"):
        if file.suffix != ".meta":
            file.unlink()
    shutil.copytree(folder / "v2", folder / "no_slots")

    graphs = {
        "one": graph_of(one_output),
        "two": graph_of(two_outputs),
        "old_table": graph_of(old_table),
        "version_8": of_version_8(),
        "custom": with_op("AcmeWhiten"),
        "tensorrt": with_op("TRTEngineOp"),
        "training": graph_of(training),
        "gpu": graph_of(for_gpus),
    }
    for name, graph in graphs.items():
        (folder / f"{name}.bin").write_bytes(graph.SerializeToString())
    (folder / "one.txt").write_text("# a graph\n" + text_format.MessageToString(graphs["one"]))
    (folder / "none.bin").write_bytes(graph_pb2.GraphDef().SerializeToString() or b"\0")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
