"""Equations (22)-(33) of arXiv 2410.15483v3, Appendix A.1: gradients, their bounds, Hessians and their signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

import sympy as sp

from toyopt.symbolic.definitions import PHI, Softmax, sigma
from toyopt.symbolic.derivation import Equation, Identity, same


def delta(s: Softmax) -> sp.Matrix:
    """Return Δ = φ(yw,x) - φ(yl,x)."""
    return s.features[0] - s.features[1]


def margin(s: Softmax) -> sp.Expr:
    """Return β (θ-θ_ref)ᵀΔ; along a line `θ + t z` it is `β ((s_w-r_w) - (s_l-r_l) + t zᵀΔ)`."""
    offset = (s.offset[0] - s.ref_offset[0]) - (s.offset[1] - s.ref_offset[1])
    return s.beta * (offset + (sp.Matrix(s.theta) - sp.Matrix(s.theta_ref)).dot(delta(s)))


def mean_feature(s: Softmax) -> sp.Matrix:
    """Return Σ_y' π_θ(y'|x) φ(y',x)."""
    return sum((s.policy(i) * s.features[i] for i in s.outputs), sp.zeros(len(s.theta), 1))


def square(v: sp.Matrix) -> sp.Expr:
    """Return ‖v‖², as a sum of squares."""
    return sp.Add(*(x**2 for x in v))


def form(hessian: sp.Matrix, z: sp.Matrix) -> sp.Expr:
    """Return zᵀ H z."""
    return (z.T * hessian * z)[0]


def eq22(s: Softmax) -> Iterator[Identity]:
    """Yield the identity of h, eq. (22), from eq. (3)."""
    yield same("h = σ(β(θ-θ_ref)ᵀΔ)", s.h(), sigma(margin(s)))


def eq23(s: Softmax) -> Iterator[Identity]:
    """Yield the identities of g_DPO, eq. (23), from eq. (2), and of f_DPO, from eq. (1)."""
    yield same("g_DPO = -β(1-h)Δ", s.g_dpo(), -s.beta * (1 - sigma(margin(s))) * delta(s))
    yield same("∇f_DPO = g_DPO", s.grad(s.f_dpo()), s.g_dpo())
    yield same("f_DPO = log(1+exp(-β(θ-θ_ref)ᵀΔ))", s.f_dpo(), sp.log(1 + sp.exp(-margin(s))))


def slack_symbol(s: Softmax, i: int, slack: dict[sp.Symbol, sp.Expr]) -> sp.Symbol:
    """Return a non-negative symbol for Φ² - ‖φ_i‖² (Assumption 3.2), and enter it into `slack`."""
    symbol = sp.Symbol(f"slack_{i}", nonnegative=True)
    slack[symbol] = PHI**2 - square(s.features[i])
    return symbol


def eq24(s: Softmax) -> Iterator[Identity]:
    """Yield eq. (24), ‖g_DPO‖² <= β²‖Δ‖² <= 4β²Φ², each inequality as an equation with its dropped terms."""
    h, rest, norm = sigma(margin(s)), sigma(-margin(s)), square(delta(s))
    simple = s.beta**2 * (1 - h) ** 2 * norm
    yield same("‖g_DPO‖² = β²(1-h)²‖Δ‖²", square(s.g_dpo()), simple)
    right = s.beta**2 * h * (1 + rest) * norm
    yield same("β²‖Δ‖² - β²(1-h)²‖Δ‖² >= 0", s.beta**2 * norm - simple, right, sign="nonnegative")
    slack: dict[sp.Symbol, sp.Expr] = {}
    dropped = 2 * slack_symbol(s, 0, slack) + 2 * slack_symbol(s, 1, slack) + square(s.features[0] + s.features[1])
    left = 4 * s.beta**2 * PHI**2 - s.beta**2 * norm
    yield same("4β²Φ² - β²‖Δ‖² >= 0", left, s.beta**2 * dropped, slack=slack, sign="nonnegative")


def eq25(s: Softmax) -> Iterator[Identity]:
    """Yield the identity of ∇ log π_θ, eq. (25), with the normaliser's gradient not evaluated."""
    right = s.features[0] - s.grad(s.log_normaliser())
    yield same("∇log π_θ(y|x) = φ(y,x) - ∇log Z", s.grad(sp.log(s.policy(0))), right)


def eq26(s: Softmax) -> Iterator[Identity]:
    """Yield the identity of the normaliser's gradient, eq. (26)."""
    yield same("∇log Z = Σ π_θ(y'|x)φ(y',x)", s.grad(s.log_normaliser()), mean_feature(s))


def eq27(s: Softmax) -> Iterator[Identity]:
    """Yield the identities of g_SFT, eq. (27), from eq. (5), and of eq. (4) in the form of problem.py."""
    terms = (s.policy(j) * (s.features[0] - s.features[j]) for j in s.outputs)
    right = -sum(terms, sp.zeros(len(s.theta), 1))
    yield same("g_SFT = -Σ π_θ(y'|x)(φ(y,x) - φ(y',x))", s.g_sft(), right)
    x = s.logits()
    others = sp.Add(*(sp.exp(x[j] - x[0]) for j in s.outputs if j))
    yield same("f_SFT = log(1 + Σ exp(θᵀ(φ(y',x)-φ(y,x))))", s.f_sft(), sp.log(1 + others))


def eq28(s: Softmax) -> Iterator[Identity]:
    """Yield eq. (28), ‖g_SFT‖² <= Σ π ‖φ(y,x)-φ(y',x)‖² <= 4Φ², with the dropped terms of each step."""
    p, phi = [s.policy(i) for i in s.outputs], s.features
    jensen = sp.Add(*(p[j] * square(phi[0] - phi[j]) for j in s.outputs))
    dropped = sp.Add(*(p[i] * p[j] * square(phi[i] - phi[j]) for i, j in combinations(s.outputs, 2)))
    name = "Σ π‖φ(y,x)-φ(y',x)‖² - ‖g_SFT‖² >= 0"
    yield same(name, jensen - square(s.g_sft()), dropped, sign="nonnegative")
    slack: dict[sp.Symbol, sp.Expr] = {}
    slacks = [slack_symbol(s, i, slack) for i in s.outputs]
    terms = (p[j] * (2 * slacks[0] + 2 * slacks[j] + square(phi[0] + phi[j])) for j in s.outputs)
    yield same("4Φ² - Σ π‖φ(y,x)-φ(y',x)‖² >= 0", 4 * PHI**2 - jensen, sp.Add(*terms), slack=slack, sign="nonnegative")


def hess_dpo(s: Softmax) -> sp.Matrix:
    """Return β² h(1-h) ΔΔᵀ."""
    h = sigma(margin(s))
    return s.beta**2 * h * (1 - h) * delta(s) * delta(s).T


def form_dpo(s: Softmax, z: sp.Matrix) -> sp.Expr:
    """Return β² h(1-h) (zᵀΔ)² in a form that is visibly non-negative: 1-h = σ(-β(θ-θ_ref)ᵀΔ)."""
    return s.beta**2 * sigma(margin(s)) * sigma(-margin(s)) * z.dot(delta(s)) ** 2


def eq29(s: Softmax) -> Iterator[Identity]:
    """Yield ∇g_DPO and its sign, for one datum, eq. (29)."""
    left, z = s.hess(s.f_dpo()), s.direction
    yield same("∇²f_DPO = β²h(1-h)ΔΔᵀ", left, hess_dpo(s))
    yield same("zᵀ∇²f_DPO z >= 0", form(left, z), form_dpo(s, z), sign="nonnegative")


def eq30(data: Sequence[Softmax]) -> Iterator[Identity]:
    """Yield the identities of the Hessian of f_DPO, the mean over data, eq. (30)."""
    f = sp.Add(*(s.f_dpo() for s in data)) / len(data)
    left, z = data[0].hess(f), data[0].direction
    yield same("∇²f_DPO = mean β²h(1-h)ΔΔᵀ", left, sp.Add(*map(hess_dpo, data)) / len(data))
    right = sp.Add(*(form_dpo(s, z) for s in data)) / len(data)
    yield same("zᵀ∇²f_DPO z >= 0", form(left, z), right, sign="nonnegative")


def hess_sft(s: Softmax) -> sp.Matrix:
    """Return Σ π φφᵀ - (Σ π φ)(Σ π φ)ᵀ."""
    d = len(s.theta)
    second = sum((s.policy(i) * s.features[i] * s.features[i].T for i in s.outputs), sp.zeros(d))
    return second - mean_feature(s) * mean_feature(s).T


def form_sft(s: Softmax, z: sp.Matrix) -> sp.Expr:
    """Return Σ_{i<j} π_i π_j (zᵀ(φ_i-φ_j))², an explicit sum of squares."""
    pairs = combinations(s.outputs, 2)
    return sp.Add(*(s.policy(i) * s.policy(j) * z.dot(s.features[i] - s.features[j]) ** 2 for i, j in pairs))


def eq31(s: Softmax) -> Iterator[Identity]:
    """Yield ∇g_SFT for one datum, eq. (31), as second moment less squared mean and as a covariance."""
    left, mean = s.hess(s.f_sft()), mean_feature(s)
    yield same("∇²f_SFT = Σ π φφᵀ - (Σ π φ)(Σ π φ)ᵀ", left, hess_sft(s))
    centred = [phi - mean for phi in s.features]
    cov = sum((s.policy(i) * centred[i] * centred[i].T for i in s.outputs), sp.zeros(len(s.theta)))
    yield same("∇²f_SFT = Cov φ(y',x)", left, cov)


def eq32(s: Softmax) -> Iterator[Identity]:
    """Yield the quadratic form as Jensen's gap and as a sum of squares, eq. (32)."""
    z = s.direction
    left, a = form(s.hess(s.f_sft()), z), [z.dot(phi) for phi in s.features]
    jensen = sp.Add(*(s.policy(i) * a[i] ** 2 for i in s.outputs))
    yield same("zᵀ∇²f_SFT z = Σ π a² - (Σ π a)²", left, jensen - sp.Add(*(s.policy(i) * a[i] for i in s.outputs)) ** 2)
    yield same("zᵀ∇²f_SFT z = Σ_{i<j} π_i π_j (zᵀ(φ_i-φ_j))² >= 0", left, form_sft(s, z), sign="nonnegative")


def eq33(data: Sequence[Softmax]) -> Iterator[Identity]:
    """Yield the identities of the Hessian of f_SFT, the mean over data, eq. (33)."""
    f = sp.Add(*(s.f_sft() for s in data)) / len(data)
    left, z = data[0].hess(f), data[0].direction
    zero = sp.zeros(len(z))
    yield same("∇²f_SFT = mean Cov φ(y',x)", left, sum(map(hess_sft, data), zero) / len(data))
    right = sp.Add(*(form_sft(s, z) for s in data)) / len(data)
    yield same("zᵀ∇²f_SFT z >= 0", form(left, z), right, sign="nonnegative")


_STATEMENTS: tuple[tuple[str, Callable[[Softmax], Iterator[Identity]], str], ...] = (
    ("22", eq22, r"h_\beta(\theta;x,y_w,y_\ell)=\sigma(\beta(\theta-\theta_{ref})^\top\Delta)"),
    ("23", eq23, r"g_{DPO}(\theta;x,y_w,y_\ell)=-\beta(1-h_\beta(\theta;x,y_w,y_\ell))\Delta"),
    ("24", eq24, r"\|g_{DPO}\|^2=\beta^2(1-h)^2\|\Delta\|^2\le\beta^2\|\Delta\|^2\le4\beta^2\Phi^2"),
    ("25", eq25, r"\nabla\log\pi_\theta(y|x)=\phi(y,x)-\nabla\log\sum_{y'}e^{\theta^\top\phi(y',x)}"),
    ("26", eq26, r"\nabla\log\sum_{y'}e^{\theta^\top\phi(y',x)}=\sum_{y'}\pi_\theta(y'|x)\phi(y',x)"),
    ("27", eq27, r"g_{SFT}(\theta;x,y)=-\sum_{y'}\pi_\theta(y'|x)(\phi(y,x)-\phi(y',x))"),
    ("28", eq28, r"\|g_{SFT}\|^2\le\sum_{y'}\pi_\theta(y'|x)\|\phi(y,x)-\phi(y',x)\|^2\le4\Phi^2"),
    ("29", eq29, r"\nabla g_{DPO}=\beta^2h(1-h)\Delta\Delta^\top\succeq0"),
    ("31", eq31, r"\nabla g_{SFT}=\sum_{y'}\pi\phi\phi^\top-(\sum_{y'}\pi\phi)(\sum_{y'}\pi\phi)^\top"),
    ("32", eq32, r"z^\top\nabla g_{SFT}z=\sum_{i<j}\pi_i\pi_j(z^\top(\phi_i-\phi_j))^2\ge0"),
)
_MEANS: tuple[tuple[str, Callable[[Sequence[Softmax]], Iterator[Identity]], str], ...] = (
    ("30", eq30, r"\nabla^2f_{DPO}=\frac1{N_1}\sum_i\beta^2h_i(1-h_i)\Delta_i\Delta_i^\top\succeq0"),
    ("33", eq33, r"\nabla^2f_{SFT}=\frac1{N_2}\sum_i\mathrm{Cov}_{y'\sim\pi_\theta}\phi(y',x_i)\succeq0"),
)


def settings() -> dict[str, Softmax]:
    """Return every symbolic datum by its label: d = 1, 2, 3 with 2 and 3 outputs, and a line in any dimension."""
    lines = {f"any d, {m} outputs": Softmax.line(m) for m in (2, 3, 4)}
    return {f"d = {d}, {m} outputs": Softmax.general(d, m) for d in (1, 2, 3) for m in (2, 3)} | lines


def pairs() -> dict[str, tuple[Softmax, Softmax]]:
    """Return pairs of data with features of their own and one θ, for the means."""
    boxes = {
        f"d = {d}, {m} outputs, 2 data": (Softmax.general(d, m), Softmax.general(d, m, "psi"))
        for d, m in ((1, 2), (1, 3), (2, 2))
    }
    return boxes | {f"any d, {m} outputs, 2 data": (Softmax.line(m), Softmax.line(m, "b")) for m in (2, 3)}


def equations() -> tuple[Equation, ...]:
    """Return equations (22)-(33), in order."""
    single = [
        Equation(number, statement, {label: partial(build, s) for label, s in settings().items()})
        for number, build, statement in _STATEMENTS
    ]
    means = [
        Equation(number, statement, {label: partial(build, data) for label, data in pairs().items()})
        for number, build, statement in _MEANS
    ]
    return tuple(sorted(single + means, key=lambda e: int(e.number)))
