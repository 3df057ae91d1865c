"""python -m edgefreeze, and the command edgefreeze."""

import os


def main() -> None:
    """The command line. Ctrl-C counts from the first import on."""
    try:
        from edgefreeze.cli.main import main as run
    except KeyboardInterrupt:
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
