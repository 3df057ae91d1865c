"""A stand-in for LiteRT's package: an interpreter in pure Python whose faults a model's file names.

The file is JSON: {"ms": how long a call is busy, and of the faults those that are wanted:
    "outlier": [every, ms]   "stale_after": calls   "leak": bytes a call   "crash_after": calls
    "hang_after": calls      "factor": of the output}. It computes y = 2 x.
"""

PACKAGE = """
import json
import os
import threading
import time

import numpy as np


threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()  # as a runtime's pool


class OpResolverType:
    BUILTIN_WITHOUT_DEFAULT_DELEGATES = 4


class Interpreter:
    def __init__(self, model_path, num_threads=1, experimental_op_resolver_type=None):
        with open(model_path) as stream:
            self.how = json.load(stream)
        self.ms = self.how.get("ms", 1.0) * (2 if experimental_op_resolver_type else 1)
        self.calls = 0
        self.kept = []
        self.x = self.y = None

    def get_input_details(self):
        return [{"name": "x", "index": 0, "shape": [1, 8], "quantization": (0.0, 0), "dtype": np.float32}]

    def get_output_details(self):
        return [{"name": "y", "index": 1, "shape": [1, 8], "quantization": (0.0, 0), "dtype": np.float32}]

    def resize_tensor_input(self, index, shape, strict=False):
        pass

    def allocate_tensors(self):
        pass

    def set_tensor(self, index, array):
        self.x = array

    def invoke(self):
        how, ms = self.how, self.ms
        self.calls += 1
        if "outlier" in how and self.calls % how["outlier"][0] == 0:
            ms += how["outlier"][1]
        if self.calls == how.get("crash_after"):
            os.abort()
        if self.calls == how.get("hang_after"):
            time.sleep(3600)
        if "leak" in how:
            self.kept.append(np.ones(how["leak"] // 8))
        if self.y is None or self.calls < how.get("stale_after", 1 << 60):
            self.y = self.x * np.float32(2 * how.get("factor", 1))
        until = time.perf_counter() + ms / 1000
        while time.perf_counter() < until:
            pass

    def get_tensor(self, index):
        return self.y.copy()
"""
