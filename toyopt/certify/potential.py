"""The potential of the logistic recursion v_{t+1} = v_t + ησ(-v_t), and its inverse, in balls.

With L(v) = log(1+e^v), Ψ(v) = v + e^v - (η/2)L(v) and δ(η) = (e^η - 1 - η - η²/2)/η, for every start v_0,
every T >= 0 and 0 < η <= 4 (docs/theory.md, part S, Lemma P):

    -(η²/2) σ(-v_0)²  <=  Ψ(v_T) - Ψ(v_0) - ηT  <=  δ(η)(1 + η/4) σ(-v_0).

Ψ is increasing for η < 8, so this encloses v_T, two-sided, with an error that does not grow with T.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from flint import arb, ctx

from toyopt.certify.certificate import UnprovenStep
from toyopt.certify.exact import ball
from toyopt.certify.family import sigma, softplus


@dataclass(frozen=True)
class Potential:
    """The potential Ψ for one η = c²α in (0, 4]."""

    eta: Fraction

    def value(self, v: arb) -> arb:
        """Compute Ψ(v) = v + e^v - (η/2) L(v)."""
        return v + v.exp() - ball(self.eta / 2) * softplus(v)

    def derivative(self, v: arb) -> arb:
        """Compute Ψ'(v) = 1 + e^v - (η/2) σ(v), positive for η < 8."""
        return 1 + v.exp() - ball(self.eta / 2) * sigma(v)

    def over(self, start: arb) -> arb:
        """Compute δ(η)(1 + η/4) σ(-v_0), the largest excess of Ψ(v_T) over Ψ(v_0) + ηT."""
        eta = ball(self.eta)
        delta = (eta.expm1() - eta - eta * eta / 2) / eta
        return delta * (1 + eta / 4) * sigma(-start)

    def under(self, start: arb) -> arb:
        """Compute (η²/2) σ(-v_0)², the largest shortfall of Ψ(v_T) below Ψ(v_0) + ηT."""
        return ball(self.eta**2 / 2) * sigma(-start) ** 2

    def inverse(self, y: arb) -> arb:
        """Return a ball that contains Ψ^{-1} of every number in y, proven by the signs of Ψ - y at its ends."""
        v = self._newton(y.mid())
        radius = 2 * ((self.value(v) - y) / self.derivative(v)).abs_upper()
        radius += 4 * self._grain(v)
        for _ in range(6):
            if self.value(v - radius) <= y and y <= self.value(v + radius):
                return (v - radius).union(v + radius)
            radius *= 16
        raise UnprovenStep("the sign check that encloses the inverse of the potential Ψ")

    def _newton(self, y: arb) -> arb:
        """Return a point near Ψ^{-1}(y), without a proof."""
        v = y.max(arb(1)).log().mid()
        for _ in range(200):
            step = ((y - self.value(v)) / self.derivative(v)).mid()
            v = (v + step).mid()
            if abs(step) < self._grain(v):
                break
        return v

    @staticmethod
    def _grain(v: arb) -> arb:
        """Return 64 times the last bit of 1 + |v| at the working precision."""
        return (1 + v.abs_upper()) * arb(2) ** (6 - ctx.prec)

    def envelope(self, start: arb, steps: int) -> tuple[arb, arb]:
        """Return balls around the proven lower and upper bound of v_T, T = `steps`, from any v_0 in `start`.

        Both bounds increase with v_0 up to the error terms, which the ball of `start` covers.
        """
        reached = self.value(start) + ball(self.eta) * steps
        return self.inverse(reached - self.under(start)), self.inverse(reached + self.over(start))
