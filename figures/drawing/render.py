"""Rendering of a figure to the bytes of its files; the same figure gives the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from figures.drawing.style import rc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.artefact import Data

DOTS_PER_INCH = 200  # of the PNG


def render(draw: Callable[[Data], Figure], data: Data) -> dict[str, bytes]:
    """Return `{"pdf": ..., "png": ...}` of `draw(data)` in the project's style. Raises any error of `draw`.

    The PDF has no date. Some versions of matplotlib name subset fonts by the `hash()` of a string, so that equal bytes
    require a fixed PYTHONHASHSEED, which the jobs of the pipeline set.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **rc()}  # independent of the user's matplotlibrc
    with warnings.catch_warnings(), mpl.rc_context(settings):
        warnings.filterwarnings("error", message="Glyph .* missing")  # an empty box in a figure is an error
        figure = draw(data)
        png = _print(FigureCanvasAgg(figure), "png", dpi=DOTS_PER_INCH)
        figure.set_layout_engine("none")  # both files have one layout, which takes as long as the drawing
        dates = {"CreationDate": None, "ModDate": None}
        pdf = _print(FigureCanvasPdf(figure), "pdf", metadata=dates)
    return {"pdf": pdf, "png": png}


def _print(canvas: Any, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    canvas.print_figure(buffer, format=form, **options)
    return buffer.getvalue()
