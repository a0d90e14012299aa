"""A study from Python: its scores, tables, runs and masks, as the workflow left them.

    from samdiffsr import open_study

    study = open_study("demo")
    study.scores()                            # a DataFrame, a row a value
    study.tables()["table2"]                  # the table as printed
    sr = study.run("sam_diffsr").restore(lr)  # uint8 (h, w, 3) -> uint8 (scale h, scale w, 3)
    study.masks("high")["coffee"].labels      # uint16 (H, W), 0 where no mask is

Nothing is computed but what is asked for, and nothing is written. Paths are those of `samdiffsr.core.layout`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samdiffsr.config.config import Config
from samdiffsr.config.overlays import configured
from samdiffsr.config.schema import Level, Run
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout
from samdiffsr.core.registry import similar

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from samdiffsr.masks.regions import Regions
    from samdiffsr.sampling.restorers import Restorer


def open_study(name: str | None = None, root: str | Path = ".", **settings: Any) -> Study:
    """A study of config.yaml, whose results lie under `root`.

    Args:
        name: of the study; None: the one that config.yaml chooses.
        root: the repository's root, where config.yaml, data/, work/ and results/ are.
        settings: top-level settings instead of config.yaml's, e.g. device="cpu".

    Raises:
        UserError: no config.yaml there, or no such study or setting.
    """
    config = configured(Path(root) / "config.yaml", study=name, **settings)
    return Study(config, Path(root))


@dataclass(frozen=True)
class Study:
    """One study; `open_study` makes it."""

    config: Config
    root: Path

    def scores(self) -> pd.DataFrame:
        """Scores of single images: run, weights, dataset, image, metric, value, why_empty, protocol.

        Values have the metric's own unit and sign (`samdiffsr.evaluation.metrics`); NaN where there is none.
        Runs that are not scored yet have no rows.

        Raises:
            UserError: nothing is scored yet.
        """
        return self._rows("*/*.csv")

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that are made, name -> a row a method, cells as printed.

        Raises:
            UserError: none is made yet.
        """
        import pandas as pd

        place = Layout(self.config.study)
        paths = {name: self.root / place.table(name) for name in self.config.tables}
        made = {name: pd.read_csv(path, dtype=str) for name, path in paths.items() if path.exists()}
        if not made:
            raise UserError(f"study {self.config.study!r}: no table is made yet; {self._make('tables')}")
        return made

    def run(self, variant: str, scale: int = 4, seed: int | None = None) -> StudyRun:
        """The run of a variant, by default from the study's first seed.

        Raises:
            UserError: no such variant.
        """
        known = self.config.variants
        if variant not in known:
            raise UserError(f"no variant {variant!r} in config.yaml{similar(variant, known)}")
        run = self.config.runs(variant, scale)[0]
        return StudyRun(self, run if seed is None else run.model_copy(update={"seed": seed}))

    def masks(self, level: Level, scale: int = 4) -> Mapping[str, Regions]:
        """The regions of the training images by name, read one at a time.

        Args:
            level: high, medium or low. scale: at which masks that are found on LR images are looked at.

        Raises:
            UserError: the study has no such level, or its masks are not made yet.
        """
        levels = self.config.chosen.masks
        if level not in levels:
            raise UserError(f"study {self.config.study!r}: no masks {level!r}; it has {', '.join(levels)}")
        stem = layout.regions(self.config.chosen.train_set, self.config.mask_name(levels[level], scale))
        if not (self.root / f"{stem}.json").exists():
            raise UserError(f"{stem}: these masks are not made yet; {self._make('masks')}")
        return _Masks(self.root / stem)

    def _rows(self, pattern: str) -> pd.DataFrame:
        import pandas as pd

        folder = self.root / Layout(self.config.study).results / "scores"
        paths = [path for path in sorted(folder.glob(pattern)) if "." not in path.stem]
        if not paths:
            raise UserError(f"{folder}: nothing is scored yet; {self._make('tables')}")
        return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)

    def _make(self, target: str) -> str:
        return f"run `snakemake --cores 2 {target} --config study={self.config.study}`"


@dataclass(frozen=True)
class StudyRun:
    """One run of a study: a variant at a scale factor from a seed."""

    study: Study
    run: Run

    @property
    def name(self) -> str:
        """E.g. sam_diffsr-x4-s0."""
        return self.run.name

    def scores(self) -> pd.DataFrame:
        """The rows of `Study.scores` that are this run's.

        Raises:
            UserError: it is not scored yet.
        """
        return self.study._rows(f"{self.name}/*.csv")

    def restore(self, image: np.ndarray, name: str = "image") -> np.ndarray:
        """Enlarge an image as the study does.

        Args:
            image: uint8 (h, w, 3), RGB, the LR image.
            name: the noise depends on it and on the run's seed, so a test image under its own name comes out
                as the study has it.

        Returns:
            uint8 (scale h, scale w, 3).

        Raises:
            UserError: the run is not trained yet, is another program's, or needs masks at inference; the
                image is not of that kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype.name != "uint8":
            raise UserError(f"restore: {image.dtype} {image.shape}: the image must be uint8 (h, w, 3)")
        return self._restorer(image, name)

    @cached_property
    def _restorer(self) -> Restorer:
        from samdiffsr.checkpoints.released import models_of, released_path, trained_path
        from samdiffsr.config.recipes.stages import sampling_recipe
        from samdiffsr.core.device import resolve_device, resolve_precision
        from samdiffsr.core.randomness import prepare_torch
        from samdiffsr.sampling import restorers

        config, root = self.study.config, self.study.root
        recipe = sampling_recipe(config, self.run, "ema")
        if recipe.kind == "bicubic":
            return restorers.bicubic_restorer(recipe.scale)
        if recipe.kind == "baseline":
            raise UserError(f"{self.name}: made by another program, through the workflow alone")
        where = released_path if config.checkpoint_source == "released" else trained_path
        models = {kind: root / where(config, kind, self.run) for kind in models_of(config, self.run)}
        prepare_torch(config.chosen.threads)
        device = resolve_device(config.device)
        precision = resolve_precision(recipe.precision, device)
        if recipe.kind == "encoder":
            return restorers.encoder_restorer(models["encoders"], recipe.weights, device, precision)
        return restorers.denoiser_restorer(models["runs"], models["encoders"], recipe, device, precision)


class _Masks(Mapping[str, "Regions"]):
    """A region store by the images' names."""

    def __init__(self, stem: Path) -> None:
        from samdiffsr.masks.store import RegionStore

        self._store = RegionStore(stem)

    def __getitem__(self, name: str) -> Regions:
        if name not in self._store.names:
            raise KeyError(name)
        return self._store[self._store.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.names)

    def __len__(self) -> int:
        return len(self._store)
