"""The structure map E_SAM of a part of an image, and the paper's "Reduce" (appendix B, Table 6).

Apart from encode.py, so that an edit of how values are found trains no encoder again.
"""

from __future__ import annotations

import numpy as np


def structure_map(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The structure map E_SAM, (H, W) or (H, W, C) float32, of values (n_atoms + 1,) or (n_atoms + 1, C).

    Raises:
        IndexError: a label beyond the values.
    """
    return values.take(labels, axis=0)


def is_informative(labels: np.ndarray) -> bool:
    """Whether a patch of a label map, of any shape, shows more than one area.

    Areas are counted, not values of E_SAM: two areas may have one mean.
    """
    return bool(labels.size) and bool((labels != labels.flat[0]).any())


def reduced(e_sam: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A patch of E_SAM; zeros if "all pixels belong to the same segmentation area".

    Args:
        e_sam: the patch, of any shape. labels: its part of the label map, at any resolution.
    """
    return e_sam if is_informative(labels) else np.zeros_like(e_sam)
