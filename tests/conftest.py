"""Fixtures that all tests share."""

pytest_plugins = ["tests.lab_plugin"]
