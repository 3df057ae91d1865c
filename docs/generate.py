"""Fills in what the documentation says of the code, from the code: options, error codes, keys of TOML files.

    python docs/generate.py            rewrite the generated parts of docs/*.md
    python docs/generate.py --check    change nothing; exit status 1 where a file is out of date

A generated part stands between the lines <!-- BEGIN name --> and <!-- END name -->; `name` is a key of PARTS.
All else in those files is written by hand.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import inspect as kinds

import edgefreeze
from edgefreeze import (
    errors,
    inventory,
    runtimes,
    schemas,
    targets,
)
from edgefreeze.cli.main import cli
from edgefreeze.formats import FORMATS

FOLDER = Path(__file__).resolve().parent
PACKAGE = Path(edgefreeze.__file__).resolve().parent
_PART = re.compile(
    r"(?P<begin><!-- BEGIN (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- END (?P=name) -->)", re.DOTALL
)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    """A Markdown table. Bars in cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


# --- commands


def commands(
    group: click.Group, path: str = "edgefreeze"
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command that does something: (its whole name, itself, a context)."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command, click.Context(command, info_name=f"{path} {name}")


def _commands() -> str:
    parts = []
    for name, command, context in commands(cli):
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        parts.append(f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```text\n{usage}\n```\n")
        options = [p for p in command.params if isinstance(p, click.Option)]
        parts.append(table(("option", "value", "meaning"), [_option(o, context) for o in options]))
        if examples := list(_examples(command.epilog or "")):
            parts.append("```sh\n" + "\n".join(examples) + "\n```\n")
        if fields := json_fields(name):
            parts.append(f"`--json`: {', '.join(f'`{field}`' for field in fields)}\n")
    return "\n".join(parts)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len))
    value = "" if option.is_flag else f"`{option.make_metavar(context)}`"
    meaning = option.help or ""
    if isinstance(option.type, click.IntRange):
        most = "" if option.type.max is None else f", at most {option.type.max}"
        value, meaning = "`INTEGER`", f"{meaning} At least {option.type.min}{most}."
    if option.required:
        meaning += " Required."
    elif option.show_default:
        meaning += f" Default: `{option.default}`."
    return names, value, meaning


def _examples(epilog: str) -> Iterator[str]:
    """The commands of an epilog; what stands behind one, two blanks away, becomes a comment."""
    for line in epilog.replace("\b", "").splitlines():
        match = re.match(r"(?:Example:)?\s*(edgefreeze .*?)(?:\s{2,}(.*))?$", line)
        if match:
            yield f"{match[1]}  # {match[2]}" if match[2] else match[1]


def json_fields(name: str) -> tuple[str, ...]:
    """The fields of a command's --json document, beside schema, command and ok; `name` as it is typed."""
    command = name.removeprefix("edgefreeze ")
    command = {"devices list": "devices"}.get(command, command)
    if command not in schemas.DOCUMENTS:
        return ()  # series prints those of its commands
    own = [f.encode_name for f in _fields(schemas.DOCUMENTS[command]) if f.encode_name != "schema"]
    return (*own, *schemas.BESIDE.get(command, ()))


# --- JSON documents


def _documents() -> str:
    """A section for each document, and for each type that stands in one, in the order in which they come."""
    parts, waiting, done = [], list(schemas.DOCUMENTS.values()), set()
    while waiting:
        kind = waiting.pop(0)
        if kind in done:
            continue
        done.add(kind)
        fields = _fields(kind)
        texts = docstrings(sys.modules[kind.__module__])[kind.__name__]
        rows = [(f"`{f.encode_name}`", _json_kind(f.type), texts.get(f.name, "")) for f in fields]
        rows += [(f"`{name}`", _json_kind(kinds.type_info(t)), "") for name, t in _beside(kind)]
        about = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
        parts.append(f"## {_title(kind)}\n\n{about}\n\n{table(('field', 'type', 'meaning'), rows)}")
        further = [f.type for f in fields] + [kinds.type_info(t) for _, t in _beside(kind)]
        waiting[:0] = [t for info in further for t in _classes(info) if t not in done]
    assert len({_title(kind) for kind in done}) == len(done), "two types have one name"
    return "\n".join(parts)


