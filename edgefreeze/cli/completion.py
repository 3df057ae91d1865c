"""edgefreeze completion."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options
from edgefreeze.errors import Failure

VARIABLE = "_EDGEFREEZE_COMPLETE"
"""Where it is set, edgefreeze answers a shell that asks what could come next (click's protocol)."""


@click.command(
    "completion",
    epilog="""\b
Examples:
  edgefreeze completion bash -o ~/.local/share/bash-completion/completions/edgefreeze
  edgefreeze completion zsh -o ~/.zfunc/_edgefreeze    with ~/.zfunc in fpath, before compinit
  edgefreeze completion fish -o ~/.config/fish/completions/edgefreeze.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there."
)
@output_options
def command(shell: str, out: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """Print the script with which a shell completes commands, options and targets."""
    from click.shell_completion import get_completion_class

    from edgefreeze.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    # Not source(): that asks which bash there is, and the script is perhaps for another machine.
    made = kind(cli, {}, "edgefreeze", VARIABLE)
    script = made.source_template % made.source_vars()
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(script + "\n", encoding="utf-8")
        except OSError as error:
            raise Failure(
                "config-value", f"{out} cannot be written: {error.strerror}", found=str(out)
            ) from None
    if as_json:
        output.document("completion", {"shell": shell, "script": script})
    elif out is None:
        click.echo(script)
