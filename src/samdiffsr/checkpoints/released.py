"""Released checkpoints: source files that no rule makes, used only if they are what config.yaml describes.

`checkpoints/<study>/<run>.safetensors` and `checkpoints/<study>/encoder-<name>.safetensors`, each with its
DVC pointer beside it. Only heads of files are read here, so that the workflow can look at them while it
plans.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import denoiser_recipe, encoder_recipe
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import read_json, sha256_json
from samdiffsr.core.layout import REGIONS, STORE, Kind, Layout, hr, regions, run_name
from samdiffsr.models.model_info import model_info
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe

# Keys of a recipe that say how a machine computed and not what.
MACHINE = ("precision",)
STORED = "stored"  # key of a model file's info: what a release changed in how its tensors are kept


def encoder_name(config: Config, run: Run) -> str:
    """The encoder that a run uses."""
    return run_name(config.encoder_of(run.variant), run.scale, run.seed)


def model_name(config: Config, kind: Kind, run: Run) -> str:
    if kind == "encoders":
        return encoder_name(config, run)
    return run_name(config.model_of(run.variant), run.scale, run.seed)


def trained_path(config: Config, kind: Kind, run: Run) -> Path:
    """What the training rules make."""
    return Path(Layout(config.study).model(kind, model_name(config, kind, run)))


def released_path(config: Config, kind: Kind, run: Run) -> Path:
    """What `samdiffsr release` makes of it."""
    return Path(Layout(config.study).released(kind, model_name(config, kind, run)))


def made_here(config: Config, run: Run) -> bool:
    """Whether a run's models are made here: a network that others trained is imported, never released."""
    return config.checkpoint_source == "trained" or config.variants[run.variant].foreign is not None


def model_path(config: Config, kind: Kind, run: Run) -> Path:
    """Where the study has a model."""
    return (trained_path if made_here(config, run) else released_path)(config, kind, run)


def models_of(config: Config, run: Run) -> list[Kind]:
    """Which models sampling from a run needs."""
    kinds: dict[str, list[Kind]] = {
        "bicubic": [],
        "encoder": ["encoders"],
        "denoiser": ["encoders", "runs"],
        "baseline": [],
    }
    return kinds[config.variants[run.variant].kind]


def regions_digest(path: Path) -> str | None:
    """Digest of a region store (path without suffix), out of its index; None if it is not there."""
    index = Path(f"{path}{REGIONS[0]}")
    if not index.exists():
        return None
    value = read_json(index)
    return sha256_json([value["digest"], value["meta"].get("members")])


def check_model(path: Path, config: Config, kind: Kind, run: Run, root: Path = Path()) -> dict[str, Any]:
    """Whether a model file is what config.yaml describes; returns its info.

    Compared are the training recipe, the weights to sample with, the training images (as the manifests or the
    stores at hand have them) and the training regions, if they are at hand.

    Raises:
        UserError: names the file and the first thing that differs.
    """
    info = model_info(root / path)
    recipe: EncoderRecipe | DenoiserRecipe
    if kind == "encoders":
        recipe = encoder_recipe(config, config.variants[run.variant].encoder, run.scale, run.seed)
    else:
        recipe = denoiser_recipe(config, run)
    cure = (
        "train it anew (--config checkpoint_source=trained), or get the release that belongs to this commit"
    )
    different = differences(info["recipe"], recipe.model_dump(mode="json"))
    if different:
        key, was, now = different[0]
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise UserError(f"{path}: was trained with {key} {was}, config.yaml says {now}{more}; {cure}")
    kept = info.get(STORED, {}).get("weights", config.weights(run.variant))
    if not {*config.weights(run.variant)} <= {*kept}:
        raise UserError(
            f"{path}: holds averaged weights alone; set sampling.weights: [ema] in study {config.study!r}"
        )
    digests, train_set = info["digests"], config.chosen.train_set
    wanted = config.images_digest(train_set)
    store = root / (hr(train_set) + STORE[0])
    if wanted is None and store.exists():
        wanted = read_json(store)["meta"].get("images_digest")
    if wanted is not None and digests.get("images") != wanted:
        raise UserError(f"{path}: was trained on other images than {train_set} has; {cure}")
    if kind == "runs" and (mask_set := config.mask_set(run.variant)) is not None:
        place = regions(train_set, config.mask_name(mask_set, run.scale))
        here = regions_digest(root / place)
        if here is not None and digests.get("labels") != here:
            raise UserError(f"{path}: was trained with other regions than {place}; {cure}")
    return info


def differences(was: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    """Where two JSON values differ, as (dotted key, old, new), in the order of the keys."""
    if isinstance(was, dict) and isinstance(now, dict):
        found = []
        for name in sorted({*was, *now} - set(MACHINE)):
            inner = f"{key}.{name}" if key else name
            found += differences(was.get(name), now.get(name), inner)
        return found
    return [] if was == now else [(key, was, now)]
