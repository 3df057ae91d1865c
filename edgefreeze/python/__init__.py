"""The Python API: each function does what the command of its name does, with the same defaults.

Nothing here prints, asks or exits: what goes wrong is raised as errors.Failure.
"""

from __future__ import annotations

from edgefreeze.report import notebook  # noqa: F401 - enters how results show themselves
