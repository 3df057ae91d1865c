"""One family of errors. Every code with its exit status, cause and cure stands in CODES and nowhere else.

A Failure says what failed, what was expected and found, what the device runs now, whether it is safe to
try again, and the next command. The command line turns it into text or JSON and an exit status; library
callers catch it. Codes raised on the device are strings there (the helper cannot import this) and are
listed here as well; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Exit statuses that scripts rely on.
DONE, FAILED, USAGE, CONFIG, UNREACHABLE, ROLLED_BACK, GATE, ROLLBACK_FAILED, INTERRUPTED = (
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    130,
)


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means: exit status, usual cause, usual cure."""

    exit_status: int
    cause: str
    cure: str


CODES: dict[str, Code] = {
    # Command line and configuration
    "usage": Code(USAGE, "The command line does not fit.", "See the command's --help."),
    "config-syntax": Code(CONFIG, "A TOML file cannot be parsed.", "Correct the named line."),
    "config-key": Code(
        CONFIG, "A TOML file has a key that edgefreeze does not know.", "Use the nearest key."
    ),
    "config-value": Code(CONFIG, "A value in a TOML file has the wrong type or range.", "Correct it."),
    "config-exists": Code(CONFIG, "The file to be written exists.", "Give another name, or --force."),
    "name-invalid": Code(
        CONFIG,
        "A name of an app, device or target has characters that a folder on the board must not have.",
        "Use letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit.",
    ),
    "target-unknown": Code(CONFIG, "No target has this name.", "edgefreeze targets list"),
    "device-unknown": Code(CONFIG, "No device can be found for the command.", "Name one with --host."),
    "device-ambiguous": Code(CONFIG, "Several devices fit.", "Name one with --host."),
    "no-cpu": Code(
        CONFIG,
        "A processor that was named is not there, or the user on the board may not use it.",
        "Name others with --cpus; the message says which there are.",
    ),
    "device-mismatch": Code(
        CONFIG, "The board is not what the target describes.", "Choose the target that fits the board."
    ),
    # The model
    "model-missing": Code(CONFIG, "There is nothing at the model's path.", "Give the right path."),
    "model-empty": Code(CONFIG, "The model's file or folder is empty.", "Save the model again."),
    "model-unknown": Code(
        CONFIG, "The path holds no kind of model that is known.", "Save it as a SavedModel."
    ),
    "model-broken": Code(CONFIG, "The model's files are damaged or incomplete.", "Save or copy it again."),
    "model-untrusted": Code(
        CONFIG,
        "The model holds code (a Lambda layer) that would run when it is loaded.",
        "Replace the Lambda by a layer, or save the model as a SavedModel where it was made.",
    ),
    "model-no-signature": Code(
        CONFIG, "The SavedModel has no signature to freeze.", "Save it with signatures={…}."
    ),
    "model-signature-choice": Code(
        CONFIG, "The SavedModel has several signatures, or not the one named.", "Name one with --signature."
    ),
    "model-stateful": Code(
        CONFIG,
        "Two calls with the same input differ: the model keeps state or draws random numbers.",
        "Export an inference function without state.",
    ),
    "model-unsupported": Code(
        CONFIG, "The model uses something that cannot be loaded here.", "See the message."
    ),
    "model-too-large": Code(
        CONFIG,
        "The model's weights do not fit into a GraphDef, which holds 2 GiB.",
        "Keep the SavedModel, or freeze a signature that reads less.",
    ),
    "samples-bad": Code(
        CONFIG, "The samples do not fit the model's inputs.", "Save an .npz with the signature's input names."
    ),
    "calibration-missing": Code(
        CONFIG,
        "An integer precision was asked for without data to measure its ranges on.",
        "--calibration with 100 to 500 inputs like those that the model will see.",
    ),
    "opset-unknown": Code(
        CONFIG, "The ONNX converter does not write this opset.", "Give one in the range that is named."
    ),
    "format-unknown": Code(CONFIG, "No artifact format has this name.", "edgefreeze targets show TARGET"),
    "format-refused": Code(
        CONFIG, "The model cannot become the format.", "The message names the operation and what would help."
    ),
    "format-unfit": Code(
        CONFIG, "No runtime runs the format on this kind of board.", "Choose a format of the target's."
    ),
    "calibration-bad": Code(
        CONFIG,
        "The calibration data cannot be read, does not fit the model, or is too little.",
        "Give 100 to 500 typical inputs: an .npz with the signature's input names, an .npy, or images.",
    ),
    "accuracy-dropped": Code(
        GATE,
        "An artifact loses more accuracy on the evaluation data than --max-accuracy-drop allows.",
        "Leave the artifact out with --format, or calibrate it on more typical data.",
    ),
    "freeze-refused": Code(
        CONFIG, "The graph cannot be frozen as it is.", "The message names the node and what would help."
    ),
    "parity-failed": Code(
        GATE,
        "The frozen graph does not compute what the model computes, beyond the tolerance.",
        "Nothing was sent. Try another optimize level, or look at the named output.",
    ),
    "unverified": Code(GATE, "Something could not be checked.", "The message says why for each format."),
    "differs": Code(
        GATE,
        "Two models, artifacts or releases do not compute the same.",
        "edgefreeze bisect A B finds the first node at which they part.",
    ),
    "not-comparable": Code(
        CONFIG,
        "Two models cannot be compared: their inputs or outputs do not belong together.",
        "Compare two that take the same inputs; name a signature with --signature.",
    ),
    "netron-missing": Code(CONFIG, "Netron, the viewer, is not installed.", "pip install netron"),
    # The worker process
    "worker-no-tensorflow": Code(
        CONFIG, "TensorFlow is not installed beside edgefreeze.", "pip install 'edgefreeze[convert]'"
    ),
    "worker-crashed": Code(FAILED, "The process that runs TensorFlow ended unexpectedly.", "See its log."),
    "worker-timeout": Code(
        FAILED, "The process that runs TensorFlow took too long.", "Try again on an idle machine."
    ),
    # Reaching the device
    "ssh-missing": Code(CONFIG, "OpenSSH's ssh, which resolves hosts, is not installed.", "Install it."),
    "unreachable": Code(UNREACHABLE, "The device could not be reached.", "Check address, power and network."),
    "auth-failed": Code(
        UNREACHABLE, "The device accepted none of the keys or passwords.", "Check user and key: ssh HOST true"
    ),
    "host-key-unknown": Code(
        UNREACHABLE,
        "The device's host key is not in known_hosts.",
        "Compare its fingerprint, then accept it.",
    ),
    "host-key-changed": Code(
        UNREACHABLE,
        "The device's host key differs from the one in known_hosts: another machine, or a re-installed one.",
        "If you know why, remove the old key and accept the new one.",
    ),
    "host-key-revoked": Code(
        UNREACHABLE,
        "The device's host key is marked @revoked in known_hosts.",
        "Give the device a new host key.",
    ),
    "no-python": Code(
        UNREACHABLE,
        "The device has no Python 3 at the given path.",
        "Install python3 there, or set python = …",
    ),
    "old-python": Code(
        UNREACHABLE, "The device's Python is older than 3.8.", "Set python = … to a newer one."
    ),
    "helper-no-greeting": Code(
        UNREACHABLE, "The helper on the device did not start.", "See the device's message; ssh HOST true."
    ),
    "helper-died": Code(
        UNREACHABLE,
        "The connection was lost, or the helper on the device ended in the middle of its work.",
        "Try again.",
    ),
    "device-silent": Code(UNREACHABLE, "The device stopped answering.", "Check the link, then try again."),
    "protocol": Code(FAILED, "The two sides do not understand each other.", "Use one version on both sides."),
    # On the device
    "device-internal": Code(FAILED, "The helper on the device met an error of its own.", "Report it."),
    "disk-space": Code(
        FAILED,
        "The device has too little space or too few inodes.",
        "Free some there, or leave TensorFlow out: --no-tf.",
    ),
    "store-io": Code(
        FAILED,
        "The device could not read or write a file.",
        "Check its card and mount options, and whether its user may write there (root = …).",
    ),
    "digest-mismatch": Code(
        FAILED,
        "Content arrived or was read back damaged on the device.",
        "Try again; if it repeats, check the card.",
    ),
    "locked": Code(FAILED, "Somebody else is working on this app on the device.", "Wait, then try again."),
    "in-use": Code(FAILED, "It is the release that is active.", "Roll back or deploy another one first."),
    "missing-content": Code(
        FAILED,
        "The device's store lacks a part of the release or of a runtime.",
        "Deploy again: it is sent then.",
    ),
    "no-artifact": Code(FAILED, "The release has no such format.", "edgefreeze status lists its formats."),
    "bad-input": Code(
        CONFIG,
        "The inputs are not what the model takes.",
        "Give the names and shapes that the message lists.",
    ),
    "hook-failed": Code(
        ROLLED_BACK,
        "The command that tells the application of the switch failed, so the device went back.",
        "See what it said; run it by hand on the device.",
    ),
    "health-failed": Code(
        ROLLED_BACK,
        "The application was not well with the new release in time, so the device went back.",
        "See the application's own log on the device.",
    ),
    "rollback-failed": Code(
        ROLLBACK_FAILED,
        "The release before is in its place again, and the command that tells the application failed.",
        "Look at the device now: restart the application by hand.",
    ),
    "no-app": Code(FAILED, "The device has no such app.", "edgefreeze status lists them."),
    "no-release": Code(FAILED, "The device has no such release.", "edgefreeze history lists them."),
    "no-previous": Code(FAILED, "There is no earlier release to return to.", "Deploy one."),
    "bad-manifest": Code(FAILED, "The release's manifest is not valid.", "Build the release again."),
    "not-tested": Code(GATE, "The release has not passed its self-test on this device.", "Deploy it again."),
    "selftest-failed": Code(
        GATE,
        "On the device the release does not compute what the model computes.",
        "It was not made active. Check the runtime there, or choose another format.",
    ),
    "runtime-failed": Code(
        FAILED, "The runtime on the device could not load or run the model.", "See the message."
    ),
    "runner-died": Code(
        FAILED, "The inference process on the device was killed or crashed.", "Check its memory."
    ),
    "runner-timeout": Code(
        FAILED,
        "The inference process on the device took too long.",
        "See what else runs there, then try again.",
    ),
    "python-broken": Code(
        CONFIG,
        "The device's Python cannot load a module of its own: a file of it is damaged or missing.",
        "Install the device's python3 again; if its disk answers with errors, change the card.",
    ),
    "python-missing": Code(CONFIG, "The release's interpreter is not there any more.", "Deploy it again."),
    # Measuring
    "bad-result": Code(
        CONFIG,
        "A file is no result of a benchmark, or a newer edgefreeze wrote it.",
        "edgefreeze results list",
    ),
    "results-unlike": Code(
        CONFIG,
        "Results of different devices, threads, inputs or runtimes say nothing of each other.",
        "Measure both under the same conditions, or --anyway.",
    ),
    "gate-syntax": Code(USAGE, "A requirement cannot be read.", "Write it as in --require 'p95<40ms'."),
    "gate-failed": Code(
        GATE,
        "The figures do not show what --require or --max-regress asks for; a deployment was not made active.",
        "See the bound that is given; more samples (--min-samples) narrow it.",
    ),
    "gate-emulated": Code(
        GATE,
        "The device is emulated: its latencies are no device's, and nothing is decided by them.",
        "Measure on the board, or --allow-emulated.",
    ),
    # Trust
    "untrusted": Code(
        GATE,
        "The device does not trust the release: it is unsigned, signed by somebody unknown there, or changed"
        " after it was signed.",
        "--sign KEY with a key that is enrolled there; edgefreeze trust list",
    ),
    "replayed": Code(
        GATE,
        "The signed release is older than one that the device has run.",
        "To go back on purpose: edgefreeze rollback. To install it anew: sign it again.",
    ),
    "sign-key": Code(CONFIG, "The key to sign with is none, or cannot be used.", "See the message."),
    "sign-failed": Code(
        FAILED,
        "ssh-keygen did not sign: the agent or the security key refused, or a passphrase was wrong or nobody"
        " could be asked for it.",
        "ssh-add KEY, then try again.",
    ),
    "bad-pack": Code(
        CONFIG, "The file is no packed release, or it was damaged or changed.", "Pack or copy it again."
    ),
    # Runtimes
    "doctor-failed": Code(
        FAILED,
        "The doctor found something that stops a deployment, or that a board should not be left with.",
        "Do what stands behind the failures.",
    ),
    "runtime-unavailable": Code(
        CONFIG,
        "No package of the runtime fits the device's interpreter.",
        "See the message for what would fit.",
    ),
    "runtime-fetch": Code(
        FAILED, "The packages of a runtime could not be fetched.", "Check network and index."
    ),
    # Rest
    "host-io": Code(
        FAILED,
        "A file or folder of this machine cannot be read or written.",
        "Make room, or give back the right to write there; then the same command again.",
    ),
    "host-program": Code(
        FAILED,
        "A program of this machine that edgefreeze asked something did not answer in time.",
        "Run it by hand to see why.",
    ),
    "interrupted": Code(INTERRUPTED, "Interrupted by the user.", "Run the same command again; it goes on."),
    "internal": Code(FAILED, "A defect of edgefreeze.", "Run with --debug and report it."),
}


