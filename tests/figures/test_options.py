"""Messages of the command line."""

from __future__ import annotations

import pytest

from figures.options import one_line


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
