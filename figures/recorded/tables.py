"""Markdown tables and lines of the recorded results, by the name of their place in the pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from figures.analysis.multiple import MARK, marked, survivors, with_adjusted
from figures.recorded import real_tables
from figures.recorded.table_text import Record, minutes, number, on_machine, recorded_by, table

METHODS = {
    "sequential": "Sequential", "replay": "Replay", "mix": "Mix", "alright": "ALRIGHT", "maxright": "MAXRIGHT"
}  # fmt: skip
PLACES = {"dpo-first": "DPO first (Figure 3)", "sft-first": "SFT first (Figure 7)", "llama": "Llama (Figure 8)"}
# Claim (without its place) -> its row; claims that are not here stand under their own name.
CLAIMS = {
    "forgetting": "Sequential forgets: rise of the first objective's loss",
    "distance/maxright-sequential": "ideal distance, MAXRIGHT less Sequential",
    "distance/maxright-alright": "ideal distance, MAXRIGHT less ALRIGHT",
    "distance/maxright-mix": "ideal distance, MAXRIGHT less Mix",
    "distance/alright-sequential": "ideal distance, ALRIGHT less Sequential",
    "control/range": "control by λ: range of the balance, ALRIGHT less Sequential",
    "control/evenness": "control by λ: largest change of the balance, ALRIGHT less Sequential",
    "cost/alright": "CPU time, ALRIGHT over Sequential, %",
    "cost/maxright": "CPU time, MAXRIGHT over Sequential, %",
    "cost/mix": "CPU time, Mix over Sequential, %",
    "k/distance": "ideal distance, largest k less smallest k",
    "k/oscillation": "mean move between evaluations, largest k less smallest k",
    "benchmarks/win-rate-alright": "win rate, ALRIGHT less Sequential",
    "benchmarks/win-rate-maxright": "win rate, MAXRIGHT less Sequential",
    "benchmarks/choice-alright": "accuracy, ALRIGHT less Sequential",
    "benchmarks/choice-maxright": "accuracy, MAXRIGHT less Sequential",
}


def judged(check: Record) -> str:
    """Format a claim that has `p_holm` as verdict, mean and 95 % interval."""
    low, high = map(float, check["interval"])
    verdict = f"**{marked(check)}**" if check["verdict"] == "not seen" else marked(check)
    return f"{verdict}: {number(check['attained'])} [{number(low)}, {number(high)}]"


def provenance(records: Mapping[str, Record]) -> str:
    """Return when, where and how the recorded results were made, and their number of verdicts."""
    record = records["reproduce"]
    return f"{recorded_by(record)} ({record['settings']}; {record['runs']} runs): {on_machine(record)}."


def counts(checks: Sequence[Record]) -> str:
    """Return how many of the claims are seen, mixed and not seen."""
    verdicts = [check["verdict"] for check in checks]
    return ", ".join(f"{verdicts.count(v)} {v}" for v in ("seen", "mixed", "not seen"))


def corrected(record: Record, name: str) -> str:
    """Return how many verdicts of an artefact survive Holm's correction; "" if no p-values are recorded."""
    if not record.get("correction"):
        return ""
    claims = record["verdicts"][name]
    decided = sum(claim["verdict"] != "mixed" for claim in claims)
    return f" {survivors(claims)} of the {decided} that are not mixed survive Holm's correction."


def families(record: Record) -> str:
    """Return how many of all verdicts survive within their artefacts and as one family; "" if that is not recorded."""
    known = record.get("correction")
    if not known:
        return ""
    return (
        f" {MARK}: survives within its artefact. Of all {known['claims']} claims of this run {known['decided']} are "
        f"not mixed; {known['survive']} survive within their artefacts, {known['survive_together']} as one family."
    )


def claims(records: Mapping[str, Record]) -> str:
    """Return the table of the paper's empirical claims: a row a claim, a column a place."""
    checks = with_adjusted(records["reproduce"]["verdicts"]["claims"])
    rows: dict[str, dict[str, str]] = {}
    for check in checks:
        family, place, *rest = check["name"].split("/")
        rows.setdefault("/".join([family, *rest]), {})[place] = judged(check)
    order = [*CLAIMS, *(name for name in rows if name not in CLAIMS)]
    body = [[CLAIMS.get(name, name), *(rows[name].get(p, "") for p in PLACES)] for name in order if name in rows]
    heads = ["quantity", *PLACES.values()]
    more = corrected(records["reproduce"], "claims") + families(records["reproduce"])
    return f"Of {len(checks)} verdicts {counts(checks)}.{more}\n\n{table(heads, body)}"


def by_setting(name: str, shown: Mapping[str, str]) -> Callable[[Mapping[str, Record]], str]:
    """Return the table of an artefact's claims: a row a setting, a column each kind of claim in `shown`."""

    def made(records: Mapping[str, Record]) -> str:
        rows: dict[str, dict[str, str]] = {}
        for check in with_adjusted(records["reproduce"]["verdicts"][name]):
            kind, setting, *pair = check["name"].split("/")
            rows.setdefault(setting, {})["/".join([kind, *pair])] = judged(check)
        body = [[key.replace("-", " "), *(cells.get(kind, "") for kind in shown)] for key, cells in rows.items()]
        return table(["setting", *shown.values()], body)

    return made


