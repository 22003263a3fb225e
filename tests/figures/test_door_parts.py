"""The parts behind the door: digests, atomic files, JSON, styles, artefacts."""

from __future__ import annotations

import ast
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figures import registry
from figures.artefact import Check, Data, Request, equal, lower, upper
from figures.drawing import style
from figures.options import one_line
from figures.pipeline import cache, files, keys
from figures.pipeline.report import number, seconds
from figures.pipeline.table import cells, to_csv

MODULE = '''
"""A module."""
from __future__ import annotations
import math
from colours import red, blue
from figures.artefact import Artefact, Data
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from matplotlib.figure import Figure
SIZE = 3
TINT = "blue"
def helper(x): return x * SIZE
def line(axes): return TINT
def parameters(request): return {"n": 1}
def compute(parameters):
    """Words."""
    return helper(math.pi)
def draw(data):
    return line(red)
ARTEFACT = Artefact(name="x", caption="words", parameters=parameters, compute=compute, draw=draw)
'''


def reached(text: str, tmp_path: Path) -> str:
    path = tmp_path / "module.py"
    path.write_text(text)
    return "\n".join(map(ast.unparse, keys.reached(keys.parse(str(path)))))


def test_compute_reaches_what_it_uses_and_nothing_drawn(tmp_path: Path) -> None:
    found = reached(MODULE, tmp_path)
    for word in ("import math", "SIZE = 3", "def helper", "def parameters", "def compute"):
        assert word in found
    for word in ("TINT", "def line", "def draw", "colours", "Figure", "caption", "Words", "Artefact"):
        assert word not in found


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("TINT = ", "TINT = 'light' + ", True),
        ("import red, blue", "import red, green", True),
        ('caption="words"', 'caption="others"', True),
        ('"""Words."""', '"""Other words."""', True),
        ("return line(red)", "return line(blue)", True),
        ("x * SIZE", "x / SIZE", False),
        ("SIZE = 3", "SIZE = 4", False),
        ('{"n": 1}', '{"n": 2}', False),
        ("SIZE = 3", "SIZE = 3\nfor i in range(2): SIZE += i", False),  # does something when it is imported
    ],
)
def test_what_enters_the_compute_digest(old: str, new: str, same: bool, tmp_path: Path) -> None:
    assert old in MODULE
    assert (reached(MODULE, tmp_path) == reached(MODULE.replace(old, new), tmp_path)) is same


def test_where_names_are_hidden_all_but_drawing_counts(tmp_path: Path) -> None:
    found = reached(MODULE.replace("helper(math.pi)", "globals()['helper'](1)"), tmp_path)
    assert "TINT" in found
    assert "def draw" not in found
    found = reached(MODULE.replace("ARTEFACT = Artefact(", "ARTEFACT = build("), tmp_path)
    assert "TINT" not in found  # by whatever name it is built
    found = reached(MODULE[: MODULE.index("ARTEFACT")] + "ARTEFACT = make()\n", tmp_path)
    assert "TINT" in found


def test_package_digest_sees_code_and_not_comments(tmp_path: Path) -> None:
    def of(name: str, text: str, file: str = "sub/b.py") -> str:
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\n")
        (folder / file).write_text(text)
        return keys.package_digest(folder)

    first = of("one", "y = 2\n")
    assert of("two", '"""Words."""\ny  =  2  # two\n') == first
    assert of("three", "y = 3\n") != first
    assert of("four", "y = 2\n", "sub/c.py") != first


def test_keys_depend_on_what_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**parameters: Any) -> str:
        return keys.compute_key("fig5", "figures.artefacts.fig5", parameters)

    request = {"scale": "smoke"}
    first, drawn = key(n=1), keys.draw_key("k", "figures.artefacts.fig5", request)
    assert key(n=1) == first != key(n=2)
    assert keys.compute_key("fig6", "figures.artefacts.fig5", {"n": 1}) != first
    assert keys.compute_key("fig5", "figures.artefacts.table2", {"n": 1}) != first
    monkeypatch.setattr(keys, "package_digest", lambda _: "other mathematics")
    assert key(n=1) != first
    monkeypatch.undo()
    monkeypatch.setattr(keys, "computing_versions", lambda: {"numpy": "9"})
    assert key(n=1) != first
    monkeypatch.undo()
    original = keys._module_digest
    for module in ("figures.drawing.style", "figures.drawing.render"):
        monkeypatch.setattr(keys, "_module_digest", lambda m, new=module: "new" if m == new else original(m))
        assert key(n=1) == first  # these never decide a number
        assert keys.draw_key("k", "figures.artefacts.fig5", request) != drawn


def test_the_helper_module_of_the_tables_enters_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    first = keys.compute_source("figures.artefacts.table2")
    original = keys._module_digest
    monkeypatch.setattr(keys, "_module_digest", lambda m: "new" if m == "figures.drawing.toy_tables" else original(m))
    assert keys.compute_source("figures.artefacts.table2") != first


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_second_lock_is_refused(tmp_path: Path) -> None:
    with files.locked(tmp_path), pytest.raises(files.BusyError), files.locked(tmp_path):
        pass
    with files.locked(tmp_path, shared=True), files.locked(tmp_path, shared=True):
        pass


def test_json_is_strict() -> None:
    text = files.to_json({"a": [math.nan, -math.inf, np.float64(0.1)], "b": np.True_, "c": (np.int64(3), None)})
    assert json.loads(text) == {"a": ["nan", "-inf", 0.1], "b": True, "c": [3, None]}
    with pytest.raises(TypeError, match="no word"):
        files.to_json({"a": object()})


