"""A normal form in which an identity between elementary expressions is an identity between polynomials.

Three kinds of positive stand-ins, independent symbols, replace all parts that are not polynomial:

    X  for exp(m), m a product of symbols: exp(q m) with a rational q is X**q
    L  for log(p), p a polynomial that is visibly positive: logarithms of products and quotients become sums first
    R  for 1/p, p a sum

An expression that is zero for independent symbols is zero for their values. So where clearing the R's leaves a
polynomial that expands to 0, the identity holds wherever both of its sides are defined. The converse need not hold:
anything else proves nothing.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp


class Normaliser:
    """One set of stand-ins; expressions that are to be compared go through the same one."""

    def __init__(self) -> None:
        self._symbols: dict[tuple[str, sp.Expr], sp.Symbol] = {}  # (kind, replaced expression) -> stand-in
        self._meaning: dict[sp.Symbol, tuple[str, sp.Expr]] = {}
        self._done: dict[sp.Expr, sp.Expr] = {}

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """Return the value in stand-ins; raise TypeError for anything but finite arithmetic, exp and log."""
        if expr not in self._done:
            self._done[expr] = self._node(expr)
        return self._done[expr]

    def numerator(self, expr: sp.Expr) -> sp.Expr:
        """Return the normal form times its denominators, expanded: 0 only if `expr` is 0 wherever it is defined."""
        form = sp.expand(self(expr))
        for symbol in [s for s in form.free_symbols if self._kind(s) == "R"]:
            form = self._clear(form, symbol)
        return form

    def back(self, form: sp.Expr) -> sp.Expr:
        """Return the expression of a normal form."""
        undo = {"X": sp.exp, "L": sp.log, "R": lambda p: 1 / p}
        while stand_ins := [s for s in form.free_symbols if s in self._meaning]:  # a stand-in may be made from others
            form = form.subs({s: undo[kind](of) for s in stand_ins for kind, of in [self._meaning[s]]})
        return form

    def _kind(self, symbol: sp.Symbol) -> str | None:
        return self._meaning[symbol][0] if symbol in self._meaning else None

    def _stand_in(self, kind: str, of: sp.Expr) -> sp.Symbol:
        key = (kind, of)
        if key not in self._symbols:
            # The logarithm of a positive number is real; of any other it is only a name.
            sign = {"positive": True} if kind == "X" or (kind == "R" and of.is_positive) else {}
            real = {"real": True} if kind == "L" and of.is_positive else {}
            self._symbols[key] = sp.Dummy(f"{kind}{len(self._symbols)}", **sign, **real)
            self._meaning[self._symbols[key]] = key
        return self._symbols[key]

    def _node(self, expr: sp.Expr) -> sp.Expr:
        if expr.is_Symbol or (expr.is_Number and expr.is_finite):
            return expr
        if expr.is_Add or expr.is_Mul:
            return expr.func(*(self(part) for part in expr.args))
        if isinstance(expr, sp.exp):
            return self._exp(self(expr.args[0]))
        if isinstance(expr, sp.log):
            return self._log(self(expr.args[0]))
        if expr.is_Pow:
            base, power = expr.args
            if power.is_Integer:
                return self(base) ** power if power > 0 else self._reciprocal(self(base)) ** -power
            if power.is_Rational:  # a root: sympy squares it away on expansion
                return sp.expand(self(base)) ** power
            if base.is_positive:
                return self._exp(self(power) * self._log(self(base)))
        raise TypeError(f"no normal form for {expr.func.__name__}: {expr}")

    def _exp(self, exponent: sp.Expr) -> sp.Expr:
        out = sp.Integer(1)
        for term in sp.Add.make_args(sp.expand(exponent)):
            q, m = term.as_coeff_Mul()
            if term == 0:
                continue
            if self._kind(m) == "L" and q.is_Integer:
                factor = self._meaning[m][1]
                out *= factor**q if q > 0 else self._reciprocal(factor) ** -q
                continue
            if not (m.is_real and q.is_Rational):
                raise TypeError(f"no normal form for the exponential of {term}, which is not known to be real")
            out *= self._stand_in("X", m) ** q
        return out

    def _factors(self, form: sp.Expr) -> list[tuple[sp.Expr, sp.Expr]]:
        """Return (factor, power) pairs whose product is the form; sums are expanded, without common monomials."""
        plain = form.subs({s: 1 / self._meaning[s][1] for s in form.free_symbols if self._kind(s) == "R"})
        factors = []
        parts = (plain, sp.Integer(1)) if plain.is_polynomial() else sp.fraction(sp.together(plain))
        for part, sign in zip(parts, (1, -1), strict=True):
            for factor in sp.Mul.make_args(part):
                base, power = factor.as_base_exp()
                if not (base.is_Add and power.is_Integer):  # the root of a product need not be the product of roots
                    factors.append((base, sign * power))
                    continue
                content, primitive = _split(sp.expand(base))
                factors += [(f, sign * power * n) for f, n in content] + [(primitive, sign * power)]
        return factors

    def _reciprocal(self, form: sp.Expr) -> sp.Expr:
        out = sp.Integer(1)
        for factor, power in self._factors(form):
            stands = factor.is_Add and power.is_Integer and power > 0
            out *= self._stand_in("R", factor) ** power if stands else factor**-power
        if out.has(sp.zoo, sp.nan):
            raise TypeError(f"no normal form with a division by {form}, which is 0")
        return out

    def _log(self, form: sp.Expr) -> sp.Expr:
        factors = self._factors(form)
        if not all(f.is_positive for f, _ in factors):  # log(fg) = log f + log g is for positive f and g
            return self._stand_in("L", sp.Mul(*(f**n for f, n in factors)))
        return sp.Add(*(n * self._log_factor(f) for f, n in factors))

    def _log_factor(self, factor: sp.Expr) -> sp.Expr:
        if factor == 1:
            return sp.Integer(0)
        return self._meaning[factor][1] if self._kind(factor) == "X" else self._stand_in("L", factor)

    def _clear(self, form: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
        """Return the form times its highest power of 1/p, expanded."""
        by_power: dict[sp.Integer, list[sp.Expr]] = {}
        for term in sp.Add.make_args(form):
            power = term.as_powers_dict().get(symbol, sp.Integer(0))
            if not (power.is_Integer and power >= 0):
                raise TypeError(f"no normal form with a reciprocal to the power {power}: {term}")
            by_power.setdefault(power, []).append(term / symbol**power)
        top, p = max(by_power), self._meaning[symbol][1]
        return sp.Add(*(sp.expand(sp.Add(*terms) * p ** (top - n)) for n, terms in by_power.items()))


def _split(polynomial: sp.Expr) -> tuple[list[tuple[sp.Expr, sp.Expr]], sp.Expr]:
    """Return the common monomial of an expanded sum, as (symbol or number, power) pairs, and the rest."""
    terms = [dict(term.as_powers_dict()) for term in sp.Add.make_args(polynomial)]
    common = [(s, min(t.get(s, sp.Integer(0)) for t in terms)) for s in polynomial.free_symbols]
    shared = [(s, n) for s, n in common if n != 0]
    rest = sp.expand(polynomial / sp.Mul(*(s**n for s, n in shared)))
    content, primitive = rest.primitive()
    return [*shared, (content, sp.Integer(1))], primitive


@lru_cache(maxsize=256)  # a value, its gradient and its Hessian all begin with the same expression
def tidy(expr: sp.Expr) -> sp.Expr:
    """Return the same function without logarithms and exponentials that cancel."""
    normal = Normaliser()
    plain: sp.Expr = normal.back(normal(expr))
    return plain
