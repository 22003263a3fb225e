"""Results published by the paper's authors, shown beside ours and never used as a target.

FIGURE3  read off the published bar chart (arXiv 2410.15483v3, Figure 3: pythia-1b, DPO before SFT), with an error of
         about 0.006 for gaps and distances and 0.7 for percentages; bars too small to read are 0
TABLE1   the published table (Llama3-8B, SFT before DPO); MMLU by DeepEval 1.3.0, win rate by AlpacaEval 0.5.4 with
         the judge gpt-4-1106-preview, on at most 640 prompts, answers sampled at temperature 1
"""

from __future__ import annotations

ORIGIN3 = "arXiv 2410.15483v3, Figure 3, read off the bars"
ORIGIN1 = "arXiv 2410.15483v3, Table 1"
SCALE3 = "pythia-1b, one seed"
SCALE1 = "Llama3-8B, one seed"

# (method, λ) -> DPO's gap, SFT's gap, ideal distance, runtime increase in %, GPU utilisation increase in %
FIGURE3: dict[tuple[str, float], tuple[float, float, float, float, float]] = {
    ("Sequential", 0.01): (0.985, 0.013, 0.986, 0.0, 0.0),
    ("Mix", 0.01): (0.666, 0.019, 0.666, 39.6, 25.5),
    ("ALRIGHT", 0.01): (0.97, 0.019, 0.969, -23.6, 1.4),
    ("MAXRIGHT", 0.01): (0.259, 0.08, 0.268, 10.8, -1.1),
    ("Sequential", 0.25): (0.915, 0.025, 0.911, 0.0, 0.0),
    ("Mix", 0.25): (0.176, 0.111, 0.208, 17.1, 27.6),
    ("ALRIGHT", 0.25): (0.496, 0.047, 0.5, -2.5, 1.8),
    ("MAXRIGHT", 0.25): (0.156, 0.113, 0.19, 10.1, 0.0),
    ("Sequential", 0.5): (0.834, 0.04, 0.835, 0.0, 0.0),
    ("Mix", 0.5): (0.061, 0.156, 0.164, 37.0, 30.4),
    ("ALRIGHT", 0.5): (0.255, 0.09, 0.268, 0.0, 2.1),
    ("MAXRIGHT", 0.5): (0.104, 0.128, 0.164, 2.4, 0.0),
    ("Sequential", 0.75): (0.792, 0.063, 0.793, 0.0, 0.0),
    ("Mix", 0.75): (0.0, 0.199, 0.199, 52.9, 33.6),
    ("ALRIGHT", 0.75): (0.125, 0.13, 0.18, 2.3, 2.2),
    ("MAXRIGHT", 0.75): (0.095, 0.155, 0.181, -4.6, 2.1),
    ("Sequential", 0.99): (0.653, 0.092, 0.657, 0.0, 0.0),
    ("Mix", 0.99): (0.009, 0.537, 0.534, 39.6, 37.4),
    ("ALRIGHT", 0.99): (0.004, 0.407, 0.404, 2.2, 2.4),
    ("MAXRIGHT", 0.99): (0.057, 0.149, 0.157, 7.7, 4.6),
}
FIGURE3_COLUMNS = ("gap_dpo", "gap_sft", "ideal_distance", "runtime_increase", "utilisation_increase")

# (method, λ) -> MMLU (1-shot) in %, win rate in %
TABLE1: dict[tuple[str, float], tuple[float, float]] = {
    ("Sequential", 0.25): (73.18, 57.19),
    ("Sequential", 0.5): (72.80, 65.62),
    ("Sequential", 0.75): (72.68, 59.38),
    ("Mix", 0.25): (73.45, 81.88),
    ("Mix", 0.5): (73.40, 84.22),
    ("Mix", 0.75): (72.29, 88.42),
    ("ALRIGHT", 0.25): (74.66, 88.28),
    ("ALRIGHT", 0.5): (72.65, 85.78),
    ("ALRIGHT", 0.75): (75.50, 87.34),
    ("MAXRIGHT", 0.25): (72.35, 86.56),
    ("MAXRIGHT", 0.5): (73.42, 86.09),
    ("MAXRIGHT", 0.75): (74.24, 83.75),
}
