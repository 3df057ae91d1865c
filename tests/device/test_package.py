"""What the package may import, and the file that it becomes."""

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import edgefreeze.device
from edgefreeze.device import errors, probe, runtimes
from edgefreeze.transport import pyz

PACKAGE = Path(edgefreeze.device.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Modules of which a function may import NumPy, or the package that a runtime's file is about.
LAZY = {"tensors.py": {"numpy"}, "parity.py": {"numpy"}, "tflite.py": {"numpy"}, "tensorrt.py": {"numpy"}}
RUNTIMES = {"tensorflow", "ai_edge_litert", "tflite_runtime", "onnxruntime"}


def imports(tree: ast.AST) -> set[tuple[str, bool]]:
    """(top-level package or our own module, whether at module level)."""
    top = {id(node) for node in getattr(tree, "body", [])}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, id(node) in top) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only: they work from a zip as anywhere"
            found.add((node.module or "", id(node) in top))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_only_the_standard_library_and_itself(path: Path) -> None:
    lazy = LAZY.get(path.name, set()) | (RUNTIMES if path.parent.name == "runtimes" else set())
    for name, at_top in imports(ast.parse(path.read_text())):
        package = name.split(".")[0]
        ours = name == "edgefreeze.device" or name.startswith("edgefreeze.device.")
        assert ours or package in sys.stdlib_module_names or (package in lazy and not at_top), name


@pytest.mark.process
@pytest.mark.parametrize("version", ["3.8", "3.9"])
def test_every_file_is_syntax_of_old_pythons(version: str, look) -> None:  # type: ignore[no-untyped-def]
    python = look.python(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    check = "import ast,sys\nfor p in sys.argv[1:]: ast.parse(open(p).read(), p)"
    subprocess.run([python, "-c", check, *map(str, SOURCES)], check=True)


def test_pyz_is_the_same_bytes_each_time_and_holds_nothing_but_source() -> None:
    data, digest = pyz.build()
    assert pyz.build() == (data, digest)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {n for n in names if not n.startswith("edgefreeze/device/")} == {
            "__main__.py",
            "edgefreeze/__init__.py",
        }
        assert len(names) == len(SOURCES) + 2
        assert archive.read("edgefreeze/__init__.py") == b""


def test_command_line(program: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-I", program, "--version"], check=True, capture_output=True, text=True
    )
    assert said.stdout == "edgefreeze-device protocol 1\n"
    nothing = subprocess.run([sys.executable, "-I", program], check=False, capture_output=True)
    assert nothing.returncode == 2


def test_runtimes_are_listed_from_the_zip_without_importing_any(program: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from edgefreeze.device import runtimes\n"
        "print(*runtimes.names()); print(*[m for m in sys.modules if 'runtimes.' in m])"
    )
    said = subprocess.run(
        [sys.executable, "-I", "-c", code, program], check=True, capture_output=True, text=True
    )
    assert said.stdout == "onnxruntime tensorrt tf_frozen tf_saved_model tflite\n\n"


@pytest.mark.parametrize("name", ["../tf_frozen", "tf_frozen.Model", "nothing", "", "__init__", "os"])
def test_an_unknown_runtime_is_not_imported(name: str) -> None:
    with pytest.raises(LookupError):
        runtimes.find(name)


@pytest.mark.parametrize("name", runtimes.names())
def test_each_runtime_has_the_interface(name: str) -> None:
    module = runtimes.find(name)
    assert module.PACKAGES
    assert all(isinstance(package, str) for package in module.PACKAGES)
    assert set(module.PACKAGES) <= set(probe.PACKAGES), "the probe tells which of them a device has"
    assert callable(module.require)
    assert {"run", "bind", "close"} <= set(dir(module.load))
    assert (runtimes.builds(name) > 0) == hasattr(module, "prepare")


def test_error_codes_are_sorted_kebab_case_and_checked() -> None:
    assert list(errors.CODES) == sorted(set(errors.CODES))
    assert all(code == code.lower() and "_" not in code for code in errors.CODES)
    with pytest.raises(AssertionError):
        errors.DeviceError("no-such-code", "")
