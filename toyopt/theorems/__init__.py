"""Every claim of the theory as a function that computes both of its sides."""

from toyopt.record import Evidence, Kind, Record, Verdict
from toyopt.theorems.alright.claims import alright_exact, alright_linear_decay, alright_mean_step
from toyopt.theorems.alright.even import alright_even, discrepancy_bound
from toyopt.theorems.alright.last_iterate import (
    best_free_step,
    defazio_bound,
    exact_bound,
    half_log_bound,
    harmonic_bound,
    linear_decay_bound,
    log_bound,
    mean_step_bound,
    orabona_bound,
    total,
)
from toyopt.theorems.alright.local import LocalConstants
from toyopt.theorems.alright.price import Price, alright_price, price_at, price_limit
from toyopt.theorems.alright.remark_42 import explicit_horizon, least_horizon, remark_42
from toyopt.theorems.alright.thm_41 import thm_41, thm_41_schedule
from toyopt.theorems.alright.worst_case import (
    as_sft,
    last_iterate_is_exact,
    no_schedule_is_better,
    worst_case,
    zamani_glineur,
)
from toyopt.theorems.expectation.choose import expected_gap
from toyopt.theorems.expectation.grid import backward_expectation
from toyopt.theorems.expectation.paths import Expectation, enumerate_expectation, enumerate_paths
from toyopt.theorems.expectation.sampling import (
    bounded_differences,
    empirical_bernstein,
    estimate_expectation,
    value_range,
)
from toyopt.theorems.lemmas import lemma_a3, lemma_a5, lemma_a6, lemma_a7, mean_square_constants, noise_level
from toyopt.theorems.maxright.bounds import (
    Staleness,
    average_terms,
    best_terms,
    last_exact_terms,
    last_terms,
    optimum_error_terms,
    scaled_terms,
    staleness,
)
from toyopt.theorems.maxright.claims import (
    maxright_best_and_average,
    maxright_last,
    maxright_optima,
    maxright_scaled,
    maxright_stale,
)
from toyopt.theorems.maxright.cost import StalePrice, best_k, largest_best_k, maxright_cost
from toyopt.theorems.maxright.noise import NoiseCost, maxright_noisy, noise_cost, rows_for_decision
from toyopt.theorems.maxright.setting import MaxrightSetting, maxright_setting
from toyopt.theorems.maxright.steep_case import maxright_log, steep_case
from toyopt.theorems.maxright.unequal import maxright_unequal, unequal_last_terms, unequal_terms
from toyopt.theorems.pareto.remark_43 import optima_once, pareto_optimal
from toyopt.theorems.pareto.remark_a4 import conflict, no_common_ground, same_input, same_input_is_worst
from toyopt.theorems.propositions import prop_a1, prop_a2
from toyopt.theorems.sequential.adam import sequential_adam, sequential_adamw
from toyopt.theorems.sequential.angle import critical_angle, sequential_angle
from toyopt.theorems.sequential.any_steps import (
    sequential_any_steps,
    thm_33_any_steps,
)
from toyopt.theorems.sequential.conjectures import adam_speed, adamw_rest
from toyopt.theorems.sequential.heavy_ball import sequential_heavy_ball
from toyopt.theorems.sequential.low_rank import sequential_low_rank
from toyopt.theorems.sequential.replay import sequential_replay
from toyopt.theorems.sequential.rest import adamw_comes_to_rest
from toyopt.theorems.sequential.theorem_33 import Theorem33, theorem_33
from toyopt.theorems.sequential.thm_33 import certified_33, thm_33
from toyopt.theorems.sequential.two_phases import TwoPhases, theorem_s
from toyopt.theorems.sequential.wave import adam_reaches_speed

__all__ = [
    "Evidence",
    "Expectation",
    "Kind",
    "LocalConstants",
    "MaxrightSetting",
    "NoiseCost",
    "Price",
    "Record",
    "StalePrice",
    "Staleness",
    "Theorem33",
    "TwoPhases",
    "Verdict",
    "adam_reaches_speed",
    "adam_speed",
    "adamw_comes_to_rest",
    "adamw_rest",
    "alright_even",
    "alright_exact",
    "alright_linear_decay",
    "alright_mean_step",
    "alright_price",
    "as_sft",
    "average_terms",
    "backward_expectation",
    "best_free_step",
    "best_k",
    "best_terms",
    "bounded_differences",
    "certified_33",
    "conflict",
    "critical_angle",
    "defazio_bound",
    "discrepancy_bound",
    "empirical_bernstein",
    "enumerate_expectation",
    "enumerate_paths",
    "estimate_expectation",
    "exact_bound",
    "expected_gap",
    "explicit_horizon",
    "half_log_bound",
    "harmonic_bound",
    "largest_best_k",
    "last_exact_terms",
    "last_iterate_is_exact",
    "last_terms",
    "least_horizon",
    "lemma_a3",
    "lemma_a5",
    "lemma_a6",
    "lemma_a7",
    "linear_decay_bound",
    "log_bound",
    "maxright_best_and_average",
    "maxright_cost",
    "maxright_last",
    "maxright_log",
    "maxright_noisy",
    "maxright_optima",
    "maxright_scaled",
    "maxright_setting",
    "maxright_stale",
    "maxright_unequal",
    "mean_square_constants",
    "mean_step_bound",
    "no_common_ground",
    "no_schedule_is_better",
    "noise_cost",
    "noise_level",
    "optima_once",
    "optimum_error_terms",
    "orabona_bound",
    "pareto_optimal",
    "price_at",
    "price_limit",
    "prop_a1",
    "prop_a2",
    "remark_42",
    "rows_for_decision",
    "same_input",
    "same_input_is_worst",
    "scaled_terms",
    "sequential_adam",
    "sequential_adamw",
    "sequential_angle",
    "sequential_any_steps",
    "sequential_heavy_ball",
    "sequential_low_rank",
    "sequential_replay",
    "staleness",
    "steep_case",
    "theorem_33",
    "theorem_s",
    "thm_33",
    "thm_33_any_steps",
    "thm_41",
    "thm_41_schedule",
    "total",
    "unequal_last_terms",
    "unequal_terms",
    "value_range",
    "worst_case",
    "zamani_glineur",
]