def test_csv_reads_back_the_same() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(size=50) * 10.0 ** rng.integers(-300, 300, 50), [np.nan, np.inf, -0.0]])
    texts = to_csv({"x": values}).decode().splitlines()[1:]
    back = np.array([float(text) for text in texts])
    assert back.tobytes() == np.where(np.isnan(values), np.nan, values).tobytes()
    assert cells(np.array([True, False])) == ["true", "false"]
    with pytest.raises(TypeError, match="dtype object"):
        cells(np.array([object()]))


def test_cache_keeps_the_newest_only(tmp_path: Path) -> None:
    data = Data(table={"x": np.arange(3)})
    for i in range(cache.KEPT + 3):
        cache.save(tmp_path, "a", f"{i:064d}"[::-1], cache.Computed(data, {}))
    cache.save(tmp_path, "a2", "f" * 64, cache.Computed(data, {}))
    names = [path.name for path in (tmp_path / cache.FOLDER).iterdir()]
    assert sum(name.startswith("a-") for name in names) == cache.KEPT
    assert sum(name.startswith("a2-") for name in names) == 1


def test_cache_of_another_key_is_damaged(tmp_path: Path) -> None:
    data = Data(table={"x": np.arange(3)})
    cache.save(tmp_path, "a", "1" * 64, cache.Computed(data, {}))
    cache.path_of(tmp_path, "a", "1" * 64).rename(cache.path_of(tmp_path, "a", "2" * 64))
    with pytest.raises(cache.DamagedError, match="another key"):
        cache.read(tmp_path, "a", "2" * 64)


def test_every_changed_byte_of_the_cache_is_noticed(tmp_path: Path) -> None:
    cache.save(tmp_path, "a", "1" * 64, cache.Computed(Data(table={"x": np.arange(3)}), {}))
    path = cache.path_of(tmp_path, "a", "1" * 64)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(cache.DamagedError):
            cache.read(tmp_path, "a", "1" * 64)


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("boxed", [False, True])
def test_a_message_without_its_box(boxed: bool, coloured: bool) -> None:
    rows = ["Error parsing --seeds: 'x' is", "not a whole number", "-" * 20, "Argument helptext:"]
    if boxed:
        rows = ["╭─ Value error ─╮", *(f"│ {row} │".replace("-" * 20, "─" * 20) for row in rows), "╰──╯"]
    else:
        rows = [" Value error ", " " + "-" * 22, *(f"  {row}" for row in rows), " "]
    text = "\n".join(f"\x1b[31m{row}\x1b[0m" if coloured else row for row in rows)
    assert one_line(text) == "Error parsing --seeds: 'x' is not a whole number"
    assert one_line("") == "the options cannot be understood; see --help"


def test_checks() -> None:
    assert upper("n", "s", 1.0, 1.0).holds
    assert not upper("n", "s", 1.0, 1.1).holds
    assert lower("n", "s", 1.0, 1.0).holds
    assert not lower("n", "s", 1.0, 0.9).holds
    assert equal("n", "s", 1.0, 1.0 + 1e-9, tolerance=1e-8).holds
    assert not equal("n", "s", 1.0, 1.0 + 1e-7, tolerance=1e-8).holds
    for make in (upper, lower):
        assert not make("n", "s", math.nan, 1.0).holds
        assert not make("n", "s", 1.0, math.nan).holds
    with pytest.raises(ValueError, match="NaN"):
        Check("n", "s", "upper", 1.0, math.nan, holds=True)


def test_methods_differ_without_colour() -> None:
    assert list(style.METHODS) == ["Sequential", "Mix", "ALRIGHT", "MAXRIGHT"]
    for one, other in itertools.combinations(style.METHODS.values(), 2):
        assert one.marker != other.marker
        assert one.line != other.line
        assert one.colour != other.colour


def test_registry() -> None:
    names = list(registry.REGISTRY)
    paper = [*(f"fig{i}" for i in range(1, 10)), *(f"table{i}" for i in range(1, 4))]
    assert names[: len(paper) + 1] == ["claims", *paper]
    for name, module in registry.REGISTRY.items():
        assert registry.load(name, module).name == name
    with pytest.raises(ValueError, match="calls itself 'fig5'"):
        registry.load("fig6", "figures.artefacts.fig5")


@pytest.mark.parametrize("name", ["fig5", "table2", "table3"])
def test_artefacts_of_no_cost(name: str) -> None:
    artefact = registry.load(name, registry.REGISTRY[name])
    parameters = artefact.parameters(Request())
    assert json.loads(json.dumps(parameters)) == parameters
    data = artefact.compute(parameters)
    assert data.checks
    assert all(check.holds for check in data.checks)
    assert artefact.reconstructed


def test_a_wrong_curve_fails_its_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    from figures.artefacts import fig5
    from toyopt import examples

    good = fig5.compute(fig5.parameters(Request()))
    assert [check.holds for check in good.checks] == [True, True]
    swapped = tuple(
        examples.DataRow(r.input, r.output, r.label, r.role, (1.5 - r.feature[0],)) for r in examples.TABLE2
    )
    monkeypatch.setattr(examples, "TABLE2", swapped)
    bad = fig5.compute(fig5.parameters(Request()))
    assert [check.holds for check in bad.checks] == [False, False]


def test_numbers_of_the_page() -> None:
    assert number(0.07888973) == "0.0788897"
    assert number(-1.39936e-05) == "−1.39936×10⁻⁵"
    assert number(2.0e12) == "2×10¹²"
    assert number("inf") == "inf"
    assert number(True) == "yes"
    assert [seconds(s) for s in (0.0, 0.02, 3.21, 600.0)] == ["1 ms", "20 ms", "3.2 s", "10 min"]
