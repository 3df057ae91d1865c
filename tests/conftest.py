"""Fixtures that all tests share."""

import signal

pytest_plugins = ["tests.lab_plugin", "tests.marks", "tests.skips"]

# A shell that runs the tests in the background ignores SIGINT for them, and every child inherits that:
# then no test could interrupt anything.
signal.signal(signal.SIGINT, signal.default_int_handler)
