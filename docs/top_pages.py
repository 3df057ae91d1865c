"""What mkdocs does beyond reading docs/: the pages that GitHub wants at the top of the repository are part of
the site too, README as its first page, and links between them and docs/ lead to where they are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
TOP = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""File at the top of the repository → page of the site."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of TOP."""
    for source, page in TOP.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=links(text, from_top=True)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links of docs/ that lead to the top."""
    return markdown if page.file.src_uri in TOP.values() else links(markdown, from_top=False)


def links(text: str, *, from_top: bool) -> str:
    """The text with the targets of its links as they are on the site."""
    names = "|".join(re.escape(name) for name in TOP)
    text = re.sub(
        rf"\]\({'' if from_top else re.escape('../')}({names})(?=[#)])", lambda m: f"]({TOP[m[1]]}", text
    )
    return text.replace("](docs/", "](") if from_top else text
