"""A study as an RO-Crate: a folder of what it read, ran and found, with metadata that other programs read.

Copied are the configuration, the workflow, tables, scores, curves, figures and the report page. Models and
sampled images stay where they are: the crate holds the models' hashes. Region masks are described in
Croissant, a file each. Both are read back by their own packages before the folder takes its place.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samdiffsr import __version__
from samdiffsr.checkpoints.croissant import describe_masks
from samdiffsr.config.config import Config
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.extras import optional
from samdiffsr.core.files import atomic_folder, sha256_file, write_csv, write_json
from samdiffsr.core.layout import Layout
from samdiffsr.data.catalogue import sources

log = logging.getLogger(__name__)

EXTRA = "records"
LEFT = ("samples", "steps", "draws")  # folders of sampled images
MODELS = "models.csv"
WORKFLOW, CONFIG = "Snakefile", "config.yaml"
RULES = "rules/*.smk"  # that the Snakefile includes
USED = "configuration.json"  # with what was laid over config.yaml, and defaults
TYPES = {
    ".csv": "text/csv", ".json": "application/json", ".md": "text/markdown", ".tex": "application/x-tex",
    ".png": "image/png", ".pdf": "application/pdf", ".html": "text/html", ".yaml": "application/yaml",
    ".bin": "application/octet-stream", ".npz": "application/octet-stream",
}  # fmt: skip


def export(config: Config, out: Path, root: Path = Path(), *, masks: bool = False, licence: str = "") -> None:
    """Write the record of the chosen study as the folder `out`.

    Args:
        out: must not be there yet. masks: copy the region masks too. licence: of the record.

    Raises:
        UserError: the folder is there, the study has no results, or the extra `records` is not installed.
    """
    rocrate = optional("rocrate.rocrate", EXTRA)
    optional("mlcroissant", EXTRA)
    results = root / Layout(config.study).results
    found = list(_results(results))
    if not found:
        raise UserError(f"{results}: no results yet; run `snakemake tables --config study={config.study}`")
    with atomic_folder(out) as part:
        for path in found:
            _copy(path, part / path.relative_to(root))
        for path in (root / CONFIG, root / WORKFLOW, *sorted(root.glob(RULES))):
            _copy(path, part / path.relative_to(root))
        # the mirror is a place on this machine
        write_json(part / USED, config.model_dump(mode="json", exclude={"mirror"}))
        write_csv(part / MODELS, ("file", "sha256"), _models(results, root))
        described = [
            describe_masks(config, mask_set, root, part, copy=masks, licence=licence)
            for mask_set in _mask_sets(config, root)
        ]
        _crate(rocrate, config, part, licence, found, root)
        read = rocrate.ROCrate(part)
        missing = [entity.id for entity in read.data_entities if not (part / entity.id).exists()]
        if missing:
            raise AssertionError(f"the crate names {missing[0]} and does not hold it")
    words = f"{len(found)} results, {len(described)} sets of masks"
    log.info(f"{out}: study {config.study}, {words}")


def _results(folder: Path) -> Iterator[Path]:
    """The files that say what was found."""
    for path in sorted(folder.rglob("*")):
        left = path.relative_to(folder).parts[0] in LEFT or path.name.startswith(".")
        if path.is_file() and not left and path.suffix != layout.MODEL[0]:
            yield path


def _models(results: Path, root: Path) -> list[dict[str, str]]:
    paths = sorted(results.rglob(f"*{layout.MODEL[0]}"))
    return [{"file": path.relative_to(root).as_posix(), "sha256": sha256_file(path)} for path in paths]


def _mask_sets(config: Config, root: Path) -> list[str]:
    """Of the levels and the variants in tables, placebos too, those whose masks are here."""
    tables = config.tables.values()
    variants = (config.mask_set(variant) for table in tables for variant in table.variants)
    sets = dict.fromkeys([*config.levels.values(), *(name for name in variants if name is not None)])
    scales = sorted({table.scale for table in tables})
    names = dict.fromkeys(config.mask_name(name, scale) for name in sets for scale in scales)
    train = config.chosen.train_set
    return [name for name in names if (root / f"{layout.regions(train, name)}{layout.REGIONS[0]}").exists()]


def _crate(rocrate: Any, config: Config, part: Path, licence: str, found: list[Path], root: Path) -> None:
    """The crate's metadata, of all files that lie in `part`."""
    ContextEntity = optional("rocrate.model.contextentity", EXTRA).ContextEntity
    crate = rocrate.ROCrate()
    crate.name = f"SAM-DiffSR, study {config.study}"
    crate.description = config.chosen.about
    if licence:
        crate.license = licence
    crate.add_workflow(
        str(part / WORKFLOW), WORKFLOW, main=True, lang="snakemake", properties={"version": __version__}
    )
    entities = {}
    for path in sorted(part.rglob("*")):
        name = path.relative_to(part).as_posix()
        if path.is_file() and name != WORKFLOW:
            about = {"name": name, "sha256": sha256_file(path), "contentSize": str(path.stat().st_size)}
            if kind := TYPES.get(path.suffix):
                about["encodingFormat"] = kind
            entities[name] = crate.add_file(str(path), name, properties=about)
    read = [crate.add(ContextEntity(crate, f"#{name}", _dataset(config, name)))
            for name in (config.chosen.train_set, *config.chosen.test_sets)]  # fmt: skip
    results = [entities[path.relative_to(root).as_posix()] for path in found]
    crate.add_action(
        crate.mainEntity,
        identifier="#run",
        object=[entities[USED], *read],
        result=results,
        properties={"name": f"samdiffsr {__version__} ran study {config.study}"},
    )
    crate.metadata.write(part)


def _dataset(config: Config, name: str) -> dict[str, Any]:
    """A data set that the study read and the crate does not hold."""
    spec = config.datasets[name]
    rows = [sources()[key] for key in spec.source if key in sources()]
    about = {
        "@type": "Dataset",
        "name": config.dataset_label(name),
        "description": "; ".join(row.title for row in rows) or f"source: {', '.join(spec.source)}",
        "usageInfo": "; ".join(row.terms for row in rows),
        "url": next((way.url for row in rows for way in row.ways if way.url), ""),
        "identifier": config.images_digest(name) or "",
    }
    return {key: value for key, value in about.items() if value}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
