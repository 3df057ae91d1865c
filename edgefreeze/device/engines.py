"""TensorRT's engines, which the device builds itself with its trtexec, and keeps to use them again.

    ENGINES/<key>/       model.engine  engine.json    the key: model and arguments, TensorRT, GPU, power mode
    ENGINES/.<pid>/      where a process works; what a killed one left goes with the next build

An engine is nobody else's: another TensorRT does not load it, another GPU or power mode wants other kernels.
So the folder ENGINES is the release's own, and goes with it. The timings of kernels are worth something to
the next release too: they are in the root's cache, for each TensorRT, GPU and power mode.
"""

import glob
import hashlib
import os
import shutil
import subprocess
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Set

from edgefreeze.device import checks, files, health, probe, protocol, tegra, trtexec
from edgefreeze.device.child import describe_exit
from edgefreeze.device.errors import DeviceError, storage

BUILD_S = 3600.0
"""A large model on a small board; every kernel that could do a layer is timed."""
HELP_S = 30.0
_KEPT = 128 * 1024
_FILE = "model.engine"
_check_recipe = checks.record(
    {"schema": checks.integer(1, 1), "arguments": checks.list_of(checks.text(4096), 20, least=2)}
)
_check_engine = checks.record(
    {"key": checks.dict_of(checks.anything), "sha256": checks.digest, "bytes": checks.size}
)


_running: Set["subprocess.Popen[bytes]"] = set()
_starting = threading.Lock()


def kill_all() -> None:
    """End what call() runs, and let nothing else start: the process is leaving."""
    _starting.acquire()
    for process in _running:
        process.kill()


class Engine(NamedTuple):
    """An engine: its file, the program that loads it, the shapes that its recipe fixed where the model leaves
    them open. `fresh`: it was built just now, so that nothing has shown yet what it computes."""

    path: str
    program: trtexec.Program
    shapes: Dict[str, trtexec.Shape]
    fresh: bool


class Done(NamedTuple):
    """What a program did: its output (the middle left out of a long one), its memory's peak and its
    processor time, how often it was taken off a processor."""

    text: str
    peak_bytes: int
    cpu_ns: int
    preempted: int


def find() -> Optional[str]:
    """Where trtexec is: on the PATH, or in one of its usual places; None where it is not."""
    places = [shutil.which("trtexec"), *trtexec.PLACES]
    return next((place for place in places if place and os.access(place, os.X_OK)), None)


def ask(path: str) -> trtexec.Program:
    """What a trtexec is, by its own --help. Raises runtime-failed where it says nothing: it is broken."""
    said = health.ask((path, "--help"), deadline_s=HELP_S)
    if not said:
        raise DeviceError("runtime-failed", "%s does not start" % path, "its --help", None)
    return trtexec.Program(path, trtexec.parse_version(said), trtexec.parse_options(said))


def programs() -> Dict[str, str]:
    """{"trtexec": its TensorRT's version, "" where it does not say}; nothing where none starts."""
    path = find()
    try:
        return {"trtexec": ask(path).version or ""} if path is not None else {}
    except DeviceError:
        return {}


def ensure(recipe: str, kept: str, timings: str) -> Engine:
    """The engine of the recipe in a folder (model.onnx, recipe.json), from the folder `kept`, or built now.

    timings: the folder of the kernels' timings. Raises missing-content without a trtexec, bad-manifest,
    runtime-failed with trtexec's own reason, disk-space, store-io.
    """
    path = find()
    if path is None:
        raise DeviceError(
            "missing-content",
            "there is no trtexec, which builds the engine",
            "trtexec on the PATH or one of %s" % ", ".join(trtexec.PLACES),
            None,
        )
    program = ask(path)
    arguments = _arguments(recipe)
    with storage("keeping engines"):
        for folder in (kept, os.path.dirname(timings), timings):
            files.make_folder(folder)
        _clear(kept)
        where = place(program)
        model = files.hash_from_disk(os.path.join(recipe, "model.onnx"))[0]
        key = dict(where, onnx=model, arguments=arguments)
        folder = os.path.join(kept, digest(key))
        fresh = not _sound(folder)
        if fresh:
            _build(program, recipe, arguments, folder, os.path.join(timings, digest(where)), key)
    return Engine(os.path.join(folder, _FILE), program, trtexec.parse_shapes(arguments), fresh)


def place(program: trtexec.Program) -> Dict[str, Any]:
    """What an engine holds for beside its model: TensorRT's version, board, GPUs, power mode."""
    mode = tegra.parse_power_mode(health.ask(("nvpmodel", "-q")) or "")
    cards = sorted(glob.glob("/proc/driver/nvidia/gpus/*/information"))
    told = [probe.read_text(card, 4096) or "" for card in cards]
    return {
        "tensorrt": program.version,
        "board": probe.read_text("/proc/device-tree/model"),
        "gpus": [line.partition(":")[2].strip() for text in told for line in text.splitlines()[:1]],
        "power_mode": mode["name"] if mode else None,
    }