def _fields(kind: type) -> tuple[kinds.Field, ...]:
    info = kinds.type_info(kind)
    assert isinstance(info, kinds.DataclassType | kinds.StructType | kinds.TypedDictType)
    if isinstance(info, kinds.TypedDictType):  # in the order in which they are written
        return tuple(sorted(info.fields, key=lambda field: list(kind.__annotations__).index(field.name)))
    return info.fields


def _beside(kind: type) -> list[tuple[str, type]]:
    """The fields that a document has beside those of its type."""
    return [
        pair
        for name, more in schemas.BESIDE.items()
        if schemas.DOCUMENTS[name] is kind
        for pair in more.items()
    ]


def _title(kind: type) -> str:
    names = [f"edgefreeze {name}" for name, of in schemas.DOCUMENTS.items() if of is kind]
    if names:
        return ", ".join([names[0], *(name.removeprefix("edgefreeze ") for name in names[1:])])
    room = kind.__module__.split(".")[1]
    return f"{kind.__name__} of {room}" if (kind.__name__, room) in _NAMESAKES else kind.__name__


_NAMESAKES = {("Finding", "benchmark"), ("Comparison", "benchmark"), ("Advice", "targets")}
"""Types that have the name of another that is shown as well."""


def _classes(info: Any) -> list[type]:
    """The dataclasses that stand in a type."""
    if isinstance(info, kinds.DataclassType | kinds.StructType | kinds.TypedDictType):
        return [info.cls]
    inner = [getattr(info, name, ()) for name in ("types", "item_types")]
    inner.append([getattr(info, name) for name in ("item_type", "value_type") if hasattr(info, name)])
    return [found for group in inner for kind in group for found in _classes(kind)]


def _json_kind(info: Any) -> str:
    """A type as it is in JSON, in words."""
    match info:
        case kinds.UnionType(types=types):
            return " or ".join(_json_kind(t) for t in types)
        case kinds.NoneType():
            return "`null`"
        case kinds.DataclassType(cls=cls) | kinds.StructType(cls=cls) | kinds.TypedDictType(cls=cls):
            title = _title(cls)
            return f"[{title}](#{title.lower().replace(',', '').replace(' ', '-')})"
        case kinds.VarTupleType(item_type=item) | kinds.ListType(item_type=item):
            inner = _json_kind(item)
            return f"list of ({inner})" if isinstance(item, kinds.UnionType) else f"list of {inner}"
        case kinds.TupleType(item_types=items):
            return f"list: {', '.join(_json_kind(i) for i in items)}"
        case kinds.DictType(value_type=value):
            return "object" if isinstance(value, kinds.AnyType) else f"object of {_json_kind(value)}"
        case kinds.IntType():
            return "integer"
        case kinds.FloatType():
            return "number"
        case kinds.LiteralType(values=values):
            return " or ".join(f'`"{value}"`' for value in values)
    return _kind(info)


# --- errors

_MEANINGS = {
    errors.DONE: "done",
    errors.FAILED: "failed",
    errors.USAGE: "the command line does not fit",
    errors.CONFIG: "configuration or model: nothing was tried on a device, or it is the wrong one",
    errors.UNREACHABLE: "the device could not be reached, or was lost",
    errors.ROLLED_BACK: "rolled back",
    errors.GATE: "a gate said no: something computes something else, is unproved, or is not shown to be"
    " as fast, small or accurate as was asked",
    errors.ROLLBACK_FAILED: "a rollback failed too",
    errors.INTERRUPTED: "interrupted",
}


