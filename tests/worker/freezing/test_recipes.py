"""The recipes of docs/freezing.md: each one's own model is built and frozen as the recipe does it, and taken
through the command that stands beside it on the page, read from there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgefreeze.worker.client import environment

pytestmark = pytest.mark.tf

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PAGE = (ROOT / "docs" / "freezing.md").read_text()
ROW = re.compile(r"^\| (?P<old>.+) \| `(?P<new>edgefreeze[ .].+)`(?P<python> in Python)? \|$", re.MULTILINE)
KNOWN = {
    "session": "convert_variables_to_constants(sess",
    "checkpoint": "restore a checkpoint",
    "meta_graph": "--input_meta_graph",
    "saved_model": "--input_saved_model_dir",
    "optimize_for_inference": "optimize_for_inference.py",
    "strip_unused": "strip_unused.py",
    "saved_model_cli": "saved_model_cli",
    "load_and_run": "load_graph(",
    "frozen_again": "save it again as a SavedModel",
}
"""The function of recipes.py, and what tells its row."""
COMPARE = """
import sys
import numpy as np, edgefreeze
with np.load("expected.npz") as file:
    given = {k[3:]: file[k] for k in file if k.startswith("in|")}
    expected = {k[4:]: file[k] for k in file if k.startswith("out|")}
found = edgefreeze.load_frozen(sys.argv[1])(given)
np.savez("found.npz", **found)
"""
SAVED_MODEL = """
import sys
import numpy as np, tensorflow as tf
with np.load("expected.npz") as file:
    given = {k[3:]: tf.constant(file[k]) for k in file if k.startswith("in|")}
loaded = tf.saved_model.load(sys.argv[1])
assert not loaded.signatures["serving_default"].variables
np.savez("found.npz", **{k: v.numpy() for k, v in loaded.signatures["serving_default"](**given).items()})
"""


def rows():
    """{name in recipes.py: (what the page says to type, whether it is Python)}"""
    found = {}
    for match in ROW.finditer(PAGE):
        (name,) = (name for name, mark in KNOWN.items() if mark in match["old"])
        found[name] = (match["new"], bool(match["python"]))
    return found


ROWS = rows()


def run(*arguments, cwd):
    env = {**environment(), "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(cwd / "state")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]


def equal(folder):
    """Whether found.npz has what the recipe computed."""
    with np.load(folder / "expected.npz") as expected, np.load(folder / "found.npz") as found:
        outputs = {k[4:]: expected[k] for k in expected if k.startswith("out|")}
        assert set(found) == set(outputs)
        for key, value in outputs.items():
            assert np.ptp(value) > 0, f"{key} shows nothing"
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5)


def test_every_row_has_a_recipe():
    table = PAGE.partition("## Recipes")[2].partition("\n\n`load_frozen`")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(lines) - 1 == len(ROWS)
    assert set(ROWS) == set(KNOWN)


@pytest.mark.parametrize(
    "name",
    ["checkpoint", "meta_graph", "saved_model", "optimize_for_inference", "strip_unused", "saved_model_cli"],
)
def test_a_command_computes_what_the_recipe_did(tmp_path, name):
    command, python = ROWS[name]
    assert not python
    run(HERE / "recipes.py", name, cwd=tmp_path)
    arguments = shlex.split(command)
    run("-m", *arguments, cwd=tmp_path)
    run("-c", COMPARE, arguments[arguments.index("-o") + 1], cwd=tmp_path)
    equal(tmp_path)


def test_a_session_is_frozen_where_it_lives(tmp_path):
    line, python = ROWS["session"]
    assert python
    (tmp_path / "page.py").write_text(line)
    run(HERE / "recipes.py", "session", cwd=tmp_path)
    run("-c", COMPARE, "model.pb", cwd=tmp_path)
    equal(tmp_path)


def test_a_graph_is_loaded_and_run_with_edgefreeze_and_without(tmp_path):
    line, python = ROWS["load_and_run"]
    assert python
    run(HERE / "recipes.py", "load_and_run", cwd=tmp_path)
    before = 'import numpy as np\narray = np.load("expected.npz")["in|x"]\n'
    (tmp_path / "with.py").write_text(f'{before}import edgefreeze\nnp.savez("found.npz", y={line})\n')
    run("with.py", cwd=tmp_path)
    equal(tmp_path)
    (tmp_path / "found.npz").unlink()

    (block,) = re.findall(r"(?:^    .*\n)+", PAGE.partition("Without edgefreeze")[2], re.MULTILINE)[:1]
    *setting_up, last = re.sub(r"^    ", "", block, flags=re.MULTILINE).strip().split("\n")
    script = "\n".join([before, "import tensorflow as tf", *setting_up, f'np.savez("found.npz", y={last})'])
    (tmp_path / "without.py").write_text(script)
    run("without.py", cwd=tmp_path)
    equal(tmp_path)


def test_a_frozen_function_becomes_a_saved_model_again(tmp_path):
    command, _ = ROWS["frozen_again"]
    run(HERE / "recipes.py", "frozen_again", cwd=tmp_path)
    arguments = shlex.split(command)
    run("-m", *arguments, cwd=tmp_path)
    run("-c", SAVED_MODEL, arguments[arguments.index("-o") + 1], cwd=tmp_path)
    equal(tmp_path)
