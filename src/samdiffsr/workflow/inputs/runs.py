"""What is read of models and samples: which files train a run, bring its networks, and draw its images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from samdiffsr.checkpoints.released import check_model, made_here, model_path, models_of
from samdiffsr.config.config import Config
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Kind, Layout
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.workflow.availability import absent
from samdiffsr.workflow.inputs.stores import Files, Undated, structure


def run_of(config: Config, variant: str, scale: int, seed: int) -> Run:
    if variant not in config.variants:
        raise UserError(f"no variant {variant!r} in config.yaml")
    return Run(variant=variant, scale=scale, seed=seed)


def model(config: Config, kind: Kind, run: Run) -> Files:
    """Files that bring a model: trained here, or released, which no rule makes: none is ever retrained."""
    path = model_path(config, kind, run)
    if made_here(config, run):
        return {"file": str(path)}
    if not path.exists():
        raise UserError(
            f"{path} is not here: fetch it with `dvc pull {path}`, or train it with "
            "--config checkpoint_source=trained"
        )
    check_model(path, config, kind, run)
    pointer = Path(f"{path}.dvc")
    found: Files = {"file": Undated(path)}
    return found | ({"pointer": str(pointer)} if pointer.exists() else {})


def models(config: Config, run: Run, kinds: Iterable[Kind]) -> Files:
    """The same of several, each named after its kind: encoder_file, denoiser_file, ..."""
    names: dict[Kind, str] = {"encoders": "encoder", "runs": "denoiser"}
    return {
        f"{names[kind]}_{what}": path for kind in kinds for what, path in model(config, kind, run).items()
    }


def denoiser_training(config: Config, variant: str, scale: int, seed: int) -> Files:
    """The encoder and the masks; the images are the same for all."""
    run = run_of(config, variant, scale, seed)
    found = models(config, run, ["encoders"])
    mask_set = config.mask_set(variant)
    if mask_set is None:
        return found
    return found | structure(config, variant, config.chosen.train_set, mask_set, scale)


def imported(config: Config) -> list[str]:
    """The variants that others trained."""
    return [name for name, variant in config.variants.items() if variant.foreign is not None]


def untrained(config: Config) -> list[str]:
    """The denoisers that no training makes: those that others trained, and those of another's networks."""
    own = [name for name in config.variants if config.model_of(name) != name]
    return [*imported(config), *own]


def foreign_file(config: Config, variant: str, kind: Kind) -> str:
    """Others' file that holds a network of this kind."""
    foreign = config.variants[variant].foreign
    assert foreign is not None, variant
    path = foreign.encoder_file if kind == "encoders" else foreign.denoiser
    if not Path(path).exists():
        raise UserError(f"variant {variant}: {absent(config, variant, '', 4)}")
    return path


def baseline_place(config: Config, variant: str, dataset: str, scale: int) -> str:
    """A baseline's folder or network file; empty for other variants."""
    baseline = config.baselines.get(variant)
    return "" if baseline is None else baseline.place(dataset, scale)


def baseline_images(config: Config, variant: str, dataset: str, scale: int) -> list[Path]:
    """The files of a baseline that is a folder of images; what they hold is a parameter (`arguments`)."""
    baseline = config.baselines.get(variant)
    if baseline is None or baseline.adapter != "images":
        return []
    place = Path(baseline_place(config, variant, dataset, scale))
    return sorted(path for path in place.rglob("*") if path.is_file())


def baseline_networks(config: Config, variant: str, dataset: str, scale: int) -> list[str]:
    """The files of a baseline's network."""
    if why := absent(config, variant, dataset, scale):
        raise UserError(f"baseline {variant}: {why}")
    place = baseline_place(config, variant, dataset, scale)
    if not place or config.baselines[variant].adapter == "images":
        return []
    if os.path.isdir(place):
        return sorted(str(path) for path in Path(place).rglob("*") if path.is_file())
    return [place]


def sampling(config: Config, variant: str, scale: int, seed: int, dataset: str) -> Files:
    """What brings a run's images, beside the LR images."""
    run = run_of(config, variant, scale, seed)
    found = models(config, run, models_of(config, run))
    if config.variants[variant].kind == "baseline":
        found["baseline"] = baseline_networks(config, variant, dataset, scale)
    if FORMULATIONS[config.variants[variant].formulation].needs_masks:
        # there is no HR image at inference: its masks come from LR, whatever it was trained with
        assert config.inference_masks is not None  # config.yaml was checked
        found |= structure(config, variant, dataset, config.inference_masks, scale)
    return found


def sample_parts(
    config: Config, variant: str, scale: int, seed: int, weights: str, dataset: str, suffix: str
) -> list[str]:
    """The parts of one run's images, in their order; what is neither trained nor random is not worth
    sharing."""
    run = run_of(config, variant, scale, seed)
    parts = 1 if config.trivial(variant) else config.chosen.sample_shards
    spell = Layout(config.study).sample_part
    return [spell(run.name, weights, dataset, part, parts) + suffix for part in range(parts)]
