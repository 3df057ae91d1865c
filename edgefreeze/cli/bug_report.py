"""edgefreeze bug-report."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options
from edgefreeze.errors import Failure


@click.command(
    "bug-report",
    epilog="""\b
Examples:
  edgefreeze bug-report -o report.md
  edgefreeze bug-report --json""",
)
@click.option(
    "-o", "--output", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there."
)
@click.option(
    "--config", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The edgefreeze.toml to tell of. Default: this folder's.",
)  # fmt: skip
@output_options
def command(out: Path | None, config: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """Facts for a report of a defect: versions, machine, configuration, the last run that failed.

    Nothing is sent. Names, addresses, paths and secrets are left out; the report says by which rule.
    """
    import msgspec

    from edgefreeze import bug_report
    from edgefreeze.cli.main import COMMANDS

    found = bug_report.collect(COMMANDS, config)
    if out is not None:
        try:
            out.write_text(found.text, encoding="utf-8")
        except OSError as error:
            raise Failure(
                "config-value", f"{out} cannot be written: {error.strerror}", found=str(out)
            ) from None
    if as_json:
        output.document("bug-report", msgspec.to_builtins(found))
    elif out is None:
        click.echo(found.text)
    else:
        click.echo(f"written to {out}: read it before you send it", err=True)
