"""`edgefreeze freeze` as scripts see it: the document, the exit status, the file."""

import json

import pytest

from edgefreeze.cli.main import run

pytestmark = pytest.mark.tf

FIELDS = {
    "schema", "command", "ok", "status", "path", "method", "inputs", "outputs", "init_ops", "parity",
    "seconds", "peak_bytes",
}  # fmt: skip


@pytest.fixture
def freeze(capsys, tmp_path, monkeypatch):
    """A function: the command's exit status, its document, and the file's path."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(model, *options):
        out = tmp_path / "out.pb"
        status = run(["freeze", str(model), "-o", str(out), "--json", *options])
        return status, json.loads(capsys.readouterr().out), out

    return call


def test_a_frozen_model_has_all_fields(freeze, hard_models):
    status, document, out = freeze(hard_models / "tables", "--signature", "file", "--optimize", "safe")
    assert status == 0
    assert set(document) >= FIELDS
    assert (document["ok"], document["status"], document["path"]) == (True, "frozen", str(out))
    assert document["init_ops"] == ["init_all_tables"]
    assert document["inputs"] == [{"name": "text", "tensor": "text:0", "dtype": "string", "shape": [None]}]
    assert document["parity"]["max_abs"] == 0
    assert document["seconds"] > 0
    assert document["peak_bytes"] > 100_000_000
    assert out.is_file()


def test_what_cannot_be_proved_is_unverified_and_not_written(freeze, models):
    status, document, out = freeze(models / "stateful", "--signature", "opaque")
    assert status == 6
    assert (document["ok"], document["status"]) == (False, "unverified")
    error = document["error"]
    assert error["code"] == "unverified"
    assert error["message"].startswith(
        "The frozen graph could not be proved: The model runs on none of the inputs that edgefreeze can draw"
    )
    assert "assertion failed: [not a secret]" in error["found"]
    assert "--no-verify" in error["next"]
    assert not out.exists()


def test_no_verify_writes_it_unverified(freeze, models):
    status, document, out = freeze(models / "stateful", "--signature", "opaque", "--no-verify")
    assert (status, document["status"], document["parity"]) == (0, "unverified", None)
    assert out.is_file()


def test_samples_prove_it(freeze, models, tmp_path):
    (tmp_path / "lines").write_text('{"secret": "<123:a>"}\n{"secret": ["<456:bc>"]}\n')
    status, document, _ = freeze(
        models / "stateful", "--signature", "opaque", "--samples", str(tmp_path / "lines")
    )
    assert (status, document["status"]) == (0, "frozen")
    assert document["golden"] == "2 of 2 samples"


def test_hoisted_state_is_told(freeze, hard_models):
    status, document, _ = freeze(hard_models / "states", "--signature", "sliding", "--hoist-state")
    assert status == 0
    assert document["states"][0] == {
        "variable": "calls", "input": "calls", "output": "calls_out", "initial": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["cut.keras", "garbled", "empty.keras", "outer", "nowhere", "other.zip"])
def test_a_broken_model_is_refused(freeze, models, name):
    status, document, out = freeze(models / name)
    assert (status, document["ok"], document["status"]) == (3, False, "refused")
    assert document["error"]["message"]
    assert not out.exists()


def test_a_bad_option_is_a_usage_error_without_a_status(freeze, models):
    status, document, _ = freeze(models / "zoo", "--optimize", "wild")
    assert (status, document["error"]["code"]) == (2, "usage")
    assert "status" not in document
