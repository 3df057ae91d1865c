"""Fixtures that all tests share."""

import signal

from edgefreeze.cli import output
from tests import documents

pytest_plugins = ["tests.lab_plugin", "tests.marks", "tests.skips"]

# A shell that runs the tests in the background ignores SIGINT for them, and every child inherits that:
# then no test could interrupt anything.
signal.signal(signal.SIGINT, signal.default_int_handler)

output._print = documents.checking(output._print)