class Failure(Exception):
    """Something expected went wrong. `code` is a key of CODES; the texts are for a person.

    next: the command that a user would type now, or None.
    device_state: what the device runs now, in a sentence, where a device is concerned.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        expected: str | None = None,
        found: str | None = None,
        device_state: str | None = None,
        retry_safe: bool | None = None,
        next: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.expected = expected
        self.found = found
        self.device_state = device_state
        self.retry_safe = retry_safe
        self.next = next
        self.detail = detail
        """More lines for --debug: a log's tail, the device's traceback."""
        self.fields: dict[str, Any] = {}
        """What the command's --json document has beside `error`."""

    @property
    def exit_status(self) -> int:
        """The process exit status that goes with the code."""
        return CODES[self.code].exit_status

    def as_json(self) -> dict[str, Any]:
        """The `error` object of every --json document."""
        return {
            "code": self.code,
            "message": self.message,
            "expected": self.expected,
            "found": self.found,
            "device_state": self.device_state,
            "retry_safe": self.retry_safe,
            "next": self.next,
        }


def out_of_range(name: str, found: object, expected: str) -> Failure:
    """The Failure for an option's value that cannot be."""
    return Failure("usage", f"{name}: {found!r} cannot be", expected=expected, found=repr(found))


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The known word most like the given one, or None where none is alike."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None
