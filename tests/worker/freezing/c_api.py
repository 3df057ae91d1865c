"""A frozen graph in TensorFlow's C API alone: `python c_api.py FREEZE.json CASES.npz OUT.npz`, where the first
is the command's --json document and the second has float arrays "in|NAME". Imports no TensorFlow: it loads
the C library out of the package's folder.
"""

import ctypes
import json
import sys
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from importlib.util import find_spec
from pathlib import Path

import numpy as np

DTYPES = {1: np.dtype("f4"), 9: np.dtype("i8")}
CODES = {"float32": 1, "int64": 9}


class Buffer(Structure):
    """TF_Buffer."""

    _fields_ = [("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p)]


class Output(Structure):
    """TF_Output: an operation and the number of one of its outputs."""

    _fields_ = [("operation", c_void_p), ("index", c_int)]


POINTERS = (
    "TF_NewGraph", "TF_NewStatus", "TF_NewImportGraphDefOptions", "TF_NewSessionOptions", "TF_NewSession",
    "TF_GraphOperationByName", "TF_AllocateTensor", "TF_TensorData",
)  # fmt: skip


def library():
    """libtensorflow, as the pip package brings it."""
    folder = Path(find_spec("tensorflow").origin).parent
    framework = ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    found = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name in ("TF_AllocateTensor", "TF_TensorData", "TF_TensorType", "TF_NumDims", "TF_Dim"):
        setattr(found, name, getattr(framework, name))
    for name in POINTERS:
        getattr(found, name).restype = c_void_p
    for name in ("TF_Dim", "TF_TensorByteSize"):
        getattr(found, name).restype = c_int64
    found.TF_Message.restype = c_char_p
    return found


class Session:
    """A graph and a session, by pointers."""

    def __init__(self, graph_def):
        self.tf = tf = library()
        self.status = c_void_p(tf.TF_NewStatus())
        self.graph = c_void_p(tf.TF_NewGraph())
        kept = ctypes.create_string_buffer(graph_def, len(graph_def))
        options = c_void_p(tf.TF_NewImportGraphDefOptions())
        buffer = Buffer(ctypes.cast(kept, c_void_p), len(graph_def), None)
        tf.TF_GraphImportGraphDef(self.graph, byref(buffer), options, self.status)
        self.require()
        self.session = c_void_p(
            tf.TF_NewSession(self.graph, c_void_p(tf.TF_NewSessionOptions()), self.status)
        )
        self.require()

    def require(self):
        if self.tf.TF_GetCode(self.status):
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def operation(self, name):
        found = self.tf.TF_GraphOperationByName(self.graph, name.encode())
        assert found, f"the graph has no operation {name}"
        return found

    def output(self, tensor):
        name, _, index = tensor.rpartition(":")
        return Output(self.operation(name), int(index))

    def tensor(self, array, dtype):
        sizes = (c_int64 * array.ndim)(*array.shape)
        made = c_void_p(self.tf.TF_AllocateTensor(CODES[dtype], sizes, array.ndim, c_size_t(array.nbytes)))
        ctypes.memmove(self.tf.TF_TensorData(made), array.tobytes(), array.nbytes)
        return made

    def array(self, tensor):
        kind = DTYPES[self.tf.TF_TensorType(tensor)]
        shape = [self.tf.TF_Dim(tensor, i) for i in range(self.tf.TF_NumDims(tensor))]
        size = int(np.prod(shape, dtype=int)) * kind.itemsize
        return np.frombuffer(ctypes.string_at(self.tf.TF_TensorData(tensor), size), kind).reshape(shape)

    def run(self, feeds, fetches, targets=()):
        """feeds: [(tensor's name, array, dtype)]; fetches: names of tensors; targets: of operations."""
        given = (Output * len(feeds))(*(self.output(name) for name, _, _ in feeds))
        values = (c_void_p * len(feeds))(*(self.tensor(array, dtype) for _, array, dtype in feeds))
        wanted = (Output * len(fetches))(*map(self.output, fetches))
        found = (c_void_p * len(fetches))()
        aside = (c_void_p * len(targets))(*map(self.operation, targets))
        self.tf.TF_SessionRun.argtypes = [
            c_void_p, c_void_p, POINTER(Output), POINTER(c_void_p), c_int, POINTER(Output), POINTER(c_void_p),
            c_int, POINTER(c_void_p), c_int, c_void_p, c_void_p,
        ]  # fmt: skip
        self.tf.TF_SessionRun(
            self.session, None, given, values, len(feeds), wanted, found, len(fetches), aside, len(targets),
            None, self.status,
        )  # fmt: skip
        self.require()
        return [self.array(c_void_p(tensor)) for tensor in found]


def main(document, cases, out):
    told = json.loads(Path(document).read_text())
    session = Session(Path(told["path"]).read_bytes())
    if told["init_ops"]:
        session.run([], [], told["init_ops"])
    with np.load(cases) as file:
        feeds = [(t["tensor"], file[f"in|{t['name']}"], t["dtype"]) for t in told["inputs"]]
    found = session.run(feeds, [t["tensor"] for t in told["outputs"]])
    np.savez(out, **{t["name"]: array for t, array in zip(told["outputs"], found, strict=True)})
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(*sys.argv[1:])
