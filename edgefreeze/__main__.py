"""python -m edgefreeze: the command line."""

from edgefreeze.cli.main import main

main()