@functools.cache
def raised() -> set[str]:
    """Every code that is raised somewhere, on the host or on a device."""
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) in ("Failure", "DeviceError"):
                found.add(str(node.args[0].value))
    return found | {"disk-space", "store-io"}  # device/errors.py chooses between these two


def _exit_statuses() -> str:
    unused = {c.exit_status for c in errors.CODES.values()} - {
        errors.CODES[c].exit_status for c in raised() & set(errors.CODES)
    }
    rows = [
        (str(n), text + (" (reserved: nothing gives it yet)" if n in unused else ""))
        for n, text in _MEANINGS.items()
    ]
    return table(("status", "meaning"), rows)


def _errors() -> str:
    known = raised()
    parts: list[str] = []
    rows: list[tuple[str, ...]] = []
    head = ("code", "exit", "cause", "cure")
    for line in (PACKAGE / "errors.py").read_text(encoding="utf-8").splitlines():
        title, code = re.match(r"    # (\w.*)$", line), re.match(r'    "([a-z-]+)": Code\(', line)
        if title:
            parts += [table(head, rows)] if rows else []
            parts.append(f"## {title[1]}\n")
            rows = []
        if code:
            entry = errors.CODES[code[1]]
            cause = entry.cause + ("" if code[1] in known else " Reserved: nothing gives it yet.")
            rows.append((f"`{code[1]}`", str(entry.exit_status), cause, entry.cure))
    return "\n".join([*parts, table(head, rows)])


# --- TOML


@functools.cache
def docstrings(module: Any) -> dict[str, dict[str, str]]:
    """For every class of a module, the text below each of its fields."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            fields = found.setdefault(node.name, {})
            for before, text in zip(node.body, node.body[1:], strict=False):
                match before, text:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(words))),
                    ):
                        fields[name] = " ".join(words.split())
    return found


def _kind(info: Any) -> str:
    """A type of msgspec in words."""
    match info:
        case kinds.UnionType(types=types):
            return " or ".join(_kind(t) for t in types if not isinstance(t, kinds.NoneType))
        case kinds.LiteralType(values=values):
            return " or ".join(f'`"{value}"`' for value in values)
        case kinds.VarTupleType(item_type=item):
            return "list of " + ("tables" if isinstance(item, kinds.StructType) else f"{_kind(item)}s")
        case kinds.DictType():
            return "table"
        case kinds.StructType():
            return "table"
        case kinds.IntType(ge=least, le=most) | kinds.FloatType(ge=least, gt=None, le=most):
            return ("integer" if isinstance(info, kinds.IntType) else "number") + _bounds(least, most)
        case kinds.FloatType(gt=above, le=most):
            return f"number above {above:g}, at most {most:g}"
        case kinds.BoolType():
            return "`true` or `false`"
        case kinds.AnyType():
            return "any value"
        case kinds.StrType():
            return "text"
    raise TypeError(info)


def _bounds(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    return f", at least {least:g}" if least is not None else ""


def _default(field: kinds.Field) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "its defaults"
    if value is None or value == () or value == {}:
        return "none"
    return f"`{msgspec.json.encode(value).decode()}`"


def keys(schema: type[msgspec.Struct], module: Any) -> str:
    """A table of the keys of one TOML table. A key's text stands below it in the code; that of a table, in a
    section of its own."""
    info = kinds.type_info(schema)
    assert isinstance(info, kinds.StructType)
    texts = docstrings(module)[schema.__name__]
    rows = []
    for field in info.fields:
        name = field.encode_name
        section = f"See `[{name}]`." if isinstance(field.type, kinds.StructType) else ""
        rows.append((f"`{name}`", _kind(field.type), _default(field), texts.get(name) or section))
        assert rows[-1][-1], f"{schema.__name__}.{name} has no text below it"
    return table(("key", "type", "default", "meaning"), rows)


def _shipped() -> str:
    parts = []
    for name, file in targets.names().items():
        content = file.read_text(encoding="utf-8").strip()
        parts.append(f"### {name}\n\n{targets.load(name).summary}.\n\n```toml\n{content}\n```\n")
    return "\n".join(parts)


def _boards() -> str:
    """What each shipped target says, with what it takes from another, in a line."""
    rows = []
    for name in targets.names():
        target = targets.load(name)
        rows.append(
            (
                f"`{name}`",
                f"`{target.extends}`" if target.extends else "",
                ", ".join(target.match.machine),
                ", ".join(target.match.cpu) or "any",
                target.match.python or "any",
                target.match.glibc or "any",
                ", ".join(f"`{entry.key}`" for entry in target.formats),
            )
        )
    return table(
        ("target", "extends", "architecture", "CPU", "Python", "glibc", "formats, first preferred"), rows
    )


def _packages() -> str:
    rows = []
    known = runtimes.table()
    for runtime in known.package:
        formats = ", ".join(f"`{f}`" for f in known.format if known.of_format(f) == runtime)
        for row in known.packages(runtime):
            rows.append(
                (
                    f"`{runtime}`", formats, f"{row.package} {row.version}{_debian(row)}",
                    ", ".join(row.machine), row.python, row.glibc, f"{row.unpacked_mb} MB",
                )
            )  # fmt: skip
    return table(("runtime", "for", "package", "machine", "Python", "glibc from", "unpacked, about"), rows)


def _debian(row: runtimes.Package) -> str:
    return f", Debian's {', '.join(row.debian)}" if row.debian else ""


# --- the house


def host_imports() -> dict[str, set[str]]:
    """Module of edgefreeze/device → the host's modules that import it."""
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        place = file.relative_to(PACKAGE)
        if place.parts[0] == "device":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgefreeze.device"):
                inner = (node.module or "").removeprefix("edgefreeze.device").lstrip(".")
                for module in [inner] if inner else [alias.name for alias in node.names]:
                    found.setdefault(module, set()).add(place.as_posix())
    return found


