"""edgefreeze compare."""

from __future__ import annotations

from pathlib import Path

import click

from edgefreeze.cli import output
from edgefreeze.cli.options import output_options
from edgefreeze.errors import Failure


@click.command(
    "compare",
    epilog="""\b
Examples:
  edgefreeze compare before.json after.json
  edgefreeze compare 3fa9 latest --markdown comment.md --junit slower.xml""",
)
@click.argument("results", metavar="A B…", nargs=-1, required=True)
@click.option("--anyway", is_flag=True, help="Compare though devices, threads or runtimes differ.")
@click.option(
    "--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write a table for a pull request."
)
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit's XML for CI.")
@output_options
def command(
    results: tuple[str, ...],
    anyway: bool,
    markdown: Path | None,
    junit: Path | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> None:
    """Results beside each other, the first as the baseline: files, first digits of runs, or "latest".

    The exit status is 6 where something is shown to be slower than in the first.
    """
    import msgspec

    from edgefreeze.benchmark import comparing, store
    from edgefreeze.report import continuous, duel

    if len(results) < 2:
        raise Failure("usage", "compare what with it?", expected="two results or more")
    found = comparing.compare([store.find(name) for name in results])
    if found.differences and not anyway:
        raise Failure(
            "results-unlike",
            "these results were not measured under the same conditions",
            expected="the same board, threads, batch and runtimes",
            found="\n".join(found.differences),
            next="edgefreeze compare … --anyway",
        )
    for path, text in ((markdown, continuous.markdown(found)), (junit, continuous.junit(found))):
        if path is not None:
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise Failure(
                    "config-value", f"{path} cannot be written: {error.strerror}", found=str(path)
                ) from None
    fields = msgspec.to_builtins(found)
    if not as_json:
        duel.print_compared(output.console(), found)
    if found.slower:
        failure = Failure(
            "gate-failed",
            f"{', '.join(dict.fromkeys(r.format for r in found.slower))} became slower",
            expected="nothing slower than in the first result",
            found="\n".join(" ".join(r.cells) for r in found.slower),
        )
        failure.fields = fields
        raise failure
    if as_json:
        output.document("compare", fields)
