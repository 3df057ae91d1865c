"""The documentation as pages: built strictly, so that a link or an anchor that leads nowhere fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT

pytestmark = pytest.mark.process


def built(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """mkdocs build --strict. Not --quiet: what is not logged is not counted either."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(config), "-d", str(out)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = built(ROOT / "mkdocs.yml", out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.with_suffix(".html").name).is_file()
        assert f'href="{page.stem}.html"' in first, f"{page.name} is not in the nav of mkdocs.yml"
    assert list(site.rglob("*.py")) == []


def test_its_pages_load_nothing_from_elsewhere(site: Path) -> None:
    found = []
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        found += re.findall(r'(?:src|<link[^>]* href)="(https?://[^"]*)"', text)
    assert found == []


def test_a_list_or_table_is_one_there_too(site: Path) -> None:
    """GitHub takes a list right below a paragraph, mkdocs does not."""
    found = []
    for page in site.glob("*.html"):
        text = re.sub(
            r"<(pre|code)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.IGNORECASE
        )
        found += [f"{page.name}: {p[:80]}" for p in re.findall(r"<p>(?:[^<]|<(?!/p>))*</p>", text)
                  if re.search(r"\n(?:[-*] |\d+\. |\|)", p)]  # fmt: skip
    assert found == []


def test_links_that_lead_nowhere_are_noticed(tmp_path: Path) -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    validation = re.search(r"^validation:\n(?: .*\n)+", config, re.MULTILINE)
    assert validation
    links = ["other.md", "index.md#nowhere", "/index.md", "missing.png"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Title\n\n" + " ".join(f"[link]({n})" for n in links))
    (tmp_path / "mkdocs.yml").write_text(f"site_name: x\ntheme: readthedocs\n{validation[0]}")
    done = built(tmp_path / "mkdocs.yml", tmp_path / "out")
    assert done.returncode != 0
    assert [link for link in links if f"'{link}'" not in done.stderr] == []
