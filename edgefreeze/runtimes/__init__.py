"""Device facts in, packages out: what a runtime is made of on a given interpreter, put together on the
host as plain files, so that the device needs no pip, no network and no root.

    facts.py, runtimes.toml   the packages' facts         choosing.py  which row fits a device: pure
    fetching.py               a chosen row as a Tree      wheels.py, debian.py  where its files come from
    lock.py                   which files those were      needs.py     what they need of the device's system
"""

from edgefreeze.runtimes.choosing import Choice, choose
from edgefreeze.runtimes.facts import Package, Table, table
from edgefreeze.runtimes.fetching import Sources, fetch, platform_tag
from edgefreeze.runtimes.tree import Tree, TreeFile

__all__ = [
    "Choice",
    "Package",
    "Sources",
    "Table",
    "Tree",
    "TreeFile",
    "choose",
    "fetch",
    "platform_tag",
    "table",
]
