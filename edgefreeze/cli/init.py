"""edgefreeze init."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options

TEMPLATE = """\
# edgefreeze: what to deploy, and where. `edgefreeze deploy` reads this file in the working directory.
model = "{model}"        # a SavedModel folder or a .keras file
app = "{app}"            # its folder on a device: ~/.edgefreeze/apps/{app}/current
target = "{target}"      # edgefreeze targets list
# samples = "samples.npz"     # inputs to prove with; without them edgefreeze draws some
# signature = "serving_default"
# targets = "my-targets"      # a folder with targets of your own

# One table a device. Without `host` its name is the ssh destination. No secrets here.
# [devices.cam1]
# target = "pi4"
# host = "pi@192.0.2.17"      # or an alias of ~/.ssh/config
# python = "/usr/bin/python3" # an interpreter there that has a TensorFlow of its own, if there is one
"""


@click.command("init", epilog="Example:  edgefreeze init --model saved_model --target pi4")
@click.option("--model", default="saved_model", show_default=True, help="The model's path.")
@click.option("-a", "--app", default=None, help="The application's name. Default: the folder's.")
@click.option("-t", "--target", default="x86", show_default=True, help="The default target.")
@click.option("--force", is_flag=True, help="Overwrite an edgefreeze.toml that is there.")
@output_options
def command(
    model: str, app: str | None, target: str, force: bool, as_json: bool, quiet: bool, debug: bool
) -> None:
    """Write an edgefreeze.toml to start from into the working directory."""
    from edgefreeze import inventory, targets
    from edgefreeze.errors import Failure
    from edgefreeze.project import app_name

    file = Path(inventory.FILE)
    if file.exists() and not force:
        raise Failure("config-exists", f"{file} is there already", next="edit it, or edgefreeze init --force")
    targets.load(target)
    name = app_name(app, inventory.Config(folder="."), Path.cwd())
    if set(model) & set('"\\\n'):
        raise Failure(
            "config-value", "--model: a path with quotes, backslashes or line breaks", found=repr(model)
        )
    file.write_text(TEMPLATE.format(model=model, app=name, target=target), encoding="utf-8")
    inventory.load()
    if as_json:
        output.document("init", {"path": str(file.resolve()), "app": name, "target": target, "model": model})
    elif not quiet:
        local = targets.load(target).transport == "local"
        step = "deploy --dry-run" if local else f"devices add NAME HOST --target {target}"
        output.console().print(f"wrote {file}; next: edgefreeze {step}", markup=False)
