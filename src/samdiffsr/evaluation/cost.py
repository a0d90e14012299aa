"""What a run costs: parameters, training time, time and memory an image.

Times come from the runs' own records, and the device's name stands where the other metrics have their
protocol: a time without a device says nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from samdiffsr.core.files import read_json, write_csv
from samdiffsr.evaluation.metrics import METRICS, CostMetric
from samdiffsr.evaluation.scores import SET_COLUMNS, set_row

STEPS = 100_000  # that training time is given for


@dataclass(frozen=True)
class Records:
    """What there is of a run: model files, and the timing records of its training and of its images.

    None: the run has none. On the CPU a peak of memory is the whole process's.
    """

    sample: dict[str, Any]
    encoder: Path | None = None
    denoiser: Path | None = None
    training: dict[str, Any] | None = None


class Cost(NamedTuple):
    """One value, of how many measurements, why it is empty, and on what it was measured."""

    value: float | None
    n: int = 1
    why_empty: str = ""
    protocol: str = ""


def parameters(records: Records) -> Cost:
    """Weights of the denoiser."""
    return _count(records.denoiser)


def encoder_parameters(records: Records) -> Cost:
    """Weights of the encoder."""
    return _count(records.encoder)


def train_seconds(records: Records) -> Cost:
    """Seconds for 100 000 steps of the denoiser's training, extrapolated from those of the record."""
    record = records.training
    if record is None:
        return Cost(None, 0, "not trained here")
    steps = record["steps"]
    protocol = f"{_device(record)}; extrapolated from {steps} steps"
    return Cost(record["seconds"] / steps * STEPS, steps, protocol=protocol)


def train_memory(records: Records) -> Cost:
    """Bytes at the peak of the denoiser's training."""
    record = records.training
    if record is None:
        return Cost(None, 0, "not trained here")
    return Cost(record["peak_bytes"], protocol=_device(record))


def image_seconds(records: Records) -> Cost:
    """Seconds an image, the mean over the data set."""
    times = list(records.sample["seconds"].values())
    if not times:
        return Cost(None, 0, "not measured", protocol=_device(records.sample))
    return Cost(sum(times) / len(times), len(times), protocol=_device(records.sample))


def image_memory(records: Records) -> Cost:
    """Bytes at the peak of sampling."""
    peak = records.sample.get("peak_bytes")
    if not peak:
        return Cost(None, 0, "not measured", protocol=_device(records.sample))
    return Cost(peak, protocol=_device(records.sample))


def count_parameters(model: Path) -> int:
    """Number of weights in a model file."""
    import safetensors

    from samdiffsr.models.model_file import open_model

    open_model(model)
    with safetensors.safe_open(model, "np") as file:
        names = [name for name in file.keys() if name.startswith("raw.")]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in names)


def cost(
    run: str,
    dataset: str,
    out: Path,
    samples: list[Path],
    encoder: Path | None = None,
    denoiser: Path | None = None,
    training: Path | None = None,
) -> None:
    """Write the CSV `out` (columns: SET_COLUMNS) of every cost metric of one run on one data set.

    Args:
        samples: timing records of the sample stage, headline weights first: that one is used.
        encoder, denoiser: model files that the run has. training: timing record of the denoiser's training.
    """
    record = read_json(samples[0])
    records = Records(record, encoder, denoiser, None if training is None else read_json(training))
    rows: list[dict[str, Any]] = []
    for name, metric in METRICS.items():
        if not isinstance(metric, CostMetric):
            continue
        value, n, why, protocol = metric.function(records)
        rows.append(
            set_row(
                run=run,
                weights=record["weights"],
                dataset=dataset,
                metric=name,
                value=value,
                sd=None,
                n=n,
                why_empty=why,
                protocol=protocol,
            )
        )
    write_csv(out, SET_COLUMNS, rows)


def _count(model: Path | None) -> Cost:
    return Cost(None, 0, "has none") if model is None else Cost(count_parameters(model))


def _device(record: dict[str, Any]) -> str:
    threads = record.get("threads")
    many = record.get("processes", 1)
    text = record["device"] if many == 1 else f"{many} x {record['device']}"
    return f"{text}, {threads} thread{'s' * (threads != 1)}" if threads else text
