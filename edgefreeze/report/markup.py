"""Rich's markup around text that is none: a device's log, a path, a host such as [fe80::1]."""

from __future__ import annotations

import string
from typing import Any

from rich.markup import escape


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        return escape(format(value, format_spec))


def marked(template: str, *values: object) -> str:
    """str.format of a template in rich's markup, in which every value stands for itself."""
    return _Escaping().format(template, *values)
