"""Cosine, sine and Bessel's J1 to 40 digits: the same on every machine, as those of a C library are not."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

DIGITS = 40
_WORKING = 80  # J1's terms reach 1e19 at the largest argument (45) before they cancel
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")


def cosine(x: Decimal) -> Decimal:
    """cos x, |x| up to about 40."""
    return _series(x, Decimal(1), 1)


def sine(x: Decimal) -> Decimal:
    """sin x, |x| up to about 40."""
    return _series(x, x, 2)


def _series(x: Decimal, first: Decimal, k: int) -> Decimal:
    """The sum of `first` and the terms that follow from it by -x^2 / (k (k + 1)), k growing by 2."""
    with localcontext(Context(prec=_WORKING)):
        total = term = first
        while abs(term) > Decimal(10) ** -DIGITS:
            term *= -x * x / (k * (k + 1))
            total += term
            k += 2
    return total


def bessel_j1(x: Decimal) -> Decimal:
    """J1(x), 0 <= x <= 50, by its power series."""
    with localcontext(Context(prec=_WORKING)):
        half = x / 2
        total = term = half
        m = 0
        while abs(term) > Decimal(10) ** -DIGITS:
            m += 1
            term *= -half * half / (m * (m + 1))
            total += term
    return total
