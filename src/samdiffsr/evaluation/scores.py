"""The formats of score files: a row an image and metric; a row a metric of no single image."""

from __future__ import annotations

IMAGE_COLUMNS = ("run", "weights", "dataset", "image", "metric", "value", "why_empty", "protocol")
SET_COLUMNS = ("run", "weights", "dataset", "metric", "value", "sd", "n", "why_empty", "protocol")

NO_TRUTH = "no ground truth"  # why a score is empty
