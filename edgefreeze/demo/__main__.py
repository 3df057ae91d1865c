"""python -m edgefreeze.demo [FOLDER]: the main job, on this machine. `make demo` runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from edgefreeze import inventory, targets
from edgefreeze.building import Wish
from edgefreeze.cli import output
from edgefreeze.cli.progress import show
from edgefreeze.deploying import deploy
from edgefreeze.deployment import Request
from edgefreeze.errors import Failure
from edgefreeze.report import text

LEAST_ACCURACY = 0.95
LOCAL = inventory.Device(name="local", target="x86", transport="local", host=None, python=None, root=None)


def main(folder: Path) -> int:
    """Train, deploy to this machine, show the tables, say what to type next. Returns the exit status."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    console = output.console()
    try:
        with show(as_json=False, quiet=False) as progress:
            progress.step("train", "training a small CNN on 1797 handwritten digits")
            started = time.monotonic()
            log = folder / "train.log"
            quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
            with log.open("wb") as file:
                done = subprocess.run(
                    [sys.executable, "-m", "edgefreeze.demo.train", str(folder)],
                    stdout=file, stderr=file, env=quiet, check=False,
                )  # fmt: skip
            if done.returncode != 0:
                raise Failure(
                    "worker-crashed",
                    "the training failed",
                    found=f"exit status {done.returncode}",
                    next=f"see {log}",
                )
            accuracy = json.loads((folder / "accuracy.json").read_text())["accuracy"]
            progress.note(
                f"trained in {time.monotonic() - started:.0f} s: {accuracy:.2%} of the test digits are right"
            )
            if accuracy < LEAST_ACCURACY:
                raise Failure(
                    "internal",
                    "the demo's model did not learn",
                    expected=f"at least {LEAST_ACCURACY:.0%}",
                    found=f"{accuracy:.2%}",
                )
            outcome = deploy(
                Request(
                    model=folder / "digits_savedmodel",
                    app="digits",
                    target=targets.load("x86"),
                    device=LOCAL,
                    wish=Wish(evaluation=folder / "digits_test.npz"),
                ),
                progress,
            )
    except BaseException as error:
        return output.fail(error, command="demo", as_json=False, debug="--debug" in sys.argv)
    (folder / inventory.FILE).write_text('model = "digits_savedmodel"\napp = "digits"\ntarget = "x86"\n')
    text.print_deploy(console, outcome, next_steps=False)
    tool = Path(sys.executable).with_name("edgefreeze")
    console.print(
        "\n[bold]Next[/]: the same to a board. In the demo's folder, where edgefreeze.toml says the rest:"
    )
    console.print(f"  cd {folder}")
    for command, what in (
        ("run --input digits.npz --output answers.npz", "infer on the device"),
        ("status", "what it runs"),
        ("deploy --target pi4 --host pi@raspberrypi.local", "to a Raspberry Pi 4"),
    ):
        console.print(f"  {tool} {command:<48} [dim]{what}[/]", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(next((a for a in sys.argv[1:] if not a.startswith("-")), "demo-out")).resolve()))
