"""Claims by number, kind or short name."""

from __future__ import annotations

import pytest

from figures.registry import REGISTRY
from toyopt.claims import CLAIMS, find


def test_a_claim_is_found_by_number_kind_or_short_name() -> None:
    for text in ("3.3", "Theorem 3.3", "thm. 3.3", "theorem3.3", " 3.3 ", "forgetting", "Forgetting"):
        assert find(text) == "3.3", text
    assert [find(text) for text in ("a.1", "Lemma A.3", "Prop. A.2", "remark 4.2", "s-replay", "E", "a")] == [
        *("A.1", "A.3", "A.2", "4.2", "S-replay", "E", "A")
    ]
    for number, claim in CLAIMS.items():
        assert find(number) == find(claim.short) == number


def test_names_are_unique() -> None:
    names = [number.lower() for number in CLAIMS] + [claim.short for claim in CLAIMS.values()]
    assert len(set(names)) == len(names)
    assert all(claim.short == claim.short.lower() and claim.short for claim in CLAIMS.values())


@pytest.mark.parametrize(
    ("wrong", "near"), [("3.4", "3.3"), ("A.9", "a.7"), ("forgeting", "forgetting"), ("S-repaly", "s-replay")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"^claim: there is none named '{wrong}'; the nearest are .*{near}") as error:
        find(wrong)
    assert str(error.value).endswith("--list shows all")


def test_a_name_unlike_all_others_has_no_nearest() -> None:
    with pytest.raises(ValueError, match=r"^claim: there is none named '§§§'; --list shows all$"):
        find("§§§")


def test_the_figures_of_the_claims_exist() -> None:
    figures = {claim.figure for claim in CLAIMS.values()} - {""}
    assert figures <= set(REGISTRY)
    assert {"thm33", "thm41", "maxright", "pareto", "replay", "angle", "optimisers"} <= figures