def digest(key: Dict[str, Any]) -> str:
    """The name of what a key stands for: 32 hex digits."""
    return hashlib.sha256(protocol.canonical(key)).hexdigest()[:32]


def _arguments(recipe: str) -> List[str]:
    try:
        told = files.read_json(os.path.join(recipe, "recipe.json"), _check_recipe, 1 << 16)
    except (OSError, checks.Invalid) as error:
        raise DeviceError("bad-manifest", "the recipe of the engine cannot be read: %s" % error) from None
    arguments: List[str] = told["arguments"]
    wrong = trtexec.refused(arguments)
    if wrong is not None:
        raise DeviceError("bad-manifest", "a recipe with an argument that is not passed on", None, wrong)
    return arguments


def _sound(folder: str) -> bool:
    """Whether a kept engine is as it was built; what is left of another one is removed."""
    try:
        told = files.read_json(os.path.join(folder, "engine.json"), _check_engine, 1 << 16)
        files.verify(os.path.join(folder, _FILE), told["sha256"], told["bytes"])
    except (OSError, checks.Invalid, DeviceError):
        files.remove_tree(folder)
        return False
    return True


def _build(
    program: trtexec.Program,
    recipe: str,
    arguments: List[str],
    folder: str,
    timings: str,
    key: Dict[str, Any],
) -> None:
    work = scratch(os.path.dirname(folder))
    try:
        engine = os.path.join(work, _FILE)
        # A copy, kept when it is whole: a build that is killed would leave half a file to the next.
        known = os.path.join(work, "timings")
        if os.path.exists(timings):
            shutil.copyfile(timings, known)
        done = call(trtexec.build_command(program, arguments, engine, known), recipe, BUILD_S)
        if not os.path.isfile(engine):
            raise DeviceError("runtime-failed", "trtexec wrote no engine", _FILE, None)
        _keep_timings(known, timings)
        sha256, size = files.hash_from_disk(engine)
        files.fsync_path(engine)
        told = {"key": key, "sha256": sha256, "bytes": size, "gpu": trtexec.parse_device(done.text)}
        told["seconds"] = trtexec.parse_build_seconds(done.text)
        files.write_json(os.path.join(work, "engine.json"), told)
        if not os.path.isdir(folder):  # another process may have been faster
            os.rename(work, folder)
        files.fsync_path(os.path.dirname(folder))
    finally:
        files.remove_tree(work)


def _keep_timings(found: str, timings: str) -> None:
    try:
        data = files.read_bytes(found)
    except (OSError, checks.Invalid):
        return  # an old trtexec writes none; the next build takes longer
    files.write_durably(timings, data)
    os.unlink(found)


def scratch(kept: str) -> str:
    """A folder of this process's own among the engines."""
    path = os.path.join(kept, ".%d" % os.getpid())
    files.remove_tree(path)
    os.mkdir(path, 0o700)
    return path


def discard(engine: Engine) -> None:
    """Take an engine away that will not do."""
    files.remove_tree(os.path.dirname(engine.path))


def _clear(kept: str) -> None:
    """Remove what processes that are gone have left."""
    for name in files.list_folder(kept):
        if name.startswith(".") and name[1:].isdigit() and not os.path.exists("/proc/" + name[1:]):
            files.remove_tree(os.path.join(kept, name))


def call(command: List[str], folder: str, timeout_s: float) -> Done:
    """Run a program in a folder to its end, in this process's own group, so that it goes with it.

    Raises runtime-failed where it fails, with the reason that it gives; runner-timeout.
    """
    try:
        with _starting:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
            _running.add(process)
    except OSError as error:
        raise DeviceError("runtime-failed", "%s: %s" % (command[0], error.strerror)) from None
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            text = _ends(process.stdout.fileno())
        _, status, used = os.wait4(process.pid, 0)
    finally:
        timer.cancel()
        _running.discard(process)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    process.returncode = code
    if late.is_set():
        raise DeviceError("runner-timeout", "trtexec took longer than %g s" % timeout_s, timeout_s)
    if code or trtexec.parse_passed(text) is False:
        reasons = trtexec.parse_reasons(text) or [describe_exit(code)]
        raise DeviceError("runtime-failed", "trtexec: " + "; ".join(reasons), None, describe_exit(code))
    cpu = int((used.ru_utime + used.ru_stime) * 1e9)
    return Done(text, used.ru_maxrss * 1024, cpu, used.ru_nivcsw)


def _ends(fd: int) -> str:
    """All that is written to a pipe, at most its first and last _KEPT bytes."""
    head, tail = bytearray(), bytearray()
    while True:
        part = os.read(fd, 1 << 16)
        if not part:
            return (head + (b"\n" if tail else b"") + tail).decode("utf-8", "replace")
        room = _KEPT - len(head)
        head += part[:room]
        tail += part[room:]
        del tail[:-_KEPT]
