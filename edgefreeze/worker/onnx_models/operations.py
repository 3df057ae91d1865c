"""Operations that tf2onnx lacks and ONNX can express, in the form in which tf2onnx has its own.

Importing this makes them known to tf2onnx, for the whole process.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx import utils
from tf2onnx.handler import tf_op


@tf_op("Erfc")
class Erfc:
    """1 - erf(x): Keras 3 writes its exact GELU with it."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **kwargs: Any) -> None:
        """Replace the node; `node` and `ctx` are tf2onnx's Node and Graph."""
        dtype, shape = ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
        one = ctx.make_const(f"{node.name}_one", np.array(1, utils.map_onnx_to_numpy_type(dtype))).output[0]
        ctx.remove_node(node.name)
        erf = ctx.make_node("Erf", node.input, shapes=[shape], dtypes=[dtype])
        ctx.make_node(
            "Sub", [one, erf.output[0]], name=node.name, outputs=node.output, shapes=[shape], dtypes=[dtype]
        )
