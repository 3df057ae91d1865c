"""The documentation, taken apart: pages, fenced blocks, commands."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line it starts at, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a block, split as a shell would, and the lines that are shown as its output."""

    block: Block
    words: tuple[str, ...]
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.block} {' '.join(self.words)}"


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of the given languages (of any, if none is given)."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if not languages or match["language"] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, match["language"], match["text"]))
    return found


def commands() -> list[Command]:
    """Every command of `sh` blocks (each line is one) and `console` blocks (lines behind a "$ ")."""
    found = []
    for block in blocks("sh", "console"):
        for line, output in _lines(block):
            found += [Command(block, words, output) for words in _split(line)]
    return found


def _lines(block: Block) -> list[tuple[str, tuple[str, ...]]]:
    whole = block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        return [(line, ()) for line in whole if line.strip() and not line.startswith("#")]
    starts = [n for n, line in enumerate(whole) if line.startswith("$ ")]
    ends = [*starts[1:], len(whole)]
    return [
        (whole[start][2:], tuple(whole[start + 1 : end])) for start, end in zip(starts, ends, strict=True)
    ]


def _split(line: str) -> list[tuple[str, ...]]:
    """The commands of a line that are joined with &&, without variables set before them, sudo and redirection."""
    words = shlex.split(line, comments=True)
    if ">" in words:
        words = words[: words.index(">")]
    found: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            found.append([])
        elif found[-1] or not (word == "sudo" or re.match(r"[A-Z_]+=", word)):
            found[-1].append(word)
    return [tuple(command) for command in found if command]
