"""The report page in a real browser: nothing missing, nothing dead, nothing out of the window of a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support.pipeline_fakes import Cli, cli_in_process

from figures.cli import main
from figures.pipeline.report import write_report
from figures.pipeline.training import summarize

BROWSER = next((p for n in ("chromium", "google-chrome", "chromium-browser") if (p := shutil.which(n))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --v=0 --dump-dom"
).split()
SECONDS = 60.0

# What a copy of the page says of itself when it has been laid out, in a frame as wide as a phone or a desk: a window
# of the browser has a least width.
LOOK = """
<script>
addEventListener("load", () => {
  const all = (what) => [...document.querySelectorAll(what)];
  const found = {
    images: all("img").length,
    broken: all("img").filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src),
    dead: all("a[href^='#']").map((a) => a.hash.slice(1)).filter((id) => !document.getElementById(id)),
    links: all("a[href]").map((a) => a.getAttribute("href")).filter((h) => !h.startsWith("#")),
    ids: all("[id]").map((e) => e.id),
    width: innerWidth,
    out: document.documentElement.scrollWidth - innerWidth,
    outside: performance.getEntriesByType("resource").map((e) => e.name).filter((n) => !n.startsWith("file:")),
    text: document.body.innerText,
  };
  parent.postMessage(found, "*");
});
</script>
"""
FRAME = """<!doctype html><title>frame</title><body><iframe src="{page}" width="{width}" height="4000"></iframe><script>
addEventListener("message", (event) => {{
  const found = document.createElement("pre");
  found.id = "found";
  found.textContent = JSON.stringify(event.data);
  document.body.append(found);
}});
</script>"""

CLAIMS = """checks=(
    empirical("forgets", "Sequential forgets: its gap is above 1" + " and on" * 20, 2.31234, (1.8, 2.9), 1.0, "lower"),
    empirical("better", "MAXRIGHT is nearer", -0.01234567, (-0.05, 0.02), 0.0, "upper"),
    empirical("worse", "Mix is worse", 0.5, (0.4, 0.6), 0.0, "upper"),
    """
BESIDE = """beside={"quantity": np.array(["gap of Sequential", "gap of ALRIGHT"]), "ours": np.array([0.123456, 0.02]),
    "spread": np.array(["± 0.01", "± 0.002"]), "paper": np.array(["0.31", "0.04"]),
    "origin": np.array(["Table 1", "Figure 3, read off"]), "ours_at": np.array(["1.1 M parameters"] * 2)},
    extra={"""


def decorate(cli: Cli, name: str) -> None:
    """Empirical claims, and numbers beside the paper's."""
    cli.change(name, "import Artefact,", "import Artefact, empirical,")
    cli.change(name, "checks=(", CLAIMS)
    cli.change(name, "extra={", BESIDE)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a figure, a wide table, a failed check, empirical claims from runs, and something never made."""
    cli = cli_in_process(tmp_path, monkeypatch, pictures=True)
    cli.add("t", table=True, reconstructed="Its numbers were chosen.")
    cli.add("bad", bound=0.5)
    cli.add("never", body="raise ValueError('no luck')")
    cli.add("claims")
    decorate(cli, "claims")
    cli.change("claims", "checks=(", "checks=tuple(upper(f'n{i}', 'one', 1.0, 0.5) for i in range(30)) + (")
    assert main(["--out", str(cli.out)], cli.registry) == 1
    root = cli.out / "runs" / "abcdef012345"
    (root / "mix").mkdir(parents=True)
    (root / "mix" / "summary.json").write_text(json.dumps({"seconds": 7000.0, "cpu_seconds": 9.0, "device": "abacus"}))
    summarize(root)
    write_report(cli.out, cli.registry)
    return cli.out


def look(page: Path, width: int) -> tuple[dict[str, Any], list[str]]:
    """What a copy of the page says of itself in a window so wide, and what the browser's console said."""
    assert BROWSER is not None
    copy = page.with_name("copy.html")
    copy.write_text(page.read_text() + LOOK)
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(page=copy.name, width=width))
    with_profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [BROWSER, *FLAGS, with_profile, "--virtual-time-budget=5000", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(found[1])), console


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome in PATH")
def test_the_page_in_a_browser(out: Path) -> None:
    for width in (360, 1200):
        found, console = look(out / "index.html", width)
        assert console == []
        assert found["width"] == width
        assert found["out"] <= 0, f"{found['out']} px out of a window of {width}"
        assert (found["images"], found["broken"]) == (3, [])  # a, bad, claims; the table is a table
        assert found["dead"] == []
        assert found["outside"] == []
        assert len(found["ids"]) == len(set(found["ids"]))
        assert {"runs/abcdef012345/", "never.error.txt", "manifest.json"} <= set(found["links"])
        assert [link for link in found["links"] if not (out / link).exists()] == []
    for words in ("33 of 34", "1 seen", "1 mixed", "1 not seen", "never could not be made", "1.9 h", "Ours beside"):
        assert words in found["text"].replace("\n", " "), words


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome in PATH")
def test_the_inspection_detects_planted_faults(out: Path) -> None:
    page = out / "index.html"
    wrong = '<img src="none.png"><a href="#nowhere">x</a><a href="none.csv">x</a><p style="width: 500px">x</p>'
    page.write_text(page.read_text().replace("</body>", wrong + "<script>undefined_name()</script></body>"))
    found, console = look(page, 360)
    assert [Path(image).name for image in found["broken"]] == ["none.png"]
    assert found["dead"] == ["nowhere"]
    assert "none.csv" in found["links"]
    assert found["out"] > 0
    assert any("undefined_name" in line for line in console)
