"""A study from Python: its scores, tables, runs and masks, as the workflow left them.

    from samdiffsr import open_study

    study = open_study("demo")
    study.scores()                            # a DataFrame, a row for each value
    study.tables()["table2"]                  # the table as printed
    sr = study.run("sam_diffsr").restore(lr)  # uint8 (h, w, 3) -> uint8 (scale h, scale w, 3)
    study.masks("high")["coffee"].labels      # uint16 (H, W), 0 where no mask is
    study.e_sam("sam_diffsr", "coffee")       # float32 (H, W), or (H, W, C) of C numbers
    study.compare("sam_diffsr", "srdiff")     # the difference, its interval, and both in words

Nothing is computed but what is asked for, and nothing is written. Paths are those of `samdiffsr.core.layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samdiffsr.config.config import Config
from samdiffsr.config.overlays import configured
from samdiffsr.config.schema import Run
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout
from samdiffsr.core.registry import similar
from samdiffsr.evaluation.metrics import METRICS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from samdiffsr.data.store import Store
    from samdiffsr.diffusion.process import Process
    from samdiffsr.masks.regions import Regions
    from samdiffsr.masks.store import RegionStore


def open_study(
    name: str | None = None,
    root: str | Path = ".",
    *,
    configfile: Sequence[str | Path] = (),
    results: str = layout.SHOWN,
    **settings: Any,
) -> Study:
    """A study of config.yaml, whose results lie under `root`.

    Args:
        name: the study's name; None: the one that config.yaml chooses.
        root: the repository's root, where config.yaml, data/, work/ and results/ are.
        configfile: files merged over config.yaml, as with Snakemake's --configfile.
        results: the folder under `root` that holds the studies' results; results/kept has those that are
            under version control.
        settings: top-level settings instead of config.yaml's, e.g. device="cpu".

    Raises:
        UserError: no config.yaml there, or no such study or setting.
    """
    overlays = [Path(file) for file in configfile]
    config = configured(Path(root) / "config.yaml", overlays, study=name, **settings)
    return Study(config, Path(root), results)


@dataclass(frozen=True)
class Study:
    """One study; `open_study` makes it."""

    config: Config
    root: Path
    results: str = layout.SHOWN

    def scores(self) -> pd.DataFrame:
        """Scores of single images: run, weights, dataset, image, metric, value, why_empty, protocol.

        Values have the metric's own unit and sign (`samdiffsr.evaluation.metrics`); NaN where there is none.
        Runs that are not scored yet have no rows.

        Raises:
            UserError: nothing is scored yet.
        """
        from samdiffsr.core.files import from_cell
        from samdiffsr.reporting.frames import read_scores

        found = read_scores(self._scored())
        found = found.assign(image=found["image"].map(from_cell), value=found["number"])
        return found.drop(columns="number")

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that are made, by name: a row for each method, cells as printed.

        Raises:
            UserError: none is made yet.
        """
        import pandas as pd

        place = Layout(self.config.study)
        paths = {name: self._place(place.table(name)) for name in self.config.tables}
        made = {name: pd.read_csv(path, dtype=str) for name, path in paths.items() if path.exists()}
        if not made:
            raise UserError(f"study {self.config.study!r}: no table is made yet; {self._make('tables')}")
        return made

    def compare(
        self, of: str, minus: str, metric: str = "psnr_y", dataset: str | None = None, scale: int = 4
    ) -> dict[str, Any]:
        """One variant minus another, paired over images and seeds, as the tables claim it.

        Args:
            of: the variant whose gain is asked for.
            minus: the variant that it is compared with.
            metric: a metric of single images.
            dataset: a test set; None: the study's first.
            scale: the scale factor.

        Returns:
            mean, ci_low, ci_high, verdict, n_images, n_seeds and the other columns of a table's differences
            (`samdiffsr.evaluation.compare.Difference`; None where nothing can be said), and `words`.

        Raises:
            UserError: no such variant or metric, or one of the two is not scored there.
        """
        from samdiffsr.config.recipes.tables import row_recipe
        from samdiffsr.config.tables import Row
        from samdiffsr.reporting.frames import read_scores
        from samdiffsr.reporting.tables.differences import difference

        METRICS[metric]  # an unknown one is refused
        dataset = dataset or self.config.chosen.test_sets[0]
        rows = [
            row_recipe(self.config, Row(variant=self._known(name)), scale, {}, [dataset])
            for name in (of, minus)
        ]
        runs = [run for row in rows for run in row.runs]
        paths = [self._place(Layout(self.config.study).scores(run, dataset)) for run in runs]
        if missing := [path for path in paths if not path.exists()]:
            raise UserError(f"{missing[0]}: not scored yet; {self._make('tables')}")
        found = difference(read_scores(paths), rows[0], rows[1], dataset, metric)
        if found is None:
            raise UserError(f"{dataset}: no image has a {metric!r} of {of!r} or {minus!r}")
        return found

    def run(self, variant: str, scale: int = 4, seed: int | None = None) -> StudyRun:
        """The run of a variant, by default from the study's first seed.

        Raises:
            UserError: no such variant.
        """
        run = self.config.runs(self._known(variant), scale)[0]
        return StudyRun(self, run if seed is None else run.model_copy(update={"seed": seed}))

    def images(self, dataset: str, scale: int | None = None) -> Mapping[str, np.ndarray]:
        """The images of a data set by name, uint8 (H, W, 3), RGB, read one at a time.

        Args:
            scale: 2, 4 or 8: the LR images of that scale factor; None: the HR images.

        Raises:
            UserError: no such data set, or its images are not prepared yet.
        """
        from samdiffsr.data.store import Store

        if dataset not in self.config.datasets:
            raise UserError(f"no dataset {dataset!r} in config.yaml{similar(dataset, self.config.datasets)}")
        stem = layout.hr(dataset) if scale is None else layout.lr(dataset, scale)
        if not (self.root / f"{stem}.json").exists():
            raise UserError(f"{stem}: these images are not prepared yet; {self._make('data')}")
        return _ByName(Store(self.root / stem))

    def masks(self, level: str, scale: int = 4) -> Mapping[str, Regions]:
        """The regions of the training images by name, read one at a time.

        Args:
            level: one of the study's levels, e.g. "high", or a mask set that a variant names.
            scale: the scale factor of the LR images, for masks that are found on LR images.

        Raises:
            UserError: the study has no such level, or its masks are not made yet.
        """
        levels = self.config.levels
        if level not in levels:
            raise UserError(f"study {self.config.study!r}: no masks {level!r}; it has {', '.join(levels)}")
        stem = layout.regions(self.config.chosen.train_set, self.config.mask_name(levels[level], scale))
        if not (self.root / f"{stem}.json").exists():
            raise UserError(f"{stem}: these masks are not made yet; {self._make('masks')}")
        from samdiffsr.masks.store import RegionStore

        return _ByName(RegionStore(self.root / stem))

    def e_sam(self, variant: str, name: str, scale: int = 4) -> np.ndarray:
        """The structure map of a training image as a variant's training sees it (paper 4.2).

        Patches that show a single region are set to 0 in a training that has `reduce`; here they are not.

        Args:
            name: the image's name.
            scale: the scale factor of the LR images, for masks that are found on LR images.

        Returns:
            float32 (H, W), or (H, W, C) where a region has C numbers.

        Raises:
            UserError: no such variant or image, the variant has no masks, or they are not encoded yet.
        """
        from samdiffsr.config.recipes.stages import encoding_name
        from samdiffsr.sampling.restorers import structure_reader

        mask_set = self.config.mask_set(self._known(variant))
        if mask_set is None:
            raise UserError(f"variant {variant!r} has no masks, so it has no e_sam")
        train_set, masks = self.config.chosen.train_set, self.config.mask_name(mask_set, scale)
        values = layout.values(train_set, masks, encoding_name(self.config, variant))
        if not (self.root / values).exists():
            raise UserError(f"{values}: not encoded yet; {self._make(values)}")
        return structure_reader(self.root / layout.regions(train_set, masks), self.root / values)(name)

    def _known(self, variant: str) -> str:
        known = self.config.variants
        if variant not in known:
            raise UserError(f"no variant {variant!r} in config.yaml{similar(variant, known)}")
        return variant

    def _place(self, path: str | Path) -> Path:
        """A path of the layout, where this study's results lie."""
        return self.root / self.results / Path(path).relative_to(layout.SHOWN)

    def _scored(self) -> list[Path]:
        """The files of single images' scores."""
        every = self._place(Layout(self.config.study).scores("*", "*"))
        folder = every.parents[1]
        found = folder.glob(str(every.relative_to(folder)))
        paths = [path for path in sorted(found) if "." not in path.stem]
        if not paths:
            raise UserError(f"{folder}: nothing is scored yet; {self._make('tables')}")
        return paths

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
        """This run's rows of `Study.scores`.

        Raises:
            UserError: it is not scored yet.
        """
        scores = self.study.scores()
        mine = scores[scores["run"] == self.name]
        if mine.empty:
            raise UserError(f"{self.name}: not scored yet; {self.study._make('tables')}")
        return mine.reset_index(drop=True)

    @property
    def process(self) -> Process:
        """The diffusion that this denoiser is trained by: its tables, x_t and target.

        Raises:
            UserError: it is no denoiser.
        """
        from samdiffsr.models.denoiser import build_formulation

        variant = self.study.config.variants[self.run.variant]
        if variant.kind != "denoiser":
            raise UserError(f"{self.name}: a variant of kind {variant.kind!r} has no diffusion")
        return build_formulation(variant.formulation, self.study.config.diffusion, variant.options)

    def restore(
        self, image: np.ndarray, name: str = "image", watch: Callable[[int, np.ndarray], None] | None = None
    ) -> np.ndarray:
        """Enlarge an image as the study does.

        Args:
            image: uint8 (h, w, 3), RGB, the LR image.
            name: the noise depends on it and on the run's seed, so a test image under its own name comes out
                as the study has it.
            watch: of a denoiser: called before each network call with t (T down to 1) and x_t, the noisy
                residual image, float32 (scale h, scale w, 3).

        Returns:
            uint8 (scale h, scale w, 3).

        Raises:
            UserError: the run is not trained yet, is another program's, or needs masks at inference; the
                image is not of that kind.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype.name != "uint8":
            raise UserError(f"restore: {image.dtype} {image.shape}: the image must be uint8 (h, w, 3)")
        if watch is None:
            return self._restorer(image, name)
        if self.study.config.variants[self.run.variant].kind != "denoiser":
            raise UserError(f"{self.name}: nothing to watch: only a denoiser has steps")
        return self._restorer(image, name, watch)

    @cached_property
    def _restorer(self) -> Callable[..., np.ndarray]:
        from samdiffsr.checkpoints.released import model_path, models_of
        from samdiffsr.config.recipes.stages import sampling_recipe
        from samdiffsr.core.device import resolve_device, resolve_precision
        from samdiffsr.core.randomness import prepare_torch
        from samdiffsr.sampling import restorers

        config, root = self.study.config, self.study.root
        scored = config.weights(self.run.variant)[0]
        recipe = sampling_recipe(config, self.run, "raw" if scored == "raw" else "ema")
        if recipe.kind == "bicubic":
            return restorers.bicubic_restorer(recipe.scale)
        if recipe.kind == "baseline":
            raise UserError(f"{self.name}: made by another program, through the workflow alone")
        models = {kind: root / model_path(config, kind, self.run) for kind in models_of(config, self.run)}
        prepare_torch(config.chosen.threads)
        device = resolve_device(config.device)
        precision = resolve_precision(recipe.precision, device)
        if recipe.kind == "encoder":
            return restorers.encoder_restorer(models["encoders"], recipe.weights, device, precision)
        return restorers.DenoiserRestorer(models["runs"], models["encoders"], recipe, device, precision)


class _ByName(Mapping[str, Any]):
    """A store by the images' names."""

    def __init__(self, store: Store | RegionStore) -> None:
        self._store = store

    def __getitem__(self, name: str) -> Any:
        if name not in self._store.names:
            raise KeyError(name)
        return self._store[self._store.index(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._store.names)

    def __len__(self) -> int:
        return len(self._store)
