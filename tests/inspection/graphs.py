"""Small GraphDefs made by hand, without TensorFlow."""

from edgefreeze.inspection import schema

FLOAT, INT32 = 1, 3


def graph_def():
    return schema.tensorflow("GraphDef")


def add(graph, name, op, *inputs, dtype=FLOAT, shape=None, **attrs):
    node = graph.node.add(name=name, op=op)
    node.input.extend(inputs)
    node.attr["T" if op not in ("Const", "Placeholder") else "dtype"].type = dtype
    if shape is not None and op == "Placeholder":
        node.attr["shape"].shape.SetInParent()
        for size in shape:
            node.attr["shape"].shape.dim.add(size=-1 if size is None else size)
    if op == "Const":
        tensor = node.attr["value"].tensor
        tensor.dtype = dtype
        for size in shape or ():
            tensor.tensor_shape.dim.add(size=size)
        if "values" in attrs:
            tensor.int_val.extend(attrs.pop("values"))
    for key, value in attrs.items():
        if isinstance(value, str):
            node.attr[key].s = value.encode()
        elif isinstance(value, bool):
            node.attr[key].b = value
        elif isinstance(value, int):
            node.attr[key].i = value
        else:
            node.attr[key].list.i.extend(value)
    return node


def classifier():
    """A convolution, a dense layer, a softmax; around them what training and saving leave."""
    g = graph_def()
    add(g, "image", "Placeholder", shape=(None, 8, 8, 3))
    add(g, "keep_prob", "Placeholder", shape=())
    add(g, "labels", "Placeholder", shape=(None, 5))
    add(g, "conv/kernel", "Const", shape=(3, 3, 3, 4))
    add(g, "conv/Conv2D", "Conv2D", "image", "conv/kernel", strides=(1, 2, 2, 1), padding="SAME")
    add(g, "conv/Relu", "Relu", "conv/Conv2D")
    add(g, "dropout/mul", "Mul", "conv/Relu", "keep_prob")
    add(g, "flat/shape", "Const", shape=(2,), dtype=INT32, values=(-1, 64))
    add(g, "flat/Reshape", "Reshape", "dropout/mul", "flat/shape")
    add(g, "dense/kernel", "Const", shape=(64, 5))
    add(g, "dense/MatMul", "MatMul", "flat/Reshape", "dense/kernel")
    add(g, "softmax", "Softmax", "dense/MatMul")
    add(g, "ArgMax", "ArgMax", "softmax")
    add(g, "loss/xent", "SoftmaxCrossEntropyWithLogits", "dense/MatMul", "labels")
    add(g, "gradients/conv/Conv2D_grad", "Conv2DBackpropFilter", "image", "loss/xent")
    add(g, "accuracy/Equal", "Equal", "ArgMax", "labels")
    add(g, "save/control_dependency", "SaveV2", "conv/Relu")
    add(g, "summaries/loss", "ScalarSummary", "loss/xent")
    add(g, "queue/enqueue", "QueueEnqueueV2", "softmax")
    return g
