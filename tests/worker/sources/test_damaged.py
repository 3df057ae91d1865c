"""Files that are cut short or overwritten end in a Failure with a code: never an exception of another kind,
a crash or a hang."""

import json

import pytest

from edgefreeze.errors import CODES
from tests.worker.sources.conftest import python

pytestmark = pytest.mark.tf

OFFSETS = {"few": 24, "many": 100}
ASKED = {"outputs": ["probabilities"]}
LOOK_UP = {"signature": "look_up"}
KINDS = {
    "graph": ("v1/one.bin", "", {}),
    "graph as text": ("v1/one.txt", "", {}),
    "SavedModel of TensorFlow 1": ("v1/words", "saved_model.pb", LOOK_UP),
    "its values": ("v1/words", "variables/variables.index", LOOK_UP),
    "SavedModel of TensorFlow 2": ("v2/several", "saved_model.pb", LOOK_UP),
    "checkpoint's graph": ("v1/v2", "model.ckpt.meta", ASKED),
    "checkpoint's index": ("v1/v2", "model.ckpt.index", ASKED),
    "checkpoint of version 1": ("v1/whole_v1", "export", ASKED),
    "Keras 3": ("v2/sequential.keras", "", {}),
    "Keras 3, HDF5": ("v2/sequential.h5", "", {}),
    "Keras 2": ("keras2/images.h5", "", {}),
    "pickle": ("v2/pickled.bin", "", {"trust": True}),
}
"""The model, its file that is damaged, and how to load it."""


@pytest.fixture(scope="module", params=["few", pytest.param("many", marks=pytest.mark.slow)])
def ends(request, made, tmp_path_factory):
    offsets = OFFSETS[request.param]
    out = tmp_path_factory.mktemp("fuzz")
    requests = {
        name: {"model": str(made / model), "file": file, "options": options, "offsets": offsets}
        for name, (model, file, options) in KINDS.items()
    }
    (out / "requests.json").write_text(json.dumps(requests))
    (out / "scratch").mkdir()
    python("fuzz.py", out / "requests.json", out / "replies.json", out / "scratch")
    return offsets, json.loads((out / "replies.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_ends_in_a_failure(ends, kind):
    offsets, found = ends[0], ends[1][kind]
    assert sum(found.values()) == offsets
    assert {end for end in found if end not in CODES} <= {"loaded"}, found
    refused = sum(count for end, count in found.items() if end != "loaded")
    assert refused >= offsets // 2 - 2, found  # each that was cut short, but for a last line feed
