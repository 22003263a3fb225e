"""Tables and texts as drawings: a sheet measured in inches from its top left, and lines wrapped to a width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from figures.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = 1.32  # the height of a line over the size of its letters
INCH = 72.0  # points
SAFETY = 0.98  # share of the width that is filled, since letters are placed on whole pixels
UNKNOWN = "?"  # replaces characters that the font lacks


@dataclass(frozen=True)
class Cell:
    """A cell of a table's row.

    right  aligned at the right: the text ends at its position, instead of beginning there
    """

    text: str
    right: bool = False
    bold: bool = False
    quiet: bool = False


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure of this size in inches and its axes in inches: x from the left, y from the top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")  # the positions are fixed
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, width)
    axes.set_ylim(height, 0.0)
    return figure, axes


def height_of(lines: int, size: float) -> float:
    """Return the height of `lines` lines of `size` points, in inches."""
    return lines * LINE * size / INCH


def wrapped(text: str, width: float, size: float, *, bold: bool = False) -> list[str]:
    """Wrap a text into lines at most `width` inches wide; line ends are kept, other white space becomes one blank.

    A word wider than `width` is broken. An empty text gives one empty line.
    """
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in _known(" ".join(paragraph.split())).split(" "):
            longer = f"{line} {word}" if line else word
            if width_of(longer, size, bold=bold) <= SAFETY * width:
                line = longer
                continue
            lines += [line] if line else []
            *full, line = _broken(word, width, size, bold=bold)
            lines += full
        lines.append(line)
    return lines


def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of a line in the figures' font, in inches."""
    from matplotlib.textpath import text_to_path

    return float(text_to_path.get_text_width_height_descent(text, _font(size, bold), False)[0]) / INCH


def draw_lines(ax: Axes, x: float, y: float, lines: Iterable[str], *, size: float, **looks: Any) -> float:
    """Write lines on a sheet, the first with its top left at (x, y), and return the y below the last line.

    With `ha="right"`, (x, y) is the top right. Characters such as $ are literal, not mathematics.
    """
    for line in lines:
        ax.text(x, y + height_of(1, size) / 2, line, fontsize=size, va="center_baseline", parse_math=False, **looks)
        y += height_of(1, size)
    return y


def draw_row(ax: Axes, y: float, cells: Sequence[Cell], places: Sequence[float], *, size: float) -> None:
    """Draw one row of a table, each cell at its position."""
    for cell, x in zip(cells, places, strict=True):
        looks: dict[str, Any] = {"ha": "right" if cell.right else "left", "weight": "bold" if cell.bold else "normal"}
        draw_lines(ax, x, y, [cell.text], size=size, color=style.QUIET if cell.quiet else style.INK, **looks)


def draw_rule(ax: Axes, y: float, start: float, end: float, *, thick: bool = False) -> None:
    """Draw a rule across a table; thick rules stand above and below the whole table."""
    ax.plot([start, end], [y, y], color=style.INK, linewidth=1.0 if thick else 0.5, marker="", solid_capstyle="butt")


def _broken(word: str, width: float, size: float, *, bold: bool) -> list[str]:
    """Break a word into pieces at most `width` inches wide."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and width_of(pieces[-1] + letter, size, bold=bold) > SAFETY * width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _known(text: str) -> str:
    """Replace characters that the font lacks by UNKNOWN."""
    return "".join(letter if _has(letter) else UNKNOWN for letter in text)


@lru_cache(maxsize=4096)
def _has(letter: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return bool(get_font(findfont(_font(8.0, bold=False))).get_char_index(ord(letter)))


@lru_cache(maxsize=32)
def _font(size: float, bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=style.rc()["font.family"], size=size, weight="bold" if bold else "normal")
