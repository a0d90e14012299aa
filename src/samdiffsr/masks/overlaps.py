"""What a pixel's value is where several masks lie over it."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from samdiffsr.core.registry import load
from samdiffsr.masks.registry import OVERLAPS


class OverlapRule(Protocol):
    """Values of atoms out of means of masks."""

    def __call__(
        self, n: int, atoms: np.ndarray, masks: np.ndarray, mean: np.ndarray, size: np.ndarray
    ) -> np.ndarray:
        """One value an atom, (n,) float64; index 0, which no mask covers, stays 0.

        Args:
            n: number of atoms, and one for the uncovered pixels.
            atoms, masks: (pairs,) int64: mask masks[j] holds atom atoms[j]; masks ascend.
            mean, size: of each mask, (K,) float64 and int64 pixels.
        """


def overlap_rule(name: str) -> OverlapRule:
    """The rule that OVERLAPS has under `name`; UserError if it has none."""
    rule: OverlapRule = load(OVERLAPS[name])
    return rule


def total(n: int, atoms: np.ndarray, masks: np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Equation (6): all of them."""
    return np.zeros(n) + np.bincount(atoms, mean[masks], n)  # which is of integers where there is no mask


def overwrite(n: int, atoms: np.ndarray, masks: np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The released code: the last one in the masks' order."""
    values = np.zeros(n)
    values[atoms] = mean[masks]  # of repeated indices the last assignment stays
    return values


def smallest(n: int, atoms: np.ndarray, masks: np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The one with fewest pixels, of equal ones the last."""
    rank = np.empty(len(size), np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(size))
    order = np.argsort(rank[masks], kind="stable")
    return overwrite(n, atoms[order], masks[order], mean, size)
