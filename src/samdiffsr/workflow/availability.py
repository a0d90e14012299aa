"""What a study needs from outside, and which of its test sets and other methods can be had, by names of files
alone."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.core.errors import UserError
from samdiffsr.data.catalogue import Source, sources
from samdiffsr.data.fetch import in_mirror, is_url
from samdiffsr.data.images import look_into
from samdiffsr.data.verify import taken_files
from samdiffsr.evaluation.metrics import Metric, weight_keys


def needed_sources(config: Config) -> list[Source]:
    """The rows of sources.yaml behind the chosen study's training and test sets."""
    names = (config.chosen.train_set, *config.chosen.test_sets)
    keys = {key for name in names for key in config.datasets[name].source}
    return [sources()[key] for key in sorted(keys & set(sources()))]


def needed_weights(config: Config) -> list[str]:
    """Keys of weights.yaml that the chosen study's masks and metrics use."""
    keys = set(weight_keys(config.asked(Metric)))
    keys |= {config.mask_sets[name].segmenter.needed_weights for name in config.levels.values()} - {""}
    return sorted(keys)


def missing_test_sets(config: Config, root: Path = Path()) -> dict[str, str]:
    """The chosen study's test sets that cannot be had here: name -> why, and what to do.

    With a mirror folder set, the machine counts as one without internet: a set that is neither there nor in
    the mirror is missing. Without one, whatever has an address can be had.
    """
    found = {}
    for name in config.chosen.test_sets:
        dataset = config.datasets[name]
        for key in dataset.source:
            if key in sources() and (why := _missing(sources()[key], config.mirror, root)):
                found[name] = why
        if "local" in dataset.source:
            given = [folder for folder in dataset.lr if "{scale}" not in folder]
            for folder in (*dataset.folder, *given):
                path = root / folder
                if not path.is_dir() or not look_into(path).images:
                    found[name] = f"no images in {folder}"
    return found


def _missing(source: Source, mirror: str | None, root: Path) -> str:
    if (root / source.stamp).exists() or taken_files(source, root / source.folder):
        return ""
    if in_mirror(source, mirror):
        return ""
    if mirror is not None and not is_url(mirror):
        return f"not in {source.folder} and not in the mirror {mirror}; see `samdiffsr fetch {source.key}`"
    if source.downloadable:
        return ""
    return f"must be supplied by hand; see `samdiffsr fetch {source.key}`"


def absent(config: Config, variant: str, dataset: str, scale: int, root: Path = Path()) -> str:
    """Why another method's images cannot be had here, and what to do; empty if they can, and for our own."""
    foreign = config.variants[variant].foreign
    for file in foreign.files if foreign else ():
        if not (root / file).exists():
            key = Path(file).parent.name
            where = f"; `samdiffsr fetch {key}` says where from" if key in sources() else ""
            return f"{file} is not here{where}"
    if (baseline := config.baselines.get(variant)) is None:
        return ""
    origin = f"; {baseline.url}" if baseline.url else ""
    if baseline.adapter == "command":
        program = shlex.split(baseline.command)[0]
        return "" if shutil.which(program) else f"no program {program!r} here{origin}"
    place = baseline.place(dataset, scale)
    return "" if (root / place).exists() else f"{place} is not here{origin}"


def absences(config: Config, table: str, root: Path = Path()) -> dict[str, dict[str, str]]:
    """Variant -> data set -> why another method's images for a table cannot be had here."""
    spec = config.tables[table]
    found: dict[str, dict[str, str]] = {}
    for variant in spec.variants:
        for dataset in config.table_datasets(table):
            if why := absent(config, variant, dataset, spec.scale, root):
                found.setdefault(variant, {})[dataset] = why
    return found


def all_absences(config: Config, root: Path = Path()) -> dict[str, dict[str, dict[str, str]]]:
    """The same of every table."""
    return {table: absences(config, table, root) for table in config.tables}


def with_present_test_sets(config: Config, root: Path = Path()) -> Config:
    """The configuration without the missing test sets; UserError with `missing_test_sets: fail`."""
    missing = missing_test_sets(config, root)
    if not missing:
        return config
    if config.missing_test_sets == "fail":
        name, why = next(iter(missing.items()))
        raise UserError(f"test set {name}: {why} (or set missing_test_sets: skip)")
    return config.without(missing)
