"""Every refusal of the worker, by its text: what failed, what was expected, what was found, what to do."""

import pytest

from edgefreeze.errors import CODES

pytestmark = pytest.mark.tf

SIGNATURES = (
    "count(x: float32(None,)); look_up(word: string(None,)); noisy(x: float32(None, 4)); "
    "opaque(secret: string(None,)); parse(example: string(None,)); sized(image: float32(None, None, None, 3))"
)

CASES = {
    "count": (
        "freeze-refused",
        "The model changes the variable 'calls' whenever it is called, so two calls differ and it cannot be "
        "frozen.",
        "AssignAddVariableOp at ",
    ),
    "noisy": (
        "model-stateful",
        "Two calls of the model with the same input differ in the output 'y': it keeps state or draws random "
        "numbers.",
        "is above the tolerance 1e-06",
    ),
    "opaque": (
        "samples-bad",
        "The model runs on none of the inputs that edgefreeze can draw, so it needs samples of yours.",
        "InvalidArgumentError: assertion failed: [not a secret]",
    ),
    "cuont": ("model-signature-choice", "has no signature 'cuont'; did you mean 'count'?", "cuont"),
    "choice": ("model-signature-choice", "has 6 signatures and none is called serving_default.", SIGNATURES),
    "no_signature": ("model-no-signature", "so nothing says what its inputs and outputs are.", "none"),
    "cut_pb": ("model-broken", "cannot be read: its files are damaged or incomplete.", "saved_model.pb"),
    "garbled": ("model-broken", "cannot be read: its files are damaged or incomplete.", "saved_model.pb"),
    "cut_variables": (
        "model-broken",
        "its files are damaged or incomplete.",
        "Read less bytes than requested",
    ),
    "no_variables": (
        "model-broken",
        "its files are damaged or incomplete.",
        "Failed to find any matching files",
    ),
    "lambda.keras": (
        "model-untrusted",
        "holds a Lambda layer, whose code would run when it is loaded.",
        "a Lambda layer with a Python function in the file",
    ),
    "cut.keras": ("model-broken", "is damaged or cut short.", "File is not a zip file"),
    "samples-key": (
        "samples-bad",
        "The samples have 'yy', which is no input of the model; did you mean 'y'?",
        "x, yy",
    ),
    "samples-lacking": ("samples-bad", "The samples lack the input 'spare'.", "x, y"),
    "samples-shape": ("samples-bad", "The samples of 'x' do not fit the input.", "float32 [4, 5]"),
    "samples-dtype": ("samples-bad", "The samples of 'x' do not fit the input.", "int64 [4, 3]"),
    "samples-rows": (
        "samples-bad",
        "The samples of the inputs differ in their number of rows.",
        "spare: [4, 1], x: [3, 3], y: [4, 4]",
    ),
    "samples-file": ("samples-bad", "none.npz cannot be read.", "File is not a zip file"),
    "format": ("format-unknown", "There is no format 'tflight'; did you mean 'tflite'?", "tflight"),
    "precision": ("format-unknown", "The format tflite has no 'int3'; did you mean 'int8'?", "int3"),
    "level": ("usage", "There is no optimize level 'wild'.", "wild"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusal(refusals, name):
    code, message, found = CASES[name]
    reply = refusals[name]
    assert "error" in reply, reply
    error = reply["error"]
    assert error["code"] == code
    assert code in CODES
    assert message in error["message"]
    assert found in error["found"]
    assert error["expected"]
    assert reply["left"] == []


def test_no_request_was_left_out(refusals):
    assert set(refusals) == set(CASES)


def test_a_missing_choice_is_answered_with_a_flag(refusals):
    assert refusals["choice"]["error"]["next"] == "--signature count"
    assert refusals["cuont"]["error"]["next"] == "--signature count"