def baselines(records: Mapping[str, Record]) -> str:
    """Return the table of all methods at λ = ½: means over seeds."""
    body = [
        [
            row["baseline"],
            *(number(row[c]) for c in ("ideal_distance", "f_dpo", "f_sft", "answers_win_rate", "questions_accuracy")),
            number(row["cpu_seconds"]),
        ]
        for row in records["reproduce"]["baselines"]
    ]
    return table(["method", "ideal distance", "f_DPO", "f_SFT", "win rate", "accuracy", "CPU seconds"], body)


def cost(records: Mapping[str, Record]) -> str:
    """Return MAXRIGHT's CPU time without and with the runs that compute f*."""
    facts = records["reproduce"]["cost"]
    without, with_optima = (facts[f"seconds_{kind}_f*_MAXRIGHT"] for kind in ("without", "with"))
    return (
        f"MAXRIGHT: {number(without)} s of CPU time without, {number(with_optima)} s with the runs that compute f\\*."
    )


def curvature(records: Mapping[str, Record]) -> str:
    """Return at which share of the points each objective has a negative curvature."""
    names = {"convex/dpo": "f_DPO", "convex/sft": "f_SFT"}
    shares = [
        f"{names.get(c['name'], c['name'])} at {100 * c['attained']:.0f} % of them"
        for c in records["reproduce"]["verdicts"]["curvature"]
    ]
    return f"A negative eigenvalue was found for {' and '.join(shares)}."


def summary(records: Mapping[str, Record]) -> str:
    """Return the short table of results for the README."""
    record = records["reproduce"]
    rows = [
        [row["baseline"], *(number(row[c]) for c in ("ideal_distance", "answers_win_rate", "cpu_seconds"))]
        for row in record["baselines"]
    ]
    head = ["λ = ½", "ideal distance", "win rate", "CPU seconds"]
    verdicts = record["verdicts"]["claims"]
    return (
        f"{table(head, rows)}\n\nOf the paper's {len(verdicts)} empirical claims, judged in this small world: "
        f"{counts(verdicts)}.{corrected(record, 'claims')} {provenance(records)}"
    )


def duration(records: Mapping[str, Record]) -> str:
    """Return the wall-clock time of the recorded run of all artefacts."""
    record = records["reproduce"]
    return (
        f"The recorded run of all {record['artefacts']} artefacts trained {record['runs']} runs and took "
        f"{minutes(record['seconds'])} on {record['machine']['cores']} cores ({record['machine']['processor']}); "
        "bases and optima that are in the cache already save some of it."
    )


def methods(records: Mapping[str, Record]) -> str:
    """Return the table of the methods on the embedded world: held-out losses before and after."""
    record = records["embedded"]
    rows = sorted(record["methods"], key=lambda row: list(METHODS).index(row["method"]))
    keys = [key for key in ("f_dpo", "f_sft", "ideal_distance") if all(key in row["after"] for row in rows)]
    names = {"f_dpo": "f_DPO", "f_sft": "f_SFT", "ideal_distance": "ideal distance"}
    head = ["", *(names[key] for key in keys), "seconds"]
    before = ["before", *(number(rows[0]["before"][key]) if key in rows[0]["before"] else "" for key in keys), ""]
    body = [
        [f"`--method {row['method']}`", *(number(row["after"][key]) for key in keys), number(row["seconds"])]
        for row in rows
    ]
    seeds, steps, lams = ({row[key] for row in rows} for key in ("seed", "steps", "lam"))
    settings = "; ".join(
        f"{name} {', '.join(f'{value:g}' for value in sorted(values))}"
        for name, values in (("λ =", lams), ("seed", seeds), ("steps:", steps))
    )
    text = table(head, [before, *body])
    return f"{text}\n\nHeld-out rows; {settings}. Recorded on {record['date']}: {on_machine(record)}."


DISTANCES = {
    "ideal-distance/maxright-sequential": "ideal distance, MAXRIGHT less Sequential",
    "ideal-distance/alright-sequential": "ideal distance, ALRIGHT less Sequential",
    "scale-free-distance/maxright-sequential": "scale-free distance, MAXRIGHT less Sequential",
    "scale-free-distance/alright-sequential": "scale-free distance, ALRIGHT less Sequential",
}
# Name of a place in a page -> its text.
BLOCKS: Mapping[str, Callable[[Mapping[str, Record]], str]] = {
    "provenance": provenance,
    "duration": duration,
    "claims": claims,
    "conflict": by_setting("conflict", {"forgetting": "forgetting, share of the initial gap"} | DISTANCES),
    "sensitivity": by_setting("sensitivity", DISTANCES),
    "families": by_setting("families", DISTANCES),
    "baselines": baselines,
    "cost": cost,
    "curvature": curvature,
    "summary": summary,
    "methods": methods,
    **real_tables.BLOCKS,
}
