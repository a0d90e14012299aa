"""A run as a folder in the style of the Hugging Face hub: weights, config.json, a model card, a licence.

`model.safetensors` is a model file as any other (`models.model_file`), with a checksum of its tensors; a
denoiser has its `encoder.safetensors` beside it. So `samdiffsr upscale --checkpoint FOLDER` takes the folder
as it is, and `take` puts its models where a study looks for released ones.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from samdiffsr import __version__
from samdiffsr.checkpoints.card import model_card
from samdiffsr.checkpoints.released import STORED, check_model, model_path, models_of, released_path
from samdiffsr.config.config import Config
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import atomic_folder, atomic_path, read_json, sha256_file, write_json
from samdiffsr.core.layout import Kind, read_run
from samdiffsr.models.model_info import model_info

log = logging.getLogger(__name__)

CONFIG, CARD, LICENCE = "config.json", "README.md", "LICENSE"
MODEL_TYPE = "samdiffsr"


def write(
    config: Config,
    run: Run,
    folder: Path,
    root: Path = Path(),
    *,
    half: bool = False,
    licence: str = "mit",
    licence_file: Path | None = None,
) -> None:
    """Write the folder of one run.

    Args:
        folder: must not be there yet.
        half: store the averaged weights alone, in 16 bits. Networks compute as before; images may differ,
            in the tests by at most 3 grey levels.
        licence: of the weights, as the hub writes it (an SPDX identifier in small letters, or `other`).
        licence_file: its text; None: the repository's LICENSE.

    Raises:
        UserError: the folder is there; the run is not trained, or with another configuration; weights that 16
            bits cannot hold; `half` of a run that is sampled with other weights. Nothing is written then.
    """
    files = {kind: root / path for kind, path in _models(config, run).items()}
    for kind, path in files.items():
        if not path.exists():
            raise UserError(f"{path}: not there yet; run `snakemake {path}` first")
        check_model(path.relative_to(root), config, kind, run, root)
    text = licence_file or root / LICENCE
    if not text.exists():
        raise UserError(f"{text}: no such file; give --licence-file")
    if half and config.weights(run.variant)[0] != "ema":
        raise UserError(f"{run.name}: is reported with its last step's weights; leave out --half")
    names = _names(files)
    with atomic_folder(folder) as part:
        hashes: dict[str, str] = {}
        encoder = None  # its hash, which the denoiser's file holds
        for kind, path in files.items():
            target = part / names[kind]
            if half:
                _halve(path, target, encoder)
            else:
                shutil.copyfile(path, target)
            hashes[target.name] = encoder = sha256_file(target)
        info = model_info(part / "model.safetensors")
        write_json(part / CONFIG, _config(config, run, hashes, info, half))
        shutil.copyfile(text, part / LICENCE)
        card = model_card(config, run, info, root, half=half, licence=licence)
        (part / CARD).write_text(card, encoding="utf-8")
    log.info(f"{folder}: {run.name}, {', '.join(names.values())}")


def take(config: Config, folder: Path, root: Path = Path()) -> list[Path]:
    """Put a folder's models under checkpoints/, where `checkpoint_source: released` finds them.

    Raises:
        UserError: it is no such folder, is damaged, is not what config.yaml describes, or another model is in
            its place. Nothing is copied then.
    """
    from samdiffsr.models.model_file import open_model

    if not (folder / CONFIG).exists():
        raise UserError(f"{folder}: holds no {CONFIG}; give a folder that `samdiffsr release --hub` wrote")
    told = read_json(folder / CONFIG)
    if not isinstance(told, dict) or told.get("model_type") != MODEL_TYPE:
        raise UserError(f"{folder}: not written by `samdiffsr release --hub`")
    name = told["run"]
    found = read_run(name)
    if found is None or found[0] not in config.variants:
        raise UserError(f"{folder}: run {name!r} is of no variant in config.yaml; add the variant first")
    variant, scale, seed = found
    run = Run(variant=variant, scale=scale, seed=seed)
    kinds = models_of(config, run)
    places = {kind: folder / file for kind, file in _names(kinds).items()}
    hashes = {}
    for kind, path in places.items():
        hashes[kind] = open_model(path).sha256  # its checksum is looked at
        check_model(path.absolute(), config, kind, run, root)
    if "runs" in places and model_info(places["runs"])["digests"]["encoder"] != hashes["encoders"]:
        raise UserError(f"{folder}: its encoder is not the one that its denoiser was trained with")
    targets = {kind: released_path(config, kind, run) for kind in kinds}
    for kind, target in targets.items():
        if (root / target).exists() and sha256_file(root / target) != hashes[kind]:
            raise UserError(f"{target}: another model is there; move it away first")
    for kind, target in targets.items():
        with atomic_path(root / target) as part:
            shutil.copyfile(places[kind], part)
        log.info(f"{target} from {places[kind]}")
    log.info("now: --config checkpoint_source=released")
    return list(targets.values())


def _models(config: Config, run: Run) -> dict[Kind, Path]:
    kinds = models_of(config, run)
    if not kinds:
        kind = config.variants[run.variant].kind
        raise UserError(f"{run.name}: a variant of kind {kind!r} has no weights to release")
    return {kind: model_path(config, kind, run) for kind in kinds}


def _names(kinds: Any) -> dict[Kind, str]:
    """The folder's files: the run's own network is its model, whatever it is."""
    return {kind: "encoder.safetensors" if kind == "encoders" and "runs" in kinds else "model.safetensors"
            for kind in kinds}  # fmt: skip


def _halve(source: Path, target: Path, encoder: str | None) -> None:
    """A model file's averaged weights in 16 bits; encoder: the hash of the file that they now belong to."""
    import torch

    from samdiffsr.models.model_file import open_model, save_model

    file = open_model(source)
    averaged = {name: tensor.half() for name, tensor in file.weights("ema").items()}
    for name, tensor in averaged.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{source}: {name} has values that 16 bits cannot hold; leave out --half")
    digests = dict(file.info["digests"]) | ({} if encoder is None else {"encoder": encoder})
    stored = {"dtype": "float16", "weights": ["ema"], "of": file.sha256}
    info = {**file.info, "digests": digests, STORED: stored}
    save_model(target, {}, averaged, info)


def _config(
    config: Config, run: Run, hashes: dict[str, str], info: dict[str, Any], half: bool
) -> dict[str, Any]:
    drawn = config.variants[run.variant].kind == "denoiser"
    return {
        "model_type": MODEL_TYPE,
        "run": run.name,
        "variant": run.variant,
        "label": config.variants[run.variant].label,
        "scale": run.scale,
        "seed": run.seed,
        "study": config.study,
        "dtype": "float16" if half else "float32",
        "files": dict(sorted(hashes.items())),
        "recipe": info["recipe"],
        "digests": info["digests"],
        "sampling": config.chain(run.variant).model_dump() if drawn else None,
        "samdiffsr_version": __version__,
    }