def _imports() -> str:
    rows = [
        (
            f"`device/{module}/`" if (PACKAGE / "device" / module).is_dir() else f"`device/{module}.py`",
            ", ".join(f"`{place}`" for place in sorted(places)),
        )
        for module, places in sorted(host_imports().items())
    ]
    return table(("module", "imported on the host by"), rows)


def _layers() -> str:
    """The layering that tests/test_house.py holds the code to."""
    tree = ast.parse((FOLDER.parent / "tests" / "test_house.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LAYERS"
    )
    rows = []
    for layer in ast.literal_eval(value):
        places = [f"`{n}/`" if (PACKAGE / n).is_dir() else f"`{n}.py`" for n in sorted(layer)]
        rows.append((str(len(rows) + 1), ", ".join(places)))
    return table(("layer", "rooms of edgefreeze/"), rows)


# --- formats


def _format_results() -> str:
    """The results that tests/worker/formats keeps: errors, and the reasons of refusals below."""
    kept = json.loads((FOLDER.parent / "tests" / "worker" / "formats" / "results.json").read_text("utf-8"))
    usual = {name: next(iter(known)) for name, known in FORMATS.items()}
    cells = [(name, p) for name in sorted(FORMATS) for p, facts in FORMATS[name].items() if not facts.recipe]
    reasons: dict[str, int] = {}
    rows = []
    for model, outcomes in kept.items():
        row = [model.replace("_", " ")]
        for name, precision in cells:
            outcome = outcomes.get(f"{name}:{precision}")
            if outcome is None:
                row.append("not tried")
            elif outcome["status"] == "verified":
                row.append("equal" if outcome["error"] == 0 else f"{outcome['error']:.0e}")
            else:
                number = reasons.setdefault(_without_ways_out(outcome["reason"]), len(reasons) + 1)
                row.append(f"({number})")
        rows.append(tuple(row))
    head = ("model", *(f"`{n}`" if p == usual[n] else f"`{n}:{p}`" for n, p in cells))
    return table(head, rows) + "\n" + "".join(f"{n}. {text}\n" for text, n in reasons.items())


# --- tests


def _skips() -> str:
    """tests/skips.py."""
    spec = importlib.util.spec_from_file_location("tests_skips", FOLDER.parent / "tests" / "skips.py")
    assert spec is not None
    assert spec.loader is not None
    skips = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = skips  # dataclasses look for the module that they are in
    spec.loader.exec_module(skips)
    head = ("reason", "what is not tested then", "cure", "in CI")
    rows = [
        (f"`{s.text.replace('{}', '…')}`", s.lost, s.cure, s.in_ci or "must run")
        for s in skips.SKIPS
    ]  # fmt: skip
    return table(head, rows)


def _mutants() -> str:
    """The results that tests/pure keeps."""
    kept = json.loads((FOLDER.parent / "tests" / "pure" / "results.json").read_text("utf-8"))
    rows = [
        (f"`{name}.py`", str(of["mutants"]), str(of["tried"]), str(of["noticed"]),
         f"{100 * of['noticed'] / of['tried']:.0f} %")
        for name, of in kept["modules"].items()
    ]  # fmt: skip
    limit, seed = kept["limit"] or "all", kept["seed"]
    told = f"{kept['date']}, commit {kept['commit']}; of each {limit}, drawn with seed {seed}:"
    return f"{told}\n\n" + table(("module", "mutants", "tried", "noticed", "share"), rows)


def _without_ways_out(reason: str) -> str:
    return reason.partition(" Ways out:")[0]


PARTS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "documents": _documents,
    "exit-statuses": _exit_statuses,
    "errors": _errors,
    "target-keys": lambda: keys(targets.TargetFile, targets),
    "match-keys": lambda: keys(targets.Match, targets),
    "freeze-keys": lambda: keys(targets.Freeze, targets),
    "format-keys": lambda: keys(targets.Format, targets),
    "bench-keys": lambda: keys(targets.Bench, targets),
    "limits-keys": lambda: keys(targets.Limits, targets),
    "emulate-keys": lambda: keys(targets.Emulate, targets),
    "advice-keys": lambda: keys(targets.Advice, targets),
    "boards": _boards,
    "shipped-targets": _shipped,
    "packages": _packages,
    "config-keys": lambda: keys(inventory.ConfigFile, inventory),
    "signing-keys": lambda: keys(inventory.Signing, inventory),
    "service-keys": lambda: keys(inventory.Service, inventory),
    "device-keys": lambda: keys(inventory.DeviceEntry, inventory),
    "device-imports": _imports,
    "format-results": _format_results,
    "layers": _layers,
    "skips": _skips,
    "mutants": _mutants,
}


def render(text: str) -> str:
    """A page with its generated parts made anew."""
    return _PART.sub(lambda m: f"{m['begin']}\n{PARTS[m['name']]()}\n{m['end']}", text)


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "target.schema.json": schemas.target,
    "edgefreeze.schema.json": schemas.config,
    "documents.schema.json": schemas.printed,
}


def pages() -> Iterator[tuple[Path, str]]:
    """Every file that is generated, or has a generated part, and what it should be."""
    for file in sorted(FOLDER.glob("*.md")):
        yield file, render(file.read_text(encoding="utf-8"))
    for name, made in SCHEMAS.items():
        yield FOLDER / "schemas" / name, json.dumps(made(), indent=2) + "\n"


def main(check: bool) -> int:
    """Rewrite the pages, or only say which are out of date. Returns the exit status."""
    stale = 0
    for file, made in pages():
        if not file.exists() or file.read_text(encoding="utf-8") != made:
            stale += 1
            print(f"{file.name}: {'out of date' if check else 'rewritten'}")
            if not check:
                file.parent.mkdir(exist_ok=True)
                file.write_text(made, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
