"""Telling what a path holds, without TensorFlow."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest

from edgefreeze.errors import Failure
from edgefreeze.formats import FORMATS
from edgefreeze.runtimes import table
from edgefreeze.worker import formats, sources
from edgefreeze.worker.client import environment


def keras_file(path, members=("config.json", "model.weights.h5", "metadata.json")):
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "{}")
    return path


def refused(path):
    with pytest.raises(Failure) as caught:
        sources.find(path)
    return caught.value


def test_kinds_are_told_by_content(tmp_path):
    for name in ("saved_model.pb", "saved_model.pbtxt"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        assert sources.find(folder) == "saved_model"
    assert sources.find(keras_file(tmp_path / "model.bin")) == "keras"


def test_a_missing_model_names_its_neighbour(tmp_path):
    keras_file(tmp_path / "model.keras")
    failure = refused(tmp_path / "modl.keras")
    assert failure.code == "model-missing"
    assert failure.found == f"no such file or folder; there is {tmp_path / 'model.keras'}"
    assert refused(tmp_path / "nowhere" / "model").code == "model-missing"


def test_empty_models_are_named_empty(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.keras").write_bytes(b"")
    assert refused(tmp_path / "folder").found == "a folder without files that hold anything"
    (tmp_path / "folder" / "variables").mkdir()
    (tmp_path / "folder" / "saved_model.pb").write_bytes(b"")
    assert refused(tmp_path / "folder").code == "model-empty"
    failure = refused(tmp_path / "file.keras")
    assert (failure.code, failure.found) == ("model-empty", "a file of 0 bytes")


def test_a_saved_model_that_was_copied_in_part_is_still_one(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "variables.index").write_bytes(b"something")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert sources.find(tmp_path) == "saved_model"
    with pytest.raises(Failure) as caught:
        sources.module("saved_model").load(tmp_path, sources.Options())
    assert (caught.value.code, caught.value.found) == ("model-broken", "saved_model.pb has 0 bytes")


def test_something_else_is_described(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"x")
    failure = refused(tmp_path)
    assert failure.code == "model-unknown"
    assert failure.found == f"a folder with 1; {tmp_path / '1'} is a SavedModel"
    assert "a SavedModel (a folder with saved_model.pb and variables/)" in (failure.expected or "")
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n....")
    assert refused(tmp_path / "w.h5").found == r"a file of 12 bytes that begins with b'\x89HDF\r\n\x1a\n'"
    assert refused(keras_file(tmp_path / "other.zip", ("readme",))).code == "model-unknown"


def test_a_cut_keras_file_is_still_a_keras_file(tmp_path):
    whole = keras_file(tmp_path / "m.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[:60])
    assert sources.find(tmp_path / "cut.keras") == "keras"


@pytest.mark.parametrize("name", sources.names())
def test_every_source_offers_what_it_must(name, tmp_path):
    module = sources.module(name)
    assert module.KIND
    assert module.sniff(tmp_path) is False
    assert callable(module.load)


def test_every_format_has_its_facts():
    assert set(formats.names()) == set(FORMATS)


@pytest.mark.parametrize("name", formats.names())
def test_every_format_offers_what_it_must(name):
    from edgefreeze.device import runtimes

    module = formats.module(name)
    assert module.RUNTIME in runtimes.names()
    assert table().format[name] == module.RUNTIME
    recipe = all(facts.recipe for facts in FORMATS[name].values())
    assert recipe == (runtimes.builds(module.RUNTIME) > 0)
    paths = [module.path(precision) for precision in FORMATS[name]]
    assert len(set(paths)) == len(paths)


@pytest.mark.process
def test_asking_for_kinds_and_formats_imports_nothing_heavy():
    code = (
        "import sys; from edgefreeze.worker import client, prove, sources, formats;"
        "[sources.module(n) for n in sources.names()]; [formats.module(n) for n in formats.names()];"
        "heavy = {'tensorflow', 'keras', 'onnx', 'tf2onnx', 'onnxruntime', 'paramiko'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_release_is_told_from_a_model(tmp_path):
    for name in ("manifest.json", "envelope.json", "model.tflite"):
        (tmp_path / name).write_text("{}")
    failure = refused(tmp_path)
    assert (failure.code, failure.found) == ("model-unknown", "a release")
    assert failure.next.startswith(f"edgefreeze release pack {tmp_path} FILE")


def test_a_model_that_another_runtime_runs_needs_no_tensorflow(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    source = sources.Source(
        function=None, inputs=(), outputs=(), signature=None, save=lambda _: None, save_method="",
        runner=lambda inputs: {"y": inputs["x"] + 1},
    )  # fmt: skip
    assert source.run({"x": np.ones(2)})["y"].tolist() == [2, 2]
