"""Run cases: python -m tests.faults [--kinds K,…] [--shard I/N] [--sample N --seed S] [--results FILE]."""

import sys

from .running import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
