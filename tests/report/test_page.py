"""The report: one page that needs nothing, says what it is, and reads well in a browser."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgefreeze.benchmark import gates
from edgefreeze.benchmark.events import Operation
from edgefreeze.benchmark.quality import Finding
from edgefreeze.benchmark.result import DuelResult
from edgefreeze.report import svg
from edgefreeze.report.duel import interval
from edgefreeze.report.html import page
from edgefreeze.types import OutputParity, Parity
from tests.benchmark.made import made

LOGITS = OutputParity(
    name="logits", max_abs=1e-6, max_rel=1e-7, tolerance=1e-4, cosine=1.0, top1=1.0, ok=True, sqnr_db=120.0
)
PARITY = Parity(ok=True, max_abs=1e-6, max_rel=1e-7, outputs=(LOGITS,))


def result() -> DuelResult:
    found = made(saved_model=15.0, frozen_pb=11.5, tflite=9.0, **{"tflite@no-xnnpack": 40.0})
    heat = Finding(
        code="heat", contestant=None, invalid=False, message="the temperature went up", advice="wait"
    )
    return replace(
        found,
        findings=(heat,),
        parity={"tflite": PARITY},
        operations={
            "onnx": [Operation(name="conv", type="Conv", ns=5e6), Operation(name="add", type="Add", ns=1e6)]
        },
    )


class Reader(HTMLParser):
    """Checks that elements close as they opened; collects tags, attributes and text."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [
            f"{k}={v}" for k, v in attrs if k in ("src", "href", "srcset", "action") or k.startswith("on")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_needs_neither_network_nor_script() -> None:
    text = page(result())
    reader = read(text)
    assert reader.links == []
    assert "script" not in reader.tags
    assert not re.search(r"url\(|@import|https?://", text)
    assert "default-src 'none'" in text


def test_it_has_all_that_a_reader_wants() -> None:
    judged = gates.judge([gates.parse("p95<10ms"), gates.parse("p50<1ms")], "tflite", result())
    reader = read(page(result(), judged))
    text = " ".join(reader.texts)
    for heading in ("Latency", "Gates", "What disturbed it", "Distributions", "Over time", "Cold start", "Memory",
                    "Does it compute the same", "onnx, by operation", "Facts", "How it was measured"):  # fmt: skip
        assert heading in text, heading
    assert reader.tags.count("svg") == 6, "densities, time, temperature, clock, start, memory"
    assert "Temperature" in text
    assert "not shown" in text
    assert "0.77" in text
    assert "faster" in text
    assert "seed is 3" in text
    assert "read from the disk" in text


def test_emulated_is_in_the_title() -> None:
    assert "(emulated)" not in page(result())
    text = page(replace(result(), emulated=True))
    assert re.search(r"<title>[^<]*\(emulated\)[^<]*</title>", text)
    assert re.search(r"<h1>[^<]*\(emulated\)</h1>", text)
    assert "not how fast a device is" in text


def test_names_from_outside_are_text() -> None:
    odd = replace(result(), device='<img src=x onerror="1">', app="<script>")
    reader = read(page(odd))
    assert "img" not in reader.tags
    assert "script" not in reader.tags


def test_a_result_with_nothing_in_it_is_a_page_too() -> None:
    found = made(saved_model=10.0, tflite=4.0)
    bare = replace(
        found,
        environment=(),
        contestants=tuple(
            replace(c, failed="killed", samples_ns=(), cold_start=None, blocks=(), p50_ms=None)
            for c in found.contestants
        ),
        comparisons=(),
        complete=False,
    )
    text = " ".join(read(page(bare)).texts)
    assert "failed: killed" in text
    assert "Cut short" in text


def test_ticks_are_round_and_within() -> None:
    assert svg.ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert svg.ticks(8.03, 8.11) == [8.04, 8.06, 8.08, 8.1]
    assert svg.ticks(1, 1) == [1]
    for low, high in ((0.001, 0.0013), (1e-9, 5e9), (3, 3.0001)):
        found = svg.ticks(low, high)
        assert 2 <= len(found) <= 11
        assert all(low - 1e-12 <= tick <= high * (1 + 1e-12) for tick in found)


# --- in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pixels(file: Path) -> tuple[int, int, list[bytes]]:
    """(width, height, rows of RGB or RGBA) of a PNG of 8 bits without interlacing."""
    data = file.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts, width, height, depth = 8, b"", 0, 0, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (bits, interlaced) == (8, 0)
            depth = {2: 3, 6: 4}[colour]
        parts += body if kind == b"IDAT" else b""
        at += 12 + size
    raw, step = zlib.decompress(parts), width * depth + 1
    rows: list[bytes] = []
    before = bytearray(width * depth)
    for y in range(height):
        filtered, line = raw[y * step], bytearray(raw[y * step + 1 : (y + 1) * step])
        for x in range(len(line)):
            left = line[x - depth] if x >= depth else 0
            up, corner = before[x], before[x - depth] if x >= depth else 0
            if filtered == 1:
                line[x] = (line[x] + left) & 255
            elif filtered == 2:
                line[x] = (line[x] + up) & 255
            elif filtered == 3:
                line[x] = (line[x] + (left + up) // 2) & 255
            elif filtered == 4:
                guess = left + up - corner
                near = min((left, up, corner), key=lambda v: abs(guess - v))
                line[x] = (line[x] + near) & 255
        rows.append(bytes(line))
        before = line
    return width, height, [bytes(b for i, b in enumerate(r) if depth == 3 or i % 4 < 3) for r in rows]


def shoot(html: Path, out: Path, width: int, *options: str) -> tuple[int, int, list[bytes]]:
    assert CHROMIUM is not None
    subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--hide-scrollbars", f"--user-data-dir={out.parent / 'profile'}", f"--window-size={width},700",
         f"--screenshot={out}", *options, html.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return pixels(out)


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(1.2345, "1.23 (1.11–1.36)"), (0.0771, "0.077 (0.069–0.085)"), (0.00300, "0.0030 (0.0027–0.0033)")],
)
def test_a_small_ratio_keeps_its_digits(ratio: float, shown: str) -> None:
    """0.00 (0.00–0.00) was what a busy machine gave once."""
    (one, *_) = result().comparisons
    assert interval(replace(one, ratio=ratio, interval=(0.9 * ratio, 1.1 * ratio))) == shown


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
@pytest.mark.parametrize("width", [500, 1200])
def test_in_a_browser_it_fits_and_follows_light_and_dark(tmp_path: Path, width: int) -> None:
    html = tmp_path / "report.html"
    html.write_text(page(replace(result(), emulated=True)), encoding="utf-8")
    light = shoot(html, tmp_path / "light.png", width)
    dark = shoot(html, tmp_path / "dark.png", width, "--blink-settings=preferredColorScheme=0")
    for (wide, _, rows), ground in ((light, (255, 255, 255)), (dark, (13, 17, 23))):
        assert wide == width
        margins = {tuple(row[3 * x : 3 * x + 3]) for row in rows for x in (1, wide - 2)}
        assert margins == {ground}, "something reaches over the edge"
        drawn = {row[3 * x : 3 * x + 3] for row in rows for x in range(0, wide, 3)}
        assert len(drawn) > 30, "text and plots are there"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
def test_it_prints(tmp_path: Path) -> None:
    html, pdf = tmp_path / "report.html", tmp_path / "report.pdf"
    html.write_text(page(result()), encoding="utf-8")
    assert CHROMIUM is not None
    subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", html.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert pdf.read_bytes()[:5] == b"%PDF-"
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 1 <= pages <= 6
