"""What describes the folder: `manifest.json` and `index.html`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pipeline_fakes import Cli, cli_in_process, strict

from figures.artefact import empirical
from figures.cli import main
from figures.pipeline import report
from figures.pipeline.report import number, seconds


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return cli_in_process(tmp_path, monkeypatch, pictures=True)


@pytest.fixture
def claiming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A command line whose one artefact has three empirical claims and a row beside the paper's."""
    found = cli_in_process(tmp_path, monkeypatch, pictures=True)
    found.change("a", "import Artefact,", "import Artefact, empirical,")
    claims = [("one", 0.5, (0.4, 0.6), 0.01), ("two", 1.5, (1.4, 1.6), 0.03), ("three", 1.0, (0.4, 1.6), 1.0)]
    text = ", ".join(f"empirical('{n}', 'claim {n}', {v}, {i}, 1.0, 'upper', p_value={p})" for n, v, i, p in claims)
    found.change("a", "checks=(", f"checks=({text}, ")
    found.change("a", "extra={", "beside={'quantity': np.array(['gap']), 'ours': np.array([0.5])}, extra={")
    return found


def run(cli: Cli, *arguments: str) -> int:
    return main([*arguments, "--out", str(cli.out)], cli.registry)


@pytest.mark.slow
def test_the_manifest_lists_all_files_also_earlier_ones(cli: Cli) -> None:
    cli.add("b")
    run(cli, "b")
    run(cli, "a", "--scale", "smoke")
    manifest = strict(cli.out / "manifest.json")
    assert list(manifest["artefacts"]) == ["a", "b"]
    assert manifest["environment"]["versions"]["numpy"] == np.__version__
    for name, entry in manifest["artefacts"].items():
        assert set(entry["files"]) == {f"{name}.{suffix}" for suffix in ("pdf", "png", "csv", "json")}
        for file, facts in entry["files"].items():
            content = (cli.out / file).read_bytes()
            assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert manifest["artefacts"]["a"]["scale"] == "smoke"
    assert manifest["artefacts"]["b"]["scale"] == "embedded"
    (cli.out / "b.png").unlink()
    run(cli, "a")
    assert list(strict(cli.out / "manifest.json")["artefacts"]) == ["a"]


