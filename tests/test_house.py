"""The house: imports point one way, the device imports only itself, the worker alone imports TensorFlow."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import edgefreeze

ROOT = Path(edgefreeze.__file__).parent

SHARED = {
    "protocol", "tensors", "parity", "errors", "child", "runtimes", "sshsig", "verification", "pack",
    "readings", "tegra", "squeezed",
}  # fmt: skip
"""Of edgefreeze.device, what the host imports: the wire, the tensors on it, the judgement, the codes, the
handle on a runner and the runtimes, with which the host proves and runs artifacts just as the device does;
signatures, and a release as one file, which one side writes and both read; what boards say of themselves,
which the device reads for its facts and the host for the doctor."""

HEAVY = {
    "tensorflow",
    "keras",
    "tf_keras",
    "tf2onnx",
    "onnx",
    "onnxruntime",
    "ai_edge_litert",
    "tflite_runtime",
}

LAYERS = [
    {"cli", "demo"},
    {"python"},
    {"trust"},
    {"jobs"},
    {"devices", "report"},
    {"benching"},
    {"operate", "drafting", "schemas", "doctor", "bug_report"},
    {"packing", "preparing"},
    {"deploying"},
    {"deployment"},
    {"building", "exporting", "inspection", "difference"},
    {"freezing", "load", "accuracy", "measuring", "project"},
    {"conversion"},
    {"ship", "worker", "cache"},
    {"transport", "release", "benchmark"},
    {"runtimes"},
    {"targets"},
    {"sightings", "logs"},
    {"inventory", "inheritance"},
    {"progress", "toml", "calibration"},
    {"types", "documents", "formats", "errors", "text", "stack", "shown", "device"},
]
"""Each room imports from its own and from those below it, never from those above."""


IN_THE_CALLERS_PROCESS = {"python", "load.py"}
"""The Python API takes and gives live objects, so that TensorFlow is in its caller's process already."""


def imports(file: Path) -> list[tuple[str, int, bool]]:
    """(module, line, whether at the top of the file) of every import."""
    tree = ast.parse(file.read_text())
    top = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            found += [(f"{module}.{alias.name}", node.lineno, id(node) in top) for alias in node.names]
    return found


def room(module: str) -> str:
    return module.split(".")[1] if module.startswith("edgefreeze.") else ""


def files(*folders: str) -> list[Path]:
    return sorted(f for folder in folders for f in (ROOT / folder).rglob("*.py"))


ALL = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", ALL, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_imports_point_one_way(file: Path) -> None:
    mine = file.relative_to(ROOT).parts[0].removesuffix(".py")
    if mine in ("__init__", "__main__"):
        return
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    assert mine in level, f"{mine} stands in no layer"
    for module, line, _ in imports(file):
        other = room(module)
        if other and other != "__version__":
            assert level[other] >= level[mine], f"{file}:{line} imports {module}, which is above it"


@pytest.mark.parametrize("file", files("device"), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_the_device_imports_the_standard_library_and_itself(file: Path) -> None:
    for module, line, top in imports(file):
        first = module.split(".")[0]
        if first == "edgefreeze":
            assert room(module) == "device", f"{file}:{line} imports {module}"
        elif first not in sys.stdlib_module_names:
            assert not top, f"{file}:{line} imports {module} at the top"
            assert first in HEAVY | {"numpy"}, f"{file}:{line} imports {module}"
            assert file.parent.name == "runtimes" or file.stem in {"tensors", "parity", "runner"}, (
                f"{file}:{line}"
            )


@pytest.mark.parametrize(
    "file", [f for f in ALL if "device" not in f.parts], ids=lambda f: f.relative_to(ROOT).as_posix()
)
def test_the_host_imports_of_the_device_only_what_is_shared(file: Path) -> None:
    for module, line, _ in imports(file):
        if module.startswith("edgefreeze.device."):
            assert module.split(".")[2] in SHARED, f"{file}:{line} imports {module}"


@pytest.mark.parametrize(
    "file",
    [
        f
        for f in ALL
        if f.relative_to(ROOT).parts[0] not in ("worker", "device", "demo", *IN_THE_CALLERS_PROCESS)
    ],
    ids=lambda f: f.relative_to(ROOT).as_posix(),
)
def test_tensorflow_and_its_kind_stay_in_the_worker(file: Path) -> None:
    for module, line, _ in imports(file):
        assert module.split(".")[0] not in HEAVY, f"{file}:{line} imports {module}"


@pytest.mark.parametrize("file", files("device", "transport"), ids=lambda f: f.relative_to(ROOT).as_posix())
def test_nothing_received_is_executed(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("exec", "eval"), f"{file}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            raise AssertionError(f"{file}:{node.value.lineno}: a shell")
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "marshal"
        ):
            assert node.attr == "dumps", f"{file}:{node.lineno}"  # device/bytecode.py writes what it compiled
    assert not {m.split(".")[0] for m, _, _ in imports(file)} & {"pickle", "shelve"}


BOARDS = ("raspberry", "jetson", "tegra", "orin", "pi3", "pi4", "pi5", "pi-32")
PROBES = {"device/probe.py", "device/health.py", "device/readings.py"}
"""The probe and its data: which programs and files there are to ask on some boards, and what they say."""


def test_no_code_asks_which_board_it_is() -> None:
    """Names of boards stand in targets/, in the probe's data and in examples, not in code."""
    names = {file.stem for file in (ROOT.parent / "targets").glob("*.toml")} - {"x86", "generic-arm64"}
    assert all(any(word in name for word in BOARDS) for name in names)
    for file in ALL:
        if file.relative_to(ROOT).as_posix() in PROBES or "demo" in file.parts:
            continue
        tree = ast.parse(file.read_text())
        told = set()  # to a person: docstrings, help with its examples, the template of a file
        for node in ast.walk(tree):
            match node:
                case (
                    ast.Expr()
                    | ast.keyword(arg="epilog" | "help")
                    | ast.Assign(targets=[ast.Name(id="TEMPLATE")])
                ):
                    told.add(id(node.value))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                assert not any(word in node.value.lower() for word in BOARDS), f"{file}:{node.lineno}"
