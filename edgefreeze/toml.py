"""Reading the project's TOML files: typed, with file, line and nearest key in every error."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgefreeze.errors import Failure, nearest

T = TypeVar("T", bound=msgspec.Struct)

MOST_LEVELS = 32
"""Of tables and lists in each other; no file of ours has more than five."""
_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")
_UNKNOWN = re.compile(r"unknown field `(?P<key>[^`]*)`(?: - at `\$(?P<path>[^`]*)`)?")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$", re.DOTALL)


def read(path: Path, schema: type[T]) -> T:
    """Decode a TOML file into a msgspec Struct that forbids unknown fields.

    Raises Failure config-syntax, config-key or config-value, naming file, line and the nearest key.
    """
    text, data = table(path)
    return decode(data, text, str(path), schema)


def parse(text: str, where: str, schema: type[T]) -> T:
    """As read(), from a text; `where` names it in errors."""
    return decode(loads(text, where), text, where, schema)


def table(path: Path) -> tuple[str, dict[str, Any]]:
    """A TOML file's text, and its content as plain values. Raises Failure config-syntax."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure("config-syntax", f"{path} cannot be read: {error}", found=str(error)) from None
    return text, loads(text, str(path))


def decode(data: dict[str, Any], text: str, where: str, schema: type[T]) -> T:
    """Plain values into a Struct; errors name lines of `text`. Raises Failure config-key, config-value."""
    try:
        return msgspec.convert(data, schema, strict=True)
    except msgspec.ValidationError as error:
        raise _explain(str(error), text, where, schema) from None


def loads(text: str, where: str) -> dict[str, Any]:
    """A TOML text's content as plain values; `where` names it in errors. Raises Failure config-syntax."""
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except tomllib.TOMLDecodeError as error:
        raise Failure("config-syntax", f"{where} is not valid TOML: {error}", found=str(error)) from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        digits = re.search(r"[0-9_]{4000}", text)
        line = text.count("\n", 0, digits.start() if digits else 0) + 1
        raise Failure("config-syntax", f"{where}, line {line}: a number has too many digits") from None
    level: list[Any] = [found]
    for _ in range(MOST_LEVELS):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise _too_deep(where)
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _too_deep(where: str) -> Failure:
    return Failure(
        "config-syntax",
        f"{where}: its tables or lists are nested too deeply",
        expected=f"at most {MOST_LEVELS} levels",
    )


def _explain(problem: str, text: str, where: str, schema: type[msgspec.Struct]) -> Failure:
    unknown = _UNKNOWN.search(problem)
    if unknown:
        key, path = unknown["key"], unknown["path"] or ""
        place = f"{where}, line {_line(text, _steps(path), key)}"
        known = _fields_at(schema, _steps(path))
        near = nearest(key, known)
        return Failure(
            "config-key",
            f"{place}: unknown key '{key}'" + (f"; did you mean '{near}'?" if near else ""),
            expected="one of " + ", ".join(sorted(known)),
            found=key,
        )
    match = _AT.match(problem)
    assert match is not None  # the pattern matches any text
    steps = _steps(match["path"] or "")
    while steps and (steps[-1] == "*" or isinstance(steps[-1], int)):
        steps.pop()  # an entry of a list, or of a table whose keys are free: that one's own key is named
    key = steps.pop() if steps else ""
    place = f"{where}, line {_line(text, steps, str(key))}"
    what = match["what"]
    expected = re.match(r"Expected `([^`]*)`, got `([^`]*)`", what)
    return Failure(
        "config-value",
        f"{place}: " + (f"'{key}': " if key else "") + what,
        expected=expected[1].removesuffix(" | null") if expected else None,
        found=expected[2] if expected else None,
    )


def _steps(path: str) -> list[str | int]:
    """'.formats[1].tolerance' to ['formats', 1, 'tolerance']; the unnamed key of a dict is '*'."""
    found = re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path)
    return [name or ("*" if index == "..." else int(index)) for name, index in found]


def _fields_at(schema: Any, steps: list[str | int]) -> list[str]:
    """The keys that the schema knows at a path."""
    info = _inner(msgspec.inspect.type_info(schema))
    for step in steps:
        if isinstance(info, msgspec.inspect.DictType):
            info = _inner(info.value_type)
        elif isinstance(info, msgspec.inspect.StructType) and isinstance(step, str):
            field = next((f.type for f in info.fields if f.encode_name == step), None)
            if field is None:
                return []
            info = _inner(field)
    return [f.encode_name for f in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


def _inner(info: Any) -> Any:
    """Through unions with None and through arrays to what they hold."""
    while True:
        if isinstance(info, msgspec.inspect.UnionType):
            info = next((t for t in info.types if not isinstance(t, msgspec.inspect.NoneType)), info.types[0])
        elif isinstance(info, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            info = info.item_type
        else:
            return info


def _line(text: str, steps: list[str | int], key: str) -> int:
    """The line (from 1) of a key in the table that the steps lead to; the table's line where it is not
    found, 1 where there is no such table either."""
    table = [str(s) for s in steps if isinstance(s, str)]
    index = next((s for s in steps if isinstance(s, int)), None)
    here: list[str] = []
    seen = -1
    table_line = 1
    for number, line in enumerate(text.splitlines(), 1):
        header, found = _HEADER.match(line), _KEY.match(line)
        if header:
            here = _parts(header[1])
            if _same(here, table):
                seen += 1
                if index is None or seen == index:
                    table_line = number
        name = here if header else [*here, *_parts(found[1])] if found else []
        if _same(name, [*table, key]) and (index is None or seen in (index, -1)):
            return number
    return table_line


def _parts(dotted: str) -> list[str]:
    return [part.strip(" \"'") for part in dotted.split(".")]


def _same(name: list[str], wanted: list[str]) -> bool:
    return len(name) == len(wanted) and all(w in ("*", n) for n, w in zip(name, wanted, strict=True))
