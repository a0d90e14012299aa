"""The artifact map of LDL (Liang et al., CVPR 2022), as the paper's Table 3 uses it.

LDL weights each pixel by the local variance of the residual and each image by its global variance. It is a
loss weight and needs a second (EMA) network for its mask; the paper averages it into a metric without saying
how. Here: R = sum over RGB of |HR - SR| on [0, 1]; map = var_7x7(R) * var(R)^(1/5); no mask. The map grows
like MSE^1.2, so the score is largely PSNR in other words: `artifact_excess` divides that out. The paper's
absolute scale is not known; compare ratios between methods with it, never absolute values.
"""

from __future__ import annotations

import numpy as np

WINDOW = 7
EXPONENT = 1 / 5
MSE_EXPONENT = 1 + EXPONENT  # R scaled by a scales the map by a^2 * a^(2/5) = (a^2)^1.2


def artifact_map(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Artifact strength of every pixel.

    Args:
        sr, hr: uint8 (H, W, 3) of equal shape, H and W at least 4 (reflect padding of 3).

    Returns float64 (H, W), 0 or more: unbiased variance of R in a 7x7 window (stride 1, reflect padding)
    times the fifth root of R's unbiased variance over the image. Source: LDL's loss, without the EMA mask.
    Raises ValueError for shapes that differ or are too small.
    """
    if sr.shape != hr.shape:
        raise ValueError(f"artifact map of images of different shape: {sr.shape} and {hr.shape}")
    if min(sr.shape[:2]) <= WINDOW // 2:
        raise ValueError(
            f"artifact map of an image of {sr.shape[:2]}: reflect padding needs at least 4 pixels a side"
        )
    # R x 255 is a whole number below 766, so everything up to the last line is exact
    residual = np.abs(hr.astype(np.int64) - sr).sum(axis=2)
    padded = np.pad(residual, WINDOW // 2, mode="reflect")
    n = WINDOW**2
    numerator = n * _window_sums(padded**2) - _window_sums(padded) ** 2
    local = numerator / (n * (n - 1) * 255**2)
    return local * (residual.var(ddof=1) / 255**2) ** EXPONENT


def _window_sums(x: np.ndarray) -> np.ndarray:
    """Sum of every 7x7 window of an integer image, by an integral image: (H+6, W+6) -> (H, W)."""
    integral = np.pad(x, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    rows = integral[WINDOW:] - integral[:-WINDOW]
    return rows[:, WINDOW:] - rows[:, :-WINDOW]


def artifact_score(sr: np.ndarray, hr: np.ndarray) -> float:
    """100 x the mean of `artifact_map`: 0 for identical images, about 0.5..1.5 for bicubic x4."""
    return float(100 * artifact_map(sr, hr).mean())


def artifact_excess(score: float, mse_rgb: float) -> float:
    """`artifact_score` over MSE^1.2: what is left of it once the error's energy is divided out.

    Args:
        score: from `artifact_score`.
        mse_rgb: mean squared error over pixels and RGB on [0, 1].

    Returns NaN for identical images (there is no artifact to be in excess of anything).
    """
    return score / mse_rgb**MSE_EXPONENT if mse_rgb > 0 else float("nan")