class Page(HTMLParser):
    """What a page links to, which ids it has, and the tags it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [value for key in ("href", "src") if (value := found.get(key))]
        if found.get("id"):
            self.ids.add(str(found["id"]))
        if tag == "img":
            self.alts.append(str(found.get("alt") or ""))


@pytest.mark.slow
def test_the_page_shows_all_and_needs_no_network(cli: Cli) -> None:
    cli.add("t", table=True, reconstructed="Its numbers were chosen.")
    cli.add("bad", bound=0.5)
    assert run(cli) == 1
    text = (cli.out / "index.html").read_text()
    page = Page(text)
    assert page.ids >= {"a", "t", "bad"}
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert not {"script", "link", "b"} & set(page.tags)  # <b> is in the titles, and is text there
    assert "The a &lt;b&gt;one&lt;/b&gt;" in text
    for link in page.links:
        target, _, fragment = link.partition("#")
        assert not target.startswith(("/", "//"))
        assert not target or (cli.out / target).is_file(), link
        assert not fragment or fragment in page.ids, link
    for name in ("a", "t", "bad"):
        assert {f"{name}.{suffix}" for suffix in ("pdf", "csv", "json")} <= set(page.links)
    assert len(page.alts) == 2  # the table is a table
    assert all("A line & a caption." in alt for alt in page.alts)
    assert "b,c" in text
    assert "Its numbers were chosen." in text
    assert "does not hold" in text
    assert "python paper_repro.py bad" in text


def test_cells_of_tables_are_shown_with_six_digits_and_short_ones_as_they_stand() -> None:
    from figures.pipeline.report import cell

    assert [cell(text) for text in ("0.5", "-1.0", "11.13297226870432", "1.796036184696584e-15")] == [
        "0.5",
        "-1.0",
        "11.133",
        "1.79604×10⁻¹⁵",
    ]


def test_verdicts_stand_by_claim_and_place() -> None:
    def claim(place: str, text: str, seeds: int = 3) -> dict[str, Any]:
        return asdict(empirical("name", text, 1.0, (0.5, 1.5), 0.0, "lower", place=place, seeds=seeds))

    first, second, other = claim("DPO first", "a is: near"), claim("SFT first", "a is: near", 5), claim("", "b is near")
    assert first["statement"] == "DPO first: a is: near [3 seeds]"
    table = report.verdicts([first, second, other])
    assert table["places"] == ["DPO first", "SFT first", ""]
    assert [row["label"] for row in table["rows"]] == ["a is: near", "b is near"]
    assert table["rows"][0]["cells"] == {"DPO first": first, "SFT first": second}
    assert table["rows"][1]["cells"] == {"": other}


def test_what_is_the_same_in_every_row_stands_above_them() -> None:
    found = report.beside({"method": ["a", "b"], "ours": [0.1, 0.2], "k": [1, 1], "origin": ["there", "there"]})
    assert found["same"] == {"origin": "there"}
    assert found["header"] == ["method", "ours", "k"]
    assert found["numeric"] == [False, True, True]
    assert found["rows"] == [("a", 0.1, 1), ("b", 0.2, 1)]
    assert report.beside({"origin": ["there"], "ours": [0.1]})["rows"] == [("there", 0.1)]
    assert report.beside({}) == {"same": {}, "header": [], "numeric": [], "rows": []}


@pytest.mark.slow
def test_the_family_of_the_page_is_larger_than_that_of_an_artefact(claiming: Cli) -> None:
    """Two artefacts with p = 0.01, 0.03, 1 each: 3 · 0.01 survives in each, 6 · 0.01 does not on the page."""
    claiming.add("b")
    claiming.change("b", "import Artefact,", "import Artefact, empirical,")
    text = "".join(f"empirical('{p}', 's', 0.5, (0.4, 0.6), 1.0, 'upper', p_value={p}), " for p in (0.01, 0.03, 1.0))
    claiming.change("b", "checks=(", f"checks=({text}")
    assert run(claiming) == 0
    words = " ".join((claiming.out / "index.html").read_text().split())
    assert "2 survive within their artefacts, and 0 over all 6 claims of this page as one family" in words


@pytest.mark.slow
def test_claims_of_an_older_record_have_no_mark(claiming: Cli) -> None:
    assert run(claiming) == 0
    path = claiming.out / "a.json"
    record = strict(path)
    for check in record["checks"]:
        check.pop("p_value", None)
        check.pop("p_holm", None)
    path.write_text(json.dumps(record), encoding="utf-8")
    page = report.page(claiming.out, claiming.registry)
    assert "seen†" not in page
    assert "0 survive within their artefacts" in " ".join(page.split())


@pytest.mark.slow
def test_claims_are_counted_apart_and_need_not_be_seen(claiming: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(claiming) == 0
    said = capsys.readouterr().out
    assert "theory: 1 of 1 hold; empirical: seen 1, mixed 1, not seen 1 (1 of 2 survive Holm's correction)" in said
    assert "a  not seen: claim two: 1.5 in [1.4, 1.6] <= 1" in said
    assert "a  mixed: claim three: 1 in [0.4, 1.6] <= 1" in said
    assert "claim one" not in said
    assert strict(claiming.out / "manifest.json")["artefacts"]["a"]["checks"] == {
        "total": 1,
        "hold": 1,
        "broken": [],
        "empirical": {"seen": 1, "mixed": 1, "not seen": 1},
        "survive": 1,
    }
    record = strict(claiming.out / "a.json")
    assert record["beside"] == {"quantity": ["gap"], "ours": [0.5]}
    assert record["checks"][0]["interval"] == [0.4, 0.6]
    assert [check.get("p_holm") for check in record["checks"]] == [0.03, 0.06, 1.0, None]
    page = (claiming.out / "index.html").read_text()
    for position, word in ((1, "seen"), (2, "not seen"), (3, "mixed")):
        assert f'<a href="#a-check-{position}">claim' in page
        assert f'<tr id="a-check-{position}"><td class="verdict' in page.replace(">\n", ">")
        assert f"<strong>1</strong> {word}" in page
    assert page.count("seen†") == 2  # above, and beside its numbers
    assert "not seen†" not in page
    words = " ".join(page.split())
    assert "Of 2 verdicts that are seen or not seen, 1 survive within their artefacts" in words
    assert "1 over all 3 claims of this page as one family" in words
    assert '<td class="n wide">0.01</td><td class="n wide">0.03</td>' in page
    assert run(claiming, "--verify") == 0


def test_numbers_of_the_page() -> None:
    assert number(0.07888973) == "0.0788897"
    assert number(-1.39936e-05) == "−1.39936×10⁻⁵"
    assert number(2.0e12) == "2×10¹²"
    assert number("inf") == "inf"
    assert number(True) == "yes"
    assert [seconds(s) for s in (0.0, 0.02, 3.21, 600.0)] == ["1 ms", "20 ms", "3.2 s", "10 min"]
