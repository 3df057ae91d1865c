"""Classes and functions of a user's own, named "module:name", and code that a model's file brings along."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgefreeze.errors import Failure, nearest
from edgefreeze.worker.reasons import reason

_OF_KERAS = ("keras", "tf_keras", "keras_nlp", "keras_hub", "keras_cv", "tensorflow", "builtins")
"""Packages that a configuration may name; any other module would be imported, and its code run."""


def resolve(names: Sequence[str]) -> dict[str, Any]:
    """The objects by the names that a saved model may know them by. Modules are looked for in the current
    folder too. Raises Failure usage."""
    found: dict[str, Any] = {}
    for name in names:
        module, colon, attribute = name.partition(":")
        if not (module and colon and attribute):
            raise Failure(
                "usage",
                f"--custom-objects has {name!r}, which names no object.",
                expected="module:name, such as my_layers:Attention",
                found=name,
            )
        here = str(Path.cwd())
        sys.path.insert(0, here)
        try:
            loaded = importlib.import_module(module)
        except Exception as error:  # whatever the user's module raises
            raise Failure(
                "usage",
                f"The module {module!r} of --custom-objects cannot be imported.",
                expected="a module in the current folder or on PYTHONPATH",
                found=reason(error),
            ) from error
        finally:
            sys.path.remove(here)
        try:
            value = loaded
            for part in attribute.split("."):
                value = getattr(value, part)
        except AttributeError as error:
            near = nearest(attribute, dir(loaded))
            raise Failure(
                "usage",
                f"The module {module!r} has no {attribute!r}"
                + (f"; did you mean {near!r}?" if near else "."),
                expected="the name of a class or function in it",
                found=name,
            ) from error
        found[attribute.rpartition(".")[2]] = value
    return found


def lambdas(config: Any) -> list[str]:
    """The layers in a Keras configuration that bring Python code of their own, by name."""
    found = []
    for node in _nodes(config):
        inner = node.get("config")
        if node.get("class_name") == "Lambda" and isinstance(inner, dict):
            functions = [inner.get(key) for key in ("function", "output_shape", "mask")]
            if any(_is_code(f) for f in functions):
                found.append(str(inner.get("name", "lambda")))
        elif node.get("class_name") == "__lambda__":
            found.append("__lambda__")
    return [name for name in dict.fromkeys(found) if name != "__lambda__"] or list(dict.fromkeys(found))


def foreign(config: Any, known: Sequence[str]) -> list[str]:
    """What a Keras configuration takes from modules that are not Keras's and that `known` lacks, as
    "module:name"."""
    found = []
    for node in _nodes(config):
        module, name = node.get("module"), node.get("class_name")
        if name == "function" and isinstance(node.get("config"), str):
            name = node["config"]
        if isinstance(module, str) and isinstance(name, str) and module.split(".")[0] not in _OF_KERAS:
            found.append(f"{module}:{name}")
        elif (
            module is None and isinstance(node.get("registered_name"), str) and ">" in node["registered_name"]
        ):
            found.append(f"MODULE:{name}")
    return [f for f in dict.fromkeys(found) if f.partition(":")[2] not in known]


def _is_code(value: Any) -> bool:
    """Marshalled code: a list of Keras 2, a mapping of Keras 3."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str)
    return isinstance(value, dict) and value.get("class_name") == "__lambda__"


def _nodes(config: Any) -> Iterator[dict[str, Any]]:
    todo = [config]
    while todo:
        node = todo.pop(0)
        if isinstance(node, dict):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
