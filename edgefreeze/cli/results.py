"""edgefreeze results."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.benchmark import exporting
from edgefreeze.cli import options, output
from edgefreeze.cli.options import device_options, output_options
from edgefreeze.project import Where


@click.group("results", epilog="Example:  edgefreeze results list --app digits")
def command() -> None:
    """Results of benchmarks, which are kept on this machine by app and device, with every raw sample."""


@command.command("list", epilog="Example:  edgefreeze results list --app digits --device cam1")
@click.option("-a", "--app", metavar="NAME", help="Only those of this application.")
@click.option("--device", metavar="NAME", help="Only those of this device.")
@output_options
def list_(app: str | None, device: str | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """All results, oldest first; also those of runs that were cut."""
    import msgspec

    from edgefreeze.benchmark import store
    from edgefreeze.report import duel

    found = store.listed(app, device)
    if as_json:
        output.document("results list", {"results": msgspec.to_builtins(found)})
    else:
        duel.print_kept(output.console(), found)


@command.command("show", epilog="Example:  edgefreeze results show latest --html report.html")
@click.argument("result")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a report: one page.")
@output_options
def show(result: str, html: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """One RESULT again: a file, the first digits of a run, or "latest"."""
    from edgefreeze.benchmark import store
    from edgefreeze.report import duel
    from edgefreeze.report import html as page

    found = store.find(result)
    if html is not None:
        page.write(html, found)
    if as_json:
        import msgspec

        output.document("results show", {"result": msgspec.to_builtins(found)})
    else:
        duel.print_duel(output.console(), found)


@command.command("export", epilog="Example:  edgefreeze results export latest --to csv -o samples.csv")
@click.argument("result")
@click.option("--to", required=True, type=click.Choice(exporting.FORMATS), help="The format to write.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path, dir_okay=False),
              help="The file to write. Default: stdout.")  # fmt: skip
@output_options
def export(result: str, to: str, out: Path | None, as_json: bool, quiet: bool, debug: bool) -> None:
    """A RESULT as CSV (every sample), as pyperf's JSON, or as Prometheus' text for node_exporter."""
    from edgefreeze.benchmark import store
    from edgefreeze.errors import Failure

    text = exporting.export(store.find(result), to)
    if out is None and as_json:
        output.document("results export", {"to": to, "path": None, "text": text})
        return
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure("config-value", f"{out} cannot be written: {error.strerror}", found=str(out)) from None
    if as_json:
        output.document("results export", {"to": to, "path": str(out), "text": None})


@command.command("recover", epilog="Example:  edgefreeze results recover --host cam1")
@device_options
@output_options
def recover(where: Where, as_json: bool, quiet: bool, debug: bool) -> None:
    """Fetch what a benchmark has left on a device whose host, connection or helper was killed."""
    import msgspec

    from edgefreeze import measuring
    from edgefreeze.cli.progress import show as showing
    from edgefreeze.report import duel
    from edgefreeze.transport.client import connect

    with (
        showing(as_json=as_json, quiet=quiet) as progress,
        connect(where.device, options.ask) as helper,
    ):
        found = measuring.collect(helper, where.device.name, progress)
    if as_json:
        output.document("results recover", {"results": msgspec.to_builtins(found)})
    else:
        console = output.console()
        if not found:
            console.print(f"{where.device.name} has nothing that was cut.", markup=False)
        for result in found:
            duel.print_duel(console, result)
