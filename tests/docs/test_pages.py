"""The documentation agrees with the code, with itself, and names nothing of the machine it was written on."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from edgefreeze import inventory, targets, toml
from edgefreeze.cli.main import COMMANDS
from edgefreeze.errors import CODES

from .pages import PAGES, ROOT, Block, blocks


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """docs/generate.py."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date(generator: ModuleType) -> None:
    used = set()
    for file, made in generator.pages():
        text = file.read_text(encoding="utf-8")
        assert text == made, f"{file.name}: python docs/generate.py"
        used |= set(re.findall(r"<!-- BEGIN ([a-z-]+) -->", text))
    assert used == set(generator.PARTS)


def test_a_stale_part_is_noticed(generator: ModuleType) -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert generator.render(text.replace("`locked`", "`unlocked`")) == text


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = " ".join(row.split(" | ")[0] for row in text.splitlines() if row.startswith("| `edgefreeze "))
    assert set(re.findall(r"`(?:edgefreeze )?([a-z-]+)`", rows)) == set(COMMANDS)


def test_every_code_is_on_the_errors_page() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert [code for code in CODES if f"| `{code}` | {CODES[code].exit_status} |" not in text] == []


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_examples_fit_their_schema(block: Block, tmp_path: Path) -> None:
    if {"match", "extends"} & set(tomllib.loads(block.text)):
        (tmp_path / "example.toml").write_text(block.text)
        targets.load("example", (tmp_path,))
    else:
        toml.parse(block.text, str(block), inventory.ConfigFile)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_examples_compile(block: Block) -> None:
    compile(block.text, str(block), "exec")


def test_blocks_say_what_they_are() -> None:
    known = {"console", "sh", "text", "toml", "python", "json"}
    assert [str(block) for block in blocks() if block.language not in known] == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower().replace("`", "")).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if urlsplit(target).scheme:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in sorted((ROOT / "docs").glob("*.md")) if f"docs/{p.name}" not in readme] == []


def test_files_that_pages_name_are_there() -> None:
    """Paths in backticks with a folder and an ending, from the root, docs/ or the package."""
    missing = []
    for page in PAGES:
        for name in re.findall(
            r"`([a-z_]+/[\w./-]+\.(?:py|toml|md|json))`", page.read_text(encoding="utf-8")
        ):
            if "NAME" not in name and not any(
                (folder / name).exists() for folder in (ROOT, ROOT / "docs", ROOT / "edgefreeze")
            ):
                missing.append(f"{page.name}: {name}")
    assert missing == []


def tracked() -> list[Path]:
    """Every file that is, or would be, committed."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("no git checkout")
    return [f for name in listing.stdout.decode().split("\0") if name and (f := ROOT / name).is_file()]


def index_hosts() -> set[str]:
    """Hosts of the package indexes that this machine is set up with, other than the public one."""
    parser = configparser.ConfigParser(interpolation=None)
    home = Path.home()
    parser.read([Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"])
    values = [v for section in parser.sections() for k, v in parser.items(section) if "index" in k]
    values += [v for k, v in os.environ.items() if re.fullmatch(r"(PIP|UV)_\w*INDEX\w*", k)]
    hosts = {urlsplit(word).hostname or "" for value in values for word in value.split()}
    return hosts - {"", "pypi.org", "localhost", "127.0.0.1"}


@pytest.mark.process
def test_nothing_of_the_writers_machine_is_tracked() -> None:
    # Written in pieces, so that this file does not find itself.
    patterns = [
        "/" + "root/",
        "/" + "work/",
        "/" + "tmp/venv",
        "--extra-" + "index-url",
        "pythonhosted" + ".org",
    ]
    patterns += [r"/" + r"home/(?!pi\b|you\b|me\b|author\b)\w+/"]
    patterns += [re.escape(host) for host in index_hosts()]
    forbidden = re.compile("|".join(patterns))
    found = []
    for file in tracked():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if text.startswith("published: github.com/"):
            continue  # another's machine, as they published it (tests/captured)
        for match in forbidden.finditer(text):
            found.append(f"{file.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}")
    assert found == []
