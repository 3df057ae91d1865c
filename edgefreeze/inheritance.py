"""A TOML table that extends another one: merged, with where each value comes from. One level deep, so that
what a target says can be read in two files at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefreeze import toml
from edgefreeze.device.protocol import NAME
from edgefreeze.errors import Failure, nearest

KEY = "extends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a file and the one that it extends say together; `origins` has the file's name (without its
    ending) for each value, by dotted key: {"match.machine": "generic-arm64"}."""

    data: dict[str, Any]
    origins: dict[str, str]


def merge(file: Path, data: dict[str, Any], folders: tuple[Path, ...]) -> Merged:
    """A file's content on top of that of the file that it extends, which is `NAME.toml` in the first of the
    folders that has one other than the file itself: so a file of one's own may extend a shipped one of its
    own name. Tables are merged key by key; anything else, a list too, replaces what was there.

    Raises Failure config-value: a name that is none or that no file has, a file that extends a third one.
    """
    name = data.get(KEY)
    if not isinstance(name, str):
        return Merged(data=data, origins=dict.fromkeys(leaves(data), file.stem))
    if not NAME.fullmatch(name):
        raise Failure("config-value", f"{file}: extends: '{name}' cannot be a target's name", found=name)
    base = _find(name, file, folders)
    _, inherited = toml.table(base)
    if KEY in inherited:
        raise Failure(
            "config-value",
            f"{file}: extends '{name}', which extends '{inherited[KEY]}': one level is all",
            expected=f'extends = "{inherited[KEY]}", or a target that extends none',
            found=f'extends = "{name}"',
        )
    origins = dict.fromkeys(leaves(inherited), base.stem)
    own = dict.fromkeys(leaves(data), file.stem)
    # A list of tables or a value of the file replaces all that stood below its key.
    origins = {key: origin for key, origin in origins.items() if not any(_covers(o, key) for o in own)}
    return Merged(data=_laid_over(inherited, data), origins=origins | own)


def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values that are no tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _find(name: str, file: Path, folders: tuple[Path, ...]) -> Path:
    for folder in folders:
        found = folder / f"{name}.toml"
        if found.is_file() and found.resolve() != file.resolve():
            return found
    known = {f.stem for folder in folders for f in folder.glob("*.toml")} - {file.stem}
    near = nearest(name, sorted(known))
    raise Failure(
        "config-value",
        f"{file}: extends '{name}', and there is no such target"
        + (f"; did you mean '{near}'?" if near else ""),
        expected="one of " + ", ".join(sorted(known)),
        found=name,
    )


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _laid_over(under, value) if both else value  # type: ignore[arg-type]
    return merged


def _covers(own: str, key: str) -> bool:
    return key == own or key.startswith(own + ".") or own.startswith(key + ".")
