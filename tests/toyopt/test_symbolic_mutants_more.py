"""What only a mutant of the derivations showed to be untested: the definitions in numbers, labels, signs, messages."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import sympy as sp

from toyopt.examples import TABLE2
from toyopt.symbolic import Derivation, Equation, Identity, against_problem, convexity, derive, numeric, records, table2
from toyopt.symbolic.definitions import BETA, PHI, Softmax, sigma
from toyopt.symbolic.derivation import same
from toyopt.symbolic.normal import Normaliser, tidy

x, y = sp.symbols("x y", real=True)
p, q = sp.symbols("p q", positive=True)
n = sp.Symbol("n")
MODELS = {"general": lambda: Softmax.general(2, 3), "line": lambda: Softmax.line(3)}


# --- definitions (1)-(5) in numbers -----------------------------------------------------------------------------------


def numbers(exprs) -> dict[sp.Symbol, float]:
    rng = random.Random(1)
    return {s: rng.uniform(0.2, 1.5) for s in sorted(set().union(*(e.free_symbols for e in exprs)), key=str)}


@pytest.mark.parametrize("model", MODELS)
def test_the_definitions_in_numbers(model):
    s = MODELS[model]()
    everything = [*s.theta, *s.theta_ref, *s.offset, *s.ref_offset, *(e for phi in s.features for e in phi), s.beta]
    assert {e.is_real for e in everything} == {True}
    at = numbers(everything)

    def number(e: sp.Expr) -> float:
        return float(sp.sympify(e).subs(at))

    phi = np.array([[number(e) for e in f] for f in s.features])
    theta, ref = (np.array([number(e) for e in t]) for t in (s.theta, s.theta_ref))
    logits = phi @ theta + [number(o) for o in s.offset]
    pi, rho = np.exp(logits), np.exp(phi @ ref + [number(o) for o in s.ref_offset])
    z, pi, rho, beta = math.log(pi.sum()), pi / pi.sum(), rho / rho.sum(), number(s.beta)
    margin = beta * (math.log(pi[0] / rho[0]) - math.log(pi[1] / rho[1]))
    h = 1 / (1 + math.exp(-margin))
    dpo, sft = -beta * (1 - h) * (phi[0] - phi[1]), pi @ phi - phi[0]
    assert [number(e) for e in s.logits()] == pytest.approx(logits)
    assert [number(s.policy(i)) for i in s.outputs] == pytest.approx(pi)
    assert [number(s.reference(i)) for i in s.outputs] == pytest.approx(rho)
    assert [number(e) for e in (s.log_normaliser(), s.h(), s.f_dpo(), s.f_sft())] == pytest.approx(
        [z, h, -math.log(h), -math.log(pi[0])]
    )
    assert number(convexity.margin(s)) == pytest.approx(margin)
    assert [number(e) for e in s.g_dpo()] == pytest.approx(dpo)
    assert [number(e) for e in s.g_sft()] == pytest.approx(sft)
    assert [number(e) for e in s.grad(s.log_normaliser())] == pytest.approx(pi @ phi)
    assert [number(e) for e in convexity.mean_feature(s)] == pytest.approx(pi @ phi)
    cov = np.einsum("i,ij,ik->jk", pi, phi, phi) - np.outer(pi @ phi, pi @ phi)
    assert [number(e) for e in s.hess(s.log_normaliser())] == pytest.approx(cov.ravel())
    assert [number(e) for e in convexity.hess_sft(s)] == pytest.approx(cov.ravel())
    outer = beta**2 * h * (1 - h) * np.outer(phi[0] - phi[1], phi[0] - phi[1])
    assert [number(e) for e in convexity.hess_dpo(s)] == pytest.approx(outer.ravel())


def test_a_symbol_for_every_number():
    s = Softmax.general(2, 3)
    everything = [*s.theta, *s.theta_ref, *(e for phi in s.features for e in phi)]
    assert (len(s.theta), len(s.theta_ref), len(s.features), len(set(everything))) == (2, 2, 3, 10)
    assert s.beta == BETA
    assert set(s.offset + s.ref_offset) == {0}
    assert len(s.offset) == len(s.ref_offset) == 3
    a, b = Softmax.line(3), Softmax.line(3, "b")
    drawn = [{*s.offset, *s.ref_offset, *(e for phi in s.features for e in phi)} for s in (a, b)]
    assert [len(d) for d in drawn] == [9, 9]
    assert not drawn[0] & drawn[1]
    assert [a.features[1][0].name, a.offset[1].name, a.ref_offset[1].name] == ["a_1", "sa_1", "ra_1"]
    assert a.theta == b.theta == (sp.Symbol("t", real=True),)
    assert a.theta_ref == (0,)
    assert list(s.outputs) == [0, 1, 2]
    assert s.direction.shape == (2, 1)
    assert all(e.is_Symbol and e.is_real for e in s.direction)
    assert len(set(s.direction)) == 2
    assert not set(s.direction) & set(everything)
    assert Softmax.of([sp.Matrix([x]), sp.Matrix([y])], [p], [q], 2 * p).beta == 2 * p
    assert Softmax.of([sp.Matrix([x]), sp.Matrix([y])], [p], [q]).beta == BETA


def test_an_output_without_an_offset_is_an_error():
    s = Softmax.line(3)
    with pytest.raises(ValueError, match="zip"):
        dataclasses.replace(s, offset=s.offset[:2]).logits()
    with pytest.raises(ValueError, match="zip"):
        dataclasses.replace(s, ref_offset=s.ref_offset[:2]).reference(0)


# --- the equations: labels, names, signs ------------------------------------------------------------------------------

SETTINGS = {f"d = {d}, {m} outputs": (d, m) for d in (1, 2, 3) for m in (2, 3)}
LINES = {f"any d, {m} outputs": (1, m) for m in (2, 3, 4)}
PAIRS = {f"d = {d}, {m} outputs, 2 data": (d, m) for d, m in ((1, 2), (1, 3), (2, 2))}
LINE_PAIRS = {f"any d, {m} outputs, 2 data": (1, m) for m in (2, 3)}


def test_a_label_says_what_is_behind_it():
    sizes = {label: (len(s.theta), len(s.features)) for label, s in convexity.settings().items()}
    assert sizes == SETTINGS | LINES
    assert all((s.theta_ref == (0,)) is label.startswith("any") for label, s in convexity.settings().items())
    both = convexity.pairs()
    assert {k: (len(a.theta), len(a.features)) for k, (a, _) in both.items()} == PAIRS | LINE_PAIRS
    assert {k: (len(b.theta), len(b.features)) for k, (_, b) in both.items()} == PAIRS | LINE_PAIRS
    for a, b in both.values():  # one θ, and features of their own
        assert (a.theta, a.theta_ref) == (b.theta, b.theta_ref)
        assert not {e for phi in a.features for e in phi} & {e for phi in b.features for e in phi}
    assert any(e.name.startswith("psi") for e in both["d = 2, 2 outputs, 2 data"][1].features[0])


def test_the_equations_are_in_order_and_each_has_its_statement_and_cases():
    found = [*convexity.equations(), *table2.equations()]
    assert [e.number for e in found] == [*map(str, range(22, 39)), "minimiser"]
    stated = {number: text for number, _, text in (*convexity._STATEMENTS, *convexity._MEANS, *table2._STATEMENTS)}
    for e in found:
        assert e.statement == stated[e.number]
        labels = PAIRS | LINE_PAIRS if e.number in ("30", "33") else SETTINGS | LINES
        family = ["Table 2 (reconstructed)", "any a, b, c"]
        assert list(e.cases) == (family if e in found[12:] else list(labels)), e.number


CHEAP = ("d = 1, 2 outputs", "any d, 2 outputs, 2 data", "any a, b, c")


@pytest.mark.parametrize("number", [*map(str, range(22, 39)), "minimiser"])
def test_an_inequality_claims_its_sign_and_is_proven_with_it_in_the_cheapest_case(number):
    (equation,) = (e for e in (*convexity.equations(), *table2.equations()) if e.number == number)
    built = [i for label in CHEAP if label in equation.cases for i in equation.cases[label]()]
    assert built
    assert len({i.name for i in built}) == len(built)
    for i in built:
        positive = "> 0" in i.name or "strictly" in i.name
        assert i.sign == ("nonnegative" if ">= 0" in i.name else "positive" if positive else None), i.name
        assert i.proven, i.name
        assert not any("room" in str(e.free_symbols) for e in i.left)


@pytest.mark.parametrize("number", ["22", "25", "26", "27", "31"])
def test_vectors_are_vectors_in_more_than_one_dimension(number):
    assert all(i.proven for i in getattr(convexity, f"eq{number}")(Softmax.general(2, 2)))


@pytest.mark.parametrize(("number", "most"), [("24", 3), ("28", 2)])
def test_the_rooms_are_phi_squared_less_the_features(number, most):
    """Assumption 3.2: each slack is Φ² - ‖φ_i‖² of a feature of its own, and non-negative."""
    s = Softmax.general(2, 3)
    slack = list(getattr(convexity, f"eq{number}")(s))[most - 1].slack
    used = range(2) if number == "24" else range(3)
    assert list(slack.values()) == [PHI**2 - (s.features[i].T * s.features[i])[0] for i in used]
    assert all(r.is_nonnegative and not r.is_positive for r in slack)
    assert (PHI.is_positive, BETA.is_positive) == (True, True)


def test_the_example_is_table_2_and_its_family():
    e = table2.Example.reconstructed()
    features = [float(m[0]) for s in (e.dpo, e.sft) for m in s.features]
    assert features == [row.feature[0] for row in TABLE2]
    assert e.c == sp.Rational(1, 2)
    assert [s.beta for s in (e.dpo, e.sft)] == [1, 1]
    g = table2.Example.general()
    (w, _), (t, o) = ([m[0] for m in s.features] for s in (g.dpo, g.sft))
    assert (w - g.dpo.features[1][0], o - t) == (g.c, g.c)
    assert len((w + t).free_symbols) == 3
    assert g.c.is_positive
    assert all(v.is_real and v.is_positive is None for v in (w + t).free_symbols - {g.c})
    for example in (e, g):
        assert example.theta == example.dpo.theta[0] == example.sft.theta[0]
        assert example.theta.is_real
        assert example.dpo.theta_ref[0].is_real
        assert example.theta.is_nonnegative is None
        assert example.dpo.theta_ref[0] != example.theta
        assert sp.expand(example.distance / example.c) == example.theta - example.dpo.theta_ref[0]
    assert table2.LAM.is_positive
    assert table2.MU.is_positive


def test_the_quadratic_and_its_roots_in_numbers():
    z, k, lam = 0.7, 1.9, 0.3
    value = table2.quadratic(sp.Float(z), sp.Float(k)).subs(table2.LAM, lam)
    assert float(value) == pytest.approx(0.7 * 0.49 + 0.4 * 1.9 * 0.7 - 0.3 * 1.9)
    last = list(table2.minimiser(table2.Example.reconstructed()))[3]
    at = {table2.LAM: lam, table2.MU: 1 - lam, sp.Symbol("K", positive=True): k}
    assert float(last.left[0].subs(at)) == pytest.approx(lam * k / (1 - lam))  # minus the product of the roots
    assert float(last.right[0].subs(at)) == pytest.approx(lam * k / (1 - lam))
    assert last.slack == {table2.MU: 1 - table2.LAM}


# --- the normal form --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.exp(x + 2 * y) * sp.exp(-x), sp.exp(y) ** 2),
        (sp.exp(x - y) * (1 + sp.exp(y)) ** 2, sp.exp(x) * (sp.exp(-y) + 2 + sp.exp(y))),
        (sp.exp(0 * x), sp.Integer(1)),
        (sp.exp((x + 1) ** 2 - x**2 - 2 * x - 1 + y), sp.exp(y)),
        (sp.exp(2 * sp.log(p + q) + x), (p + q) ** 2 * sp.exp(x)),
        (sp.exp(x - 3 * sp.log(p + q)), sp.exp(x) / (p + q) ** 3),
        (sp.exp(-sp.log(p + q)), 1 / (p + q)),
        (sp.exp(sp.log(p + q)), p + q),
        (sp.exp(x + sp.log(p + q) - 2 * sp.log(1 + p)), sp.exp(x) * (p + q) / (1 + p) ** 2),
        (sp.exp(sp.log(p + q) / 2) ** 2, p + q),
        (  # sympy itself undoes exp(log): here only after the exponent is expanded
            sp.exp((x + 2) * sp.log(p + q) - x * sp.log(p + q) + (y - 2) * sp.log(1 + p) - y * sp.log(1 + p) + x),
            (p + q) ** 2 * sp.exp(x) / (1 + p) ** 2,
        ),
        (
            sp.exp((x + 1) * sp.log(p + q) - x * sp.log(p + q) + (y + 3) * sp.log(1 + p) - y * sp.log(1 + p)),
            (p + q) * (1 + p) ** 3,
        ),
        (sp.log(p), sp.log(p * sp.exp(x)) - x),
        (sp.log((2 * p + 2 * p * q) / 3), sp.log(sp.Rational(2, 3)) + sp.log(p) + sp.log(1 + q)),
        (
            sp.log((p * q + p * q**2) ** 3 / (1 + p) ** 2),
            3 * (sp.log(p) + sp.log(q) + sp.log(1 + q)) - 2 * sp.log(1 + p),
        ),
        (sp.log(1 / (p + q) ** 2), -2 * sp.log(p + q)),
        (sp.log((p * q + p * q**2) ** 3), 3 * (sp.log(p) + sp.log(q) + sp.log(1 + q))),
        (sp.log(1 + 1 / (p + q)), sp.log(1 + p + q) - sp.log(p + q)),
        (1 / (2 * p + 2 * q), 1 / (p + q) / 2),
        (1 / (p**2 * q + p**3) ** 2, 1 / (p + q) ** 2 / p**4),
        (1 / (1 + 1 / (1 + 1 / (1 + p))), (2 + p) / (3 + 2 * p)),
        (1 / (1 + p) + 1 / (1 + p) ** 2 + p, (2 + p + p * (1 + p) ** 2) / (1 + p) ** 2),
        (1 / (1 + p) + 1 / (1 + q), (2 + p + q) / ((1 + p) * (1 + q))),
        (((1 + p) / (1 + q)) ** -3, (1 + q) ** 3 / (1 + p) ** 3),
        ((p + q) ** x * (p + q) ** (-x), sp.Integer(1)),
        (p ** (x + 2), p**2 * sp.exp(x * sp.log(p))),
        (sp.sqrt(1 + x**2) ** 4 / (1 + x**2), 1 + x**2),
    ],
)
def test_the_normal_form_proves_rules_of_powers_and_logarithms(left, right):
    assert same("", left, right).proven
    assert same("", right, left).proven
    assert not same("", left, 2 * right).proven
    at = {x: 0.3, y: -0.8, p: 0.6, q: 1.7}
    assert float(tidy(left).subs(at)) == pytest.approx(float(right.subs(at)), rel=1e-12)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (sp.log(x + y), sp.log(-x - y)),  # x + y may be negative
        (sp.log((x + y) ** 3 * (1 + p)), 3 * sp.log(x + y) + sp.log(1 + p)),
        (sp.exp(sp.log(x + y) / 2), -sp.sqrt(x + y)),
        (x**y, sp.exp(y * sp.log(x))),  # x may be negative
        (sp.oo, sp.oo),
        (sp.log(y * sp.sqrt(x**2 + x**3)), sp.log(y * x * sp.sqrt(1 + x))),  # not for x < 0
        (sp.exp(x + 1), sp.exp(x)),
        (sp.log(x**2), sp.log(2 * x)),
        (sp.exp(sp.I * x + y), sp.exp(sp.I * x) * sp.exp(y)),
        (1 / (p - p * sp.exp(x) * sp.exp(-x)), sp.Integer(1)),
    ],
)
def test_more_that_is_not_proven(left, right):
    assert not same("", left, right).proven


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (sp.sin(x), "no normal form for sin: "),
        (sp.oo, "no normal form for "),
        (sp.exp(n + x), "no normal form for the exponential of n, which is not known to be real"),
        (1 / (sp.exp(x + y) - sp.exp(x) * sp.exp(y)), "no normal form with a division by .*, which is 0"),
    ],
)
def test_what_has_no_normal_form_says_why(expr, words):
    with pytest.raises(TypeError, match=words):
        Normaliser().numerator(expr)


def test_a_reciprocal_under_a_root_has_no_normal_form():
    with pytest.raises(TypeError, match="no normal form with a reciprocal to the power 1/2"):
        Normaliser().numerator(sp.sqrt(1 / (1 + x)) + p)


def test_stand_ins_know_what_is_known():
    """X is positive; R as positive as what it is one over; L real if its logarithm is; one for each, by name."""
    normal = Normaliser()
    exp, over, maybe, log, other = (
        normal(e) for e in (sp.exp(x), 1 / (1 + p), 1 / (1 + x), sp.log(1 + p), sp.log(1 + x))
    )
    assert [s.is_positive for s in (exp, over, maybe, log, other)] == [True, True, None, None, None]
    assert [s.is_real for s in (exp, over, maybe, log, other)] == [True, True, None, True, None]
    assert [s.name for s in (exp, over, maybe, log, other)] == ["X0", "R1", "R2", "L3", "L4"]
    assert (normal(sp.exp(2 * x)), normal(1 / (1 + p) ** 2)) == (exp**2, over**2)
    assert normal.back(exp + 3 * over + log) == sp.exp(x) + 3 / (1 + p) + sp.log(1 + p)


# --- identities, equations, derivations -------------------------------------------------------------------------------


def test_sides_of_unequal_length_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        Identity("", (x,), (x, y)).residuals()


def test_every_entry_counts():
    a, b = sp.Matrix([[x, y], [p, q]]), sp.Matrix([[x, y], [p, q + 1]])
    assert same("", a, a).proven
    assert not same("", a, b).proven
    assert same("", a, b).residuals() == (0, 0, 0, -1)
    assert same("name", a, a).name == "name"
    assert same("", a, a).sign is None
    assert same("", a, a).slack == {}
    assert not same("", sp.Matrix([p, x]), sp.Matrix([p, x]), sign="positive").proven
    assert not same("", sp.Matrix([x, p]), sp.Matrix([x, p]), sign="positive").proven
    with pytest.raises(ValueError, match=r"^two: the sides have shapes \(2, 2\) and \(1, 1\)"):
        same("two", a, x)
    assert all(math.isnan(r) for r in (*Identity("", (), ()).residuals(), *same("", sp.sin(x), x).residuals()))


def test_a_derivation_says_what_was_tried():
    equation = Equation(
        "7",
        "x = x",
        {"one": lambda: [same("a", sp.Matrix([x, y]), sp.Matrix([y, p]))], "two": lambda: [same("b", q, q)]},
    )
    d = equation.derive()
    assert dataclasses.replace(d, seconds=0.0) == Derivation(
        "7", "x = x", "x; y", "y; p", ("one", "two"), 2, ("one: a",), 0.0
    )
    assert 0.0 < d.seconds < 100.0
    assert str(dataclasses.replace(d, seconds=0.5)) == "(7) not proven: one: a (2 identities, 0.50 s)  x = x"
    assert (
        str(dataclasses.replace(d, seconds=0.5, identities=1, not_proven=()))
        == "(7) proven (1 identities, 0.50 s)  x = x"
    )
    both = dataclasses.replace(d, not_proven=("one: a", "two: b"))
    assert "not proven: one: a; two: b (" in str(both)
    nothing = Equation("8", "", {"none": lambda: ()}).derive()
    assert (nothing.left, nothing.right, nothing.identities, nothing.proven) == ("", "", 0, False)
    assert not dataclasses.replace(both, identities=0).proven


def made(number: int) -> Derivation:
    return Derivation(str(number), "", "", "", ("case",), 1, (), 0.0)


def test_records_by_hand(monkeypatch):
    """From derivations that are given, none is done; without them all are."""
    monkeypatch.setattr("toyopt.symbolic.derive_all", lambda: tuple(map(made, range(22, 34))))
    for found in (records(), records(map(made, range(22, 34)))):
        assert [r.claim for r in found] == ["A.1", "A.2"]
        assert [(r.kind, r.bound, r.attained, r.evidence, r.verdict) for r in found] == [
            ("equal", 0.0, 0.0, "symbolic", "holds")
        ] * 2
        assert [r.statement[:6] for r in found] == ["‖g_DPO", "∇²f_DP"]
        assert [list(r.terms) for r in found] == [
            [f"({k})" for k in range(22, 29)],
            [f"({k})" for k in range(29, 34)],
        ]
        assert "eqs. (22)-(28), " in found[0].source
        assert "eqs. (29)-(33), " in found[1].source
    assert [r.verdict for r in records([])] == ["open", "open"]


def test_derive_names_what_it_knows():
    assert derive("36").equation == "36"
    with pytest.raises(ValueError, match=r"^number: one of 22, 23, .*, 38, minimiser is needed, got 'x'$"):
        derive("x")


def test_derive_all_redoes_every_equation(monkeypatch):
    monkeypatch.setattr(Equation, "derive", lambda self: self.number)
    from toyopt.symbolic import derive_all

    assert derive_all() == (*map(str, range(22, 39)), "minimiser")


# --- the comparison with problem.py -----------------------------------------------------------------------------------


def test_the_comparison_takes_the_worst_of_all_errors(monkeypatch):
    monkeypatch.setattr(numeric, "SETTINGS", ((1, 2),))
    found = against_problem(problems=1, seed=5)
    assert found.problems == 1
    assert found.holds
    assert 0.0 < found.worst < 1e-14
    assert found != against_problem(problems=1, seed=6)
    assert against_problem(problems=3, seed=0).problems == 3
    computed = numeric._Draw.computed

    for what in ("value", "grad", "hess"):

        def off(self, what=what):
            return {k: v * (1 + 1e-6 * (k == ("sft", what))) for k, v in computed(self).items()}

        monkeypatch.setattr(numeric._Draw, "computed", off)
        errors = dataclasses.asdict(against_problem(problems=1, seed=5))
        # Relative to the largest entry of a datum, of which the mean is a part.
        assert 1e-9 < errors.pop(what) < 1.001e-6
        assert max(v for k, v in errors.items() if k in ("value", "grad", "hess")) < 1e-14


def test_an_error_is_relative_to_the_largest_entry_of_a_datum(monkeypatch):
    monkeypatch.setattr(numeric, "SETTINGS", ((1, 2),))
    truth = [numeric.mpmath.mpf(3)]
    monkeypatch.setattr(numeric._Draw, "computed", lambda _: {("dpo", "value"): np.array([3.5])})
    for scale, error in ((4, 0.125), (0, 0.5)):
        monkeypatch.setattr(numeric._Draw, "derived", lambda _, s=scale: iter([(("dpo", "value"), truth, s)]))
        found = against_problem(problems=1)
        assert (found.value, found.grad, found.hess) == (error, 0.0, 0.0)
    monkeypatch.setattr(numeric._Draw, "computed", lambda _: {("dpo", "value"): np.array([3.5, 3.0])})
    with pytest.raises(ValueError, match="zip"):
        against_problem(problems=1)


def test_the_mean_and_the_largest_entry_of_the_data(monkeypatch):
    """With a "formula" that returns θ φ_00 and β: the mean over the data and the largest, of either set."""
    draw = numeric._Draw(
        np.array([2.0]),
        np.array([7.0]),
        np.array([[[1.0], [0.0]], [[-4.0], [0.0]]]),
        np.array([[[1.0], [9.0]], [[2.0], [9.0]], [[6.0], [9.0]]]),
        0.5,
    )

    def formula(theta, ref, first, second, beta):
        return [theta * first, beta + 0 * ref * second]

    def functions(dim, outputs):
        assert (dim, outputs) == (1, 2)
        return {("dpo", "value"): (formula, formula), ("sft", "grad"): (formula,)}

    monkeypatch.setattr(numeric, "_functions", functions)
    rows = [(k, [float(v) for v in mean], float(most)) for k, mean, most in draw.derived()]
    assert rows == [(("dpo", "value"), [-3.0, 0.5], 8.0)] * 2 + [(("sft", "grad"), [6.0, 0.5], 12.0)]
    ragged = iter([[1], [1, 2]])
    monkeypatch.setattr(numeric, "_functions", lambda *_: {("dpo", "value"): (lambda *_: next(ragged),)})
    with pytest.raises(ValueError, match="zip"):
        list(draw.derived())


def test_a_draw_has_eighths_that_do_not_repeat():
    rng = random.Random(0)
    draws = [numeric._Draw.of(rng, 2, 3) for _ in range(60)]
    first = draws[0]
    assert [a.shape for a in (first.theta, first.theta_ref, first.pairs, first.demos)] == [
        (2,),
        (2,),
        (2, 3, 2),
        (3, 3, 2),
    ]
    every = np.concatenate([a.ravel() for d in draws for a in (d.theta, d.theta_ref, d.pairs, d.demos)])
    assert (every.min(), every.max()) == (-2.0, 2.0)
    assert len(np.unique(every)) == 33
    assert set(every * 8 % 1) == {0.0}
    betas = {d.beta for d in draws} | {numeric._Draw.of(rng, 1, 2).beta for _ in range(200)}
    assert betas == {k / 8 for k in range(1, 17)}
    assert set(first.computed()) == {(a, b) for a in ("dpo", "sft") for b in ("value", "grad", "hess")}


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"problems": 0}, ValueError, "problems: must be at least 1, got 0"),
        ({"problems": 1.5}, TypeError, "problems: "),
        ({"seed": -1}, ValueError, "seed: must be at least 0, got -1"),
        ({"seed": 1.5}, TypeError, "seed: "),
    ],
)
def test_wrong_numbers_are_named(arguments, error, words):
    with pytest.raises(error, match=f"^{words}"):
        against_problem(**arguments)


def test_the_tolerance_itself_is_allowed():
    agreement = numeric.Agreement(1, 1e-13, 0.0, 5e-14)
    assert agreement.holds
    assert agreement.worst == 1e-13
    assert math.isnan(dataclasses.replace(agreement, grad=math.nan).worst)


def test_each_quantity_is_derived_by_its_own_equation():
    s = Softmax.general(1, 2)
    found = numeric.identities(s)
    lefts = {
        ("dpo", "value"): [s.f_dpo()],
        ("dpo", "grad"): list(s.g_dpo()),
        ("dpo", "hess"): list(s.hess(s.f_dpo())),
        ("sft", "value"): [s.f_sft()],
        ("sft", "grad"): list(s.g_sft()),
        ("sft", "hess"): list(s.hess(s.f_sft())),
    }
    assert {k: list(i.left) for k, i in found.items()} == lefts
    assert sigma(sp.Integer(0)) == sp.Rational(1, 2)


def test_the_reciprocal_of_a_power_is_the_reciprocals_power():
    """sympy takes most powers apart before the normal form sees them, so it is asked directly."""
    normal = Normaliser()
    assert normal._reciprocal((x + y) ** 3) == normal._reciprocal(x + y) ** 3
