"""Sources seen through the worker's process: which Keras it starts with, what it makes of a loader's death,
and whole conversions."""

import msgspec
import pytest

from edgefreeze.errors import Failure
from edgefreeze.types import Artifact
from edgefreeze.worker import client, prove, sources
from tests.worker.conftest import converted, request
from tests.worker.sources.cases import ALL

pytestmark = pytest.mark.tf


def test_a_model_of_keras_2_gets_its_keras_before_tensorflow_is_imported(made):
    legacy = {"TF_USE_LEGACY_KERAS": "1"}
    for name in ("images.h5", "images.keras", "series.h5", "saved", "no_traces"):
        assert sources.environment(made / "keras2" / name) == legacy, name
    for name in ("functional.keras", "functional.h5", "several", "pickled.bin", "nothing"):
        assert sources.environment(made / "v2" / name) == {}, name


@pytest.mark.parametrize(
    ("name", "init_ops"),
    [
        ("table_of_an_asset", ("init_all_tables",)),
        ("shards_by_pattern", ()),
        ("keras_2_images_h5", ()),
    ],
)
def test_whole_conversions_are_verified(made, tmp_path, name, init_ops):
    case = ALL[name]
    asked = request(made / case.path, tmp_path, ["frozen_pb", "saved_model"], **case.options)
    result = client.run(asked)
    conversion = prove.prove(converted(result), tmp_path)
    assert [(a.format, a.status, a.reason) for a in conversion.artifacts] == [
        ("frozen_pb", "verified", None),
        ("saved_model", "verified", None),
    ]
    assert msgspec.convert(result["artifacts"][0], Artifact).init_ops == init_ops


def test_a_loader_that_dies_is_a_broken_model(made, tmp_path, monkeypatch):
    (tmp_path / "deadly.py").write_text("import os\nos.abort()\n")
    monkeypatch.chdir(tmp_path)
    model = made / "v2" / "registered.keras"
    with pytest.raises(Failure) as caught:
        client.run(request(model, tmp_path / "out", ["frozen_pb"], custom_objects=["deadly:Layer"]))
    assert (caught.value.code, caught.value.exit_status) == ("model-broken", 3)
    assert caught.value.message == f"The model {model} cannot be loaded: TensorFlow died of reading it."
    assert (caught.value.found or "").startswith("killed by SIGABRT")


def test_a_loader_that_raises_the_unforeseen_refuses(made, monkeypatch):
    monkeypatch.setattr(sources, "module", lambda _: Raising())
    with pytest.raises(Failure) as caught:
        sources.load(made / "v1" / "one.bin", sources.Options())
    assert caught.value.code == "model-broken"
    assert caught.value.found == "KeyError: 'odd'"


class Raising:
    KIND = "a thing"

    def sniff(self, path):
        return True

    def load(self, path, options):
        raise KeyError("odd")
