"""One parser under atheris, with libFuzzer's own options: python -m tests.fuzzing.atheris_run NAME [OPTION …]."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["edgefreeze", "tomllib", "json"]):
    from tests.fuzzing.parsers import PARSERS


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    parser = PARSERS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, parser.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
