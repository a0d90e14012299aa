"""The formats of score files: a row an image and metric; a row a metric of no single image."""

from __future__ import annotations

from typing import Any

from samdiffsr.core.files import as_cell
from samdiffsr.evaluation.metrics import METRICS, CostMetric

IMAGE_COLUMNS = ("run", "weights", "dataset", "image", "metric", "value", "why_empty", "protocol")
SET_COLUMNS = ("run", "weights", "dataset", "metric", "value", "sd", "n", "why_empty", "protocol")

NO_TRUTH = "no ground truth"  # why a score is empty


def image_row(
    *,
    run: str,
    weights: str,
    dataset: str,
    image: str,
    metric: str,
    value: float | None,
    why_empty: str,
    protocol: str,
) -> dict[str, Any]:
    """A row of IMAGE_COLUMNS; `why_empty` stands in it if `value` is None."""
    return {
        "run": run,
        "weights": weights,
        "dataset": dataset,
        "image": as_cell(image),
        "metric": metric,
        "value": _text(metric, value),
        "why_empty": why_empty if value is None else "",
        "protocol": protocol,
    }


def set_row(
    *,
    run: str,
    weights: str,
    dataset: str,
    metric: str,
    value: float | None,
    sd: float | None,
    n: int,
    why_empty: str,
    protocol: str,
) -> dict[str, Any]:
    """A row of SET_COLUMNS."""
    return {
        "run": run,
        "weights": weights,
        "dataset": dataset,
        "metric": metric,
        "value": _text(metric, value),
        "sd": _text(metric, sd),
        "n": n,
        "why_empty": why_empty,
        "protocol": protocol,
    }


def _text(metric: str, value: float | None) -> str:
    """A value as score files hold it: counts whole, other costs to six digits, scores to their decimals."""
    if value is None:
        return ""
    entry = METRICS[metric]
    if not isinstance(entry, CostMetric):
        return f"{value:.{entry.digits}f}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
