"""The models that others published end as their README says: frozen and equal to the reference outputs, or
refused by name."""

import base64
import json
import subprocess
import sys

import numpy as np
import pytest

from edgefreeze.cli.main import run
from edgefreeze.device import tensors
from edgefreeze.errors import Failure
from edgefreeze.worker import client, prove
from tests.worker.conftest import converted, request

pytestmark = [pytest.mark.tf, pytest.mark.models]

FROZEN = {
    "kws_savedmodel": ("saved_model", {"input_1": "input_1"}, {"dense": "dense"}),
    "vww_96.h5": ("keras2", {"x": "input_1"}, {"y": "dense"}),
    "ad01.h5": ("keras2", {"x": "input_1"}, {"y": "dense_9"}),
    "half_plus_two_signatures": ("saved_model", {"x": "x"}, {"y": "y"}),
    "half_plus_three_tf1": ("saved_model_tf1", {"x": "x"}, {"y": "y"}),
    "template_tf1": (
        "saved_model_tf1",
        {"features": "features", "keys": "keys"},
        {"softmax": "softmax", "prediction": "prediction", "keys": "keys"},
    ),
    "ds_cnn_s.pb": ("frozen_graph", {"wav_data:0": "wav_data"}, {"labels_softmax:0": "labels_softmax"}),
}
"""Kind, and what the references call inputs and outputs → what the model calls them."""


def references(folder, model):
    """(inputs, outputs) of the .npz beside a model, by the names in it."""
    with np.load(folder / f"{model.partition('.')[0]}.npz") as file:
        inputs, outputs = {}, {}
        for key in file:
            side, name, *rest = key.split("|")
            if rest == ["b64"]:
                texts = [base64.b64decode(text) for text in file[key].reshape(-1)]
                inputs[name] = np.array(texts, object).reshape(file[f"in|{name}|shape"])
            elif not rest:
                (inputs if side == "in" else outputs)[name] = file[key]
    return inputs, outputs


@pytest.mark.parametrize("model", FROZEN)
def test_it_is_frozen_and_equal_to_the_references(third_party, tmp_path, model):
    kind, named_inputs, named_outputs = FROZEN[model]
    inputs, expected = references(third_party, model)
    given = {named_inputs[key]: value for key, value in inputs.items()}
    (tmp_path / "in.npz").write_bytes(tensors.encode(given))
    # What travels as it was is proved elsewhere; what was written anew is proved here.
    formats = ["frozen_pb"] if kind == "saved_model" else ["frozen_pb", "saved_model"]
    asked = request(third_party / model, tmp_path / "out", formats, samples=str(tmp_path / "in.npz"))
    conversion = prove.prove(converted(client.run(asked)), tmp_path / "out")
    assert conversion.model_kind == kind
    assert {a.format: (a.status, a.reason) for a in conversion.artifacts} == dict.fromkeys(
        formats, ("verified", None)
    )
    cases = tensors.decode_golden((tmp_path / "out" / "golden.npz").read_bytes())
    for key, reference in expected.items():
        found = np.concatenate([np.atleast_1d(outputs[named_outputs[key]]) for _, outputs in cases])
        assert np.allclose(found, reference.reshape(found.shape), rtol=1e-4, atol=1e-4), key


def test_what_it_assigns_to_is_named(third_party, tmp_path):
    with pytest.raises(Failure) as caught:
        client.run(request(third_party / "assign_tf1", tmp_path / "out", ["frozen_pb"]))
    failure = caught.value
    assert (failure.code, failure.exit_status) == ("freeze-refused", 3)
    assert "changes the variable 'Variable' whenever it is called" in failure.message
    assert failure.found == "AssignVariableOp at Assign"


def test_a_signature_that_parses_examples(third_party, tmp_path):
    (tmp_path / "in.npz").write_bytes(tensors.encode({"inputs": np.array([EXAMPLE], object)}))
    asked = request(
        third_party / "half_plus_two_signatures",
        tmp_path / "out",
        ["frozen_pb"],
        signature="regress_x_to_y",
        samples=str(tmp_path / "in.npz"),
    )
    conversion = prove.prove(converted(client.run(asked)), tmp_path / "out")
    assert [(a.status, a.reason) for a in conversion.artifacts] == [("verified", None)]
    ((_, outputs),) = tensors.decode_golden((tmp_path / "out" / "golden.npz").read_bytes())
    assert outputs["outputs"].tolist() == [[3.0]]  # x / 2 + 2


INFER = """
import sys
import edgefreeze
from pathlib import Path
from edgefreeze.device import tensors
with edgefreeze.load_frozen(sys.argv[1]) as model:
    rows = tensors.decode(Path(sys.argv[2]).read_bytes())
    found = model(rows)
Path(sys.argv[3]).write_bytes(tensors.encode(found))
"""


@pytest.fixture
def freeze(capsys, tmp_path, monkeypatch):
    """A function: exit status and document of the command."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(model, *options):
        status = run(["freeze", str(model), "-o", str(tmp_path / "model.pb"), "--json", *options])
        return status, json.loads(capsys.readouterr().out)

    return call


@pytest.mark.parametrize("model", FROZEN)
def test_the_command_freezes_it(third_party, tmp_path, freeze, model):
    """With inputs of its own choice; the references are computed by the file alone."""
    status, document = freeze(third_party / model)
    assert (status, document["ok"], document["status"]) == (0, True, "frozen")
    assert document["parity"]["max_rel"] <= 1e-5
    _, named_inputs, named_outputs = FROZEN[model]
    inputs, expected = references(third_party, model)
    given = {named_inputs[key]: value for key, value in inputs.items()}
    ranks = {t["name"]: len(t["shape"]) for t in document["inputs"] if t["shape"] is not None}
    given = {k: v.reshape(()) if ranks.get(k) == 0 else v for k, v in given.items()}
    (tmp_path / "in.npz").write_bytes(tensors.encode(given))
    done = subprocess.run(
        [sys.executable, "-c", INFER, *(str(tmp_path / name) for name in ("model.pb", "in.npz", "out.npz"))],
        capture_output=True, text=True, env=client.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = tensors.decode((tmp_path / "out.npz").read_bytes())
    assert set(found) == {t["name"] for t in document["outputs"]}
    for key, reference in expected.items():
        assert np.allclose(found[named_outputs[key]], reference, rtol=1e-4, atol=1e-4), key


def test_the_command_refuses_what_assigns(third_party, tmp_path, freeze):
    status, document = freeze(third_party / "assign_tf1")
    assert (status, document["ok"], document["status"]) == (3, False, "refused")
    assert document["error"]["code"] == "freeze-refused"
    assert "the variable 'Variable'" in document["error"]["message"]
    assert not (tmp_path / "model.pb").exists()


def _example():
    """A serialized tf.Example with the float x = 2, written by hand."""

    def field(number, content):
        return bytes([number << 3 | 2, len(content)]) + content

    def feature(name):
        value = field(1, np.array([2.0], "<f4").tobytes())
        return field(1, field(1, name) + field(2, field(2, value)))

    return field(1, feature(b"x"))


EXAMPLE = _example()
