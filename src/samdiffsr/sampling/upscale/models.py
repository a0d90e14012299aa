"""A denoiser and the encoder that it was trained with, wherever they lie."""

from __future__ import annotations

from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_file
from samdiffsr.core.recognise import pull
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.models.model_info import model_info

RELEASED = Path("checkpoints/upscale/rrdb")  # in the repository: what images are enlarged with by default


def find_models(run: Path | None, encoder: Path | None = None) -> dict[str, Path]:
    """The model files of a run: {"encoder": ..., "denoiser": ...}, or the encoder alone where `run` is one.

    Args:
        run: a model file or the folder that holds one, as the workflow or a release lays them; None: the
            network that the repository releases.
        encoder: the denoiser's, if it does not lie where these do; a file or a folder.

    Raises:
        UserError: no such model, or no encoder of the recorded hash; a network that needs masks.
    """
    if run is None and not RELEASED.exists():
        raise UserError(f"{RELEASED} is not here: run this in the repository's root, or give --checkpoint")
    path = _model_file(run or RELEASED)
    recipe = (info := model_info(path))["recipe"]
    if recipe["kind"] == "encoder":
        return {"encoder": path}
    if FORMULATIONS[recipe["formulation"]].needs_masks:
        raise UserError(f"{path}: this network needs region masks at inference; choose another run")
    if encoder is not None:
        return {"encoder": _model_file(encoder), "denoiser": path}
    # a release lays encoders beside the run's file; the workflow in encoders/ beside runs/
    near = [*path.parent.glob("encoder*.safetensors"), *path.parents[1].glob("encoder*/*.safetensors")]
    if len(path.parents) > 2:
        near += path.parents[2].glob("encoders/*/model.safetensors")
    wanted = info["digests"]["encoder"]
    for candidate in sorted(set(near)):
        if sha256_file(candidate) == wanted:
            return {"encoder": candidate, "denoiser": path}
    cure = pull(path.with_name("encoder.safetensors")) or "; give --encoder"
    raise UserError(f"{path}: the encoder it was trained with (SHA-256 {wanted[:16]}) is not beside it{cure}")


def _model_file(path: Path) -> Path:
    if path.is_dir():
        model = path / "model.safetensors"
        if not model.exists():
            help_ = pull(model) or "; give the folder or the file of a trained run"
            raise UserError(f"{path}: holds no model.safetensors{help_}")
        return model
    if not path.exists():
        runs = {*path.parent.glob("*/model.safetensors"), *path.parent.glob("*.safetensors")}
        there = sorted(p.parent.name if p.name == "model.safetensors" else p.name for p in runs)
        near = f"; {path.parent} has {', '.join(there)}" if there else ""
        raise UserError(f"{path}: no such run{pull(path) or near}")
    return path
