"""The recipes of the stages, out of the configuration."""

from __future__ import annotations

from samdiffsr.config.config import Config
from samdiffsr.config.schema import Run
from samdiffsr.core.errors import UserError
from samdiffsr.core.layout import Layout, hr
from samdiffsr.core.recipe import Scale
from samdiffsr.data.recipe import Bicubic, HrRecipe, LrRecipe, RealEsrgan
from samdiffsr.evaluation.metrics import ImageMetric, SamplesMetric, SetMetric, of_kind
from samdiffsr.evaluation.named import Definition
from samdiffsr.evaluation.recipe import ProtocolRecipe, SamplesRecipe, ScoreRecipe, SetScoreRecipe
from samdiffsr.masks.recipe import Encoding, MaskRecipe, StatisticsRecipe
from samdiffsr.models.recipe import ImportRecipe
from samdiffsr.reporting.figures.spec import Steps
from samdiffsr.sampling.recipe import BaselineRecipe, BicubicRecipe, SamplingRecipe, Weights
from samdiffsr.sampling.recipe import DenoiserRecipe as SampledDenoiser
from samdiffsr.sampling.recipe import EncoderRecipe as SampledEncoder
from samdiffsr.training.recipe import DenoiserRecipe, EncoderRecipe, Structure
from samdiffsr.training.watching import WatchRecipe


def dataset_recipe(config: Config, dataset: str) -> HrRecipe:
    """HR images of one data set."""
    spec = config.datasets[dataset]
    return HrRecipe(
        folder=spec.folder,
        exclude=spec.exclude,
        images=config.images_digest(dataset),
        reference=spec.reference,
    )


def lr_recipe(config: Config, dataset: str, scale: int) -> LrRecipe:
    """LR images of one data set."""
    spec, made = config.datasets[dataset], config.degradation_of(dataset)
    if isinstance(made, Bicubic):
        return LrRecipe(scale=scale, rounding=made.rounding)
    if isinstance(made, RealEsrgan):
        return LrRecipe(scale=scale, degradation=made)
    return LrRecipe(
        scale=scale, folder=spec.lr_folders(scale), exclude=spec.exclude, reference=spec.reference
    )


def mask_recipe(config: Config, mask_set: str) -> MaskRecipe:
    """Region maps of one data set."""
    return config.mask_sets[mask_set]


def statistics_recipe(config: Config, dataset: str, mask_set: str, scale: int) -> StatisticsRecipe:
    """Mask statistics of one data set, for the quality levels that the mask set stands for."""
    levels = [level for level, name in config.levels.items() if name == mask_set]
    return StatisticsRecipe(
        study=config.study,
        level=" ".join(levels),
        masks=mask_set,
        dataset=dataset,
        scale=scale,
        patch=config.chosen.training.patch,
    )


def encoding_recipe(config: Config, variant: str) -> Encoding:
    """Values per region (paper equation 6)."""
    return config.variants[variant].encoding


def encoding_name(config: Config, variant: str) -> str:
    """File name of an encoding: variants with equal encodings share it."""
    chosen = dict(encoding_recipe(config, variant))
    return "-".join((*(value for key, value in chosen.items() if key != "features"), *chosen["features"]))


def encoder_recipe(config: Config, encoder: str, scale: Scale, seed: int) -> EncoderRecipe:
    """L1 pretraining of the RRDB encoder."""
    return EncoderRecipe(
        **dict(config.chosen.encoders[encoder]),
        scale=scale,
        seed=seed,
        train_set=config.chosen.train_set,
        precision=config.precision,
    )


def denoiser_recipe(config: Config, run: Run) -> DenoiserRecipe:
    """Training of one variant's denoiser."""
    v = config.variants[run.variant]
    structure = None
    if v.structured:
        structure = Structure(
            mask_set=config.mask_set(run.variant),
            **encoding_recipe(config, run.variant).model_dump(),
            reduce=v.reduce,
            mask_crop=v.mask_crop,
        )
    return DenoiserRecipe(
        scale=run.scale,
        seed=run.seed,
        train_set=config.chosen.train_set,
        encoder=v.encoder,
        unet=config.chosen.unet,
        backbone=v.backbone,
        diffusion=config.diffusion,
        formulation=v.formulation,
        options=v.options,
        region_features=encoding_recipe(config, run.variant).channels if v.structured else 1,
        lr_divisor=v.lr_divisor,
        training=config.training(run.variant),
        precision=config.precision,
        structure=structure,
    )


