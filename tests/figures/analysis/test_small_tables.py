"""Tables packed into the arrays of `Data.extra`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from figures.analysis.small_tables import pack, rows_with, unpack


def test_a_packed_table_is_unpacked_by_its_prefix_and_values() -> None:
    arrays = pack("bar", pd.DataFrame({"method": ["Mix", "ALRIGHT"], "value": [1.0, 2.0]}))
    arrays |= pack("dot", pd.DataFrame({"method": ["Mix"], "value": [3.0]}))
    assert set(arrays) == {"bar_method", "bar_value", "dot_method", "dot_value"}
    assert unpack(arrays, "bar", method="ALRIGHT")["value"].tolist() == [2.0]
    assert unpack(arrays, "bar")["value"].tolist() == [1.0, 2.0]
    assert unpack(arrays, "path", method="Mix") == {}
    assert pack("bar", pd.DataFrame({"value": []})) == {}


def test_rows_have_all_of_the_wanted_values() -> None:
    table = {"a": np.array([1, 1, 2]), "b": np.array(["x", "y", "x"])}
    assert rows_with(table, a=1, b="x")["a"].tolist() == [1]
    assert rows_with(table)["a"].tolist() == [1, 1, 2]