def watch_recipe(config: Config) -> WatchRecipe:
    """What every training of the study shows while it runs."""
    watch = config.watch
    if not watch.validate_every and not watch.tensorboard:
        return WatchRecipe()
    made = {name: config.degradation_of(name) for name in config.chosen.test_sets}
    tested, degradation = next(((name, way) for name, way in made.items() if way), ("", None))
    if watch.validate_every and degradation is None:
        raise UserError("watch.validate_every: of no test set are LR images made here; set it to 0")
    return WatchRecipe(
        every=watch.validate_every,
        patches=watch.patches,
        hr=hr(tested) if tested else "",
        degradation=degradation or Bicubic(),
        steps=config.chosen.sampling.steps,
        tensorboard=Layout(config.study).tensorboard() if watch.tensorboard else "",
    )


def import_recipe(config: Config, run: Run) -> ImportRecipe:
    """Bringing others' networks into this project's format."""
    v = config.variants[run.variant]
    return ImportRecipe(
        scale=run.scale,
        formulation=v.formulation,
        lr_divisor=v.lr_divisor,
        diffusion=config.diffusion,
        precision=config.precision,
    )


def sampling_recipe(config: Config, run: Run, weights: Weights) -> SamplingRecipe:
    """Drawing SR images from a run."""
    match config.variants[run.variant].kind:
        case "bicubic":
            return BicubicRecipe(scale=run.scale)
        case "encoder":
            return SampledEncoder(scale=run.scale, weights=weights, precision=config.precision)
        case "denoiser":
            chain = dict(config.chain(run.variant))
            return SampledDenoiser(
                **chain, scale=run.scale, weights=weights, seed=run.seed, precision=config.precision
            )
        case "baseline":
            baseline = config.baselines[run.variant]
            return BaselineRecipe(
                scale=run.scale,
                adapter=baseline.adapter,
                command=baseline.command,
                sha256=baseline.sha256,
                url=baseline.url,
                steps=baseline.steps if baseline.adapter == "diffusers" else None,
            )


def score_recipe(config: Config, scale: int, dataset: str | None = None) -> ScoreRecipe:
    """Scoring the images of one run on one data set; None: on one that does as the others do."""
    metrics = config.asked(ImageMetric)
    made = config.degradation if dataset is None else config.degradation_of(dataset)
    return ScoreRecipe(
        defined=_bare(config, metrics),
        scale=scale,
        metrics=metrics,
        rounding=made.rounding if isinstance(made, Bicubic) else "each_axis",
        missing_weights=config.missing_weights,
        stop_below_bicubic=config.stop_below_bicubic,
        border=config.protocol.border,
    )


def step_metrics(config: Config) -> list[str]:
    """The metrics of images that figures of kind `steps` show."""
    specs = (spec for spec in config.figures.values() if isinstance(spec, Steps))
    return of_kind((metric for spec in specs for metric in spec.metrics), ImageMetric)


def step_score_recipe(config: Config, scale: int, dataset: str | None = None) -> ScoreRecipe:
    """Scoring images of other numbers of steps, which may be as bad as they are."""
    metrics = step_metrics(config)
    return score_recipe(config, scale, dataset).but(
        defined=_bare(config, metrics), metrics=metrics, stop_below_bicubic=None
    )


def _bare(config: Config, metrics: list[str]) -> dict[str, Definition]:
    """What decides the values of the metrics that the configuration defines."""
    return {name: definition.bare for name, definition in config.defined(metrics).items()}


def samples_recipe(config: Config, scale: int) -> SamplesRecipe:
    """Scoring several images of each LR image."""
    return SamplesRecipe(scale=scale, metrics=config.asked(SamplesMetric), border=config.protocol.border)


def set_recipe(config: Config, scale: int) -> SetScoreRecipe:
    """Scoring one run on one data set as a whole: FID and KID."""
    return SetScoreRecipe(
        scale=scale, metrics=config.asked(SetMetric), missing_weights=config.missing_weights
    )


def protocol_recipe(config: Config, scale: int) -> ProtocolRecipe:
    """Scoring one run on one data set under several protocols."""
    return ProtocolRecipe(scale=scale, protocols=asked_protocols(config))


def asked_protocols(config: Config) -> list[str]:
    """Those that any table compares."""
    return sorted({name for table in config.tables.values() for name in table.protocols})
