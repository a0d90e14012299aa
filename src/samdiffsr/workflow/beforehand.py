"""What would fail after the trainings, found before the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import score_recipe
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import no_room, read_json
from samdiffsr.data.catalogue import weights
from samdiffsr.data.images import chosen_images, image_size
from samdiffsr.data.prepare import check_pair, lr_images
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.fits import Sized, too_small
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.recipe import ScoreRecipe

PNG_BYTES = 1.65  # of a photograph, a pixel
TRAINING = ("train_encoder", "train_denoiser")  # the rules


def scorings(config: Config, root: Path = Path()) -> list[ScoreRecipe]:
    """How images will be scored at each scale factor; not by metrics that are left out without weights."""
    recipes = [score_recipe(config, scale) for scale in config.all_scales]
    if config.missing_weights == "fail":
        return recipes
    table = weights()

    def here(metric: str) -> bool:
        return all((root / layout.weight(table[key].file)).exists() for key in METRICS[metric].weights)

    return [recipe.but(metrics=tuple(filter(here, recipe.metrics))) for recipe in recipes]


def image_sizes(config: Config, dataset: str, root: Path = Path()) -> list[Sized] | None:
    """The sizes of a data set's HR images, where they can be known; local files are opened.

    Of LR images without a truth, those of scale factor 4.
    """
    spec = config.datasets[dataset]
    truth = spec.reference == "hr"
    if "local" in spec.source:  # not out of a store, which may hold images that are gone or left out by now
        paths = chosen_images([root / folder for folder in spec.folder], spec.exclude)
        sizes = ((path.stem, *image_size(path)) for path in paths)
        enlarged = 1 if truth else 4
        return [(name, enlarged * height, enlarged * width) for name, width, height in sizes]
    expected = config.expected_images(dataset)
    if expected is not None:
        return [(Path(entry.file).stem, entry.height, entry.width) for entry in expected]
    index = root / (layout.hr(dataset) + layout.STORE[0])
    if not index.exists():
        return None
    images = ((image["name"], *image["shape"][:2]) for image in read_json(index)["images"])
    return [image for image in images if image[0] not in spec.exclude]


def pairs(config: Config, dataset: str, scale: int, root: Path = Path()) -> int:
    """How many LR images came with the HR images of a data set.

    Raises:
        UserError: names the first without a partner, or of a wrong size.
    """
    spec = config.datasets[dataset]
    folders = [root / folder for folder in spec.lr_folders(scale)]
    hr = {name: size for name, *size in image_sizes(config, dataset, root) or ()}
    paths = lr_images(folders, hr, spec.exclude)
    for name, path in paths.items():
        width, height = image_size(path)
        check_pair(path, (height, width), hr[name], scale)
    return len(paths)


def unfit(config: Config, root: Path = Path()) -> dict[str, str]:
    """Test set -> which of its images no score can be computed of."""
    found, recipes = {}, scorings(config, root)
    for dataset in config.with_truth(config.chosen.test_sets):
        sizes = image_sizes(config, dataset, root) or ()
        if why := next(filter(None, (too_small(sizes, recipe) for recipe in recipes)), ""):
            found[dataset] = why
    return found


def _manifests(made: Iterable[tuple[str, str]], *spellings: Callable[..., str]) -> Iterator[dict[str, str]]:
    """What the paths of manifests among `made`, pairs of rule and path, are made of."""
    for _, path in made:
        stem = path.removesuffix(layout.SAMPLES[0])
        if stem != path:
            yield from filter(None, (layout.read(stem, spell) for spell in spellings))


def samples_bytes(config: Config, made: Iterable[tuple[str, str]], root: Path = Path()) -> int:
    """About how much the images take that are sampled for manifests among `made`, pairs of rule and path."""
    places = layout.Layout(config.study)
    pixels: dict[str, int] = {}
    total = 0
    for found in _manifests(made, places.samples, places.draws):
        dataset = found["dataset"]
        if dataset not in pixels:
            sizes = image_sizes(config, dataset, root)
            pixels[dataset] = sum(height * width for _, height, width in sizes or ())
        total += int(PNG_BYTES * pixels[dataset])
    return total


def no_room_for_samples(config: Config, made: Iterable[tuple[str, str]], root: Path = Path()) -> str:
    """That the images of manifests among `made` do not fit on the disk; empty if they do."""
    need = samples_bytes(config, made, root)
    return no_room(need, root / layout.SHOWN, "sampling")


def undrawable(config: Config, made: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Variant -> why a manifest among `made`, pairs of rule and path, cannot be sampled in its few steps."""
    places = layout.Layout(config.study)
    asked: dict[tuple[str, int], None] = {}
    for found in _manifests(made, places.samples, places.draws, places.steps):
        run = layout.read_run(found["run"])
        if run and config.variants[run[0]].kind == "denoiser":
            asked[run[0], int(found.get("steps", config.calls(run[0])))] = None
    refused = {}
    for name, steps in asked:
        arm, start = FORMULATIONS[config.variants[name].formulation], config.start(name)
        if arm.e_sam != "noise" or steps >= start:
            continue
        from samdiffsr.diffusion.sampler import chain
        from samdiffsr.models.denoiser import build_formulation

        variant = config.variants[name]
        try:
            process = build_formulation(variant.formulation, config.diffusion, variant.options)
            chain(process, steps=steps, start=start, known=arm.known)
        except UserError as error:
            refused[name] = str(error)
    return refused


def refuse_undrawable(config: Config, made: Iterable[tuple[str, str]]) -> None:
    """UserError if something is to be trained whose images could not be drawn in so few steps."""
    made = list(made)
    if any(rule in TRAINING for rule, _ in made):
        for variant, why in undrawable(config, made).items():
            raise UserError(f"variant {variant}: {why}")


def refuse(config: Config, made: Iterable[tuple[str, str]], root: Path) -> None:
    """UserError if something is to be trained whose images could not be sampled, scored or kept afterwards.

    Args:
        made: rule and path of every file that is to be made.

    Images that are fetched in the same run are measured by the job that all trainings wait for.
    """
    made = list(made)
    if not any(rule in TRAINING for rule, _ in made):
        return
    for dataset, why in unfit(config, root).items():
        raise UserError(f"test set {dataset}: {why}")
    paths = {path for _, path in made}
    for dataset, scale in product(config.datasets, config.all_scales):
        if config.datasets[dataset].lr and layout.lr(dataset, scale) + layout.STORE[0] in paths:
            try:
                pairs(config, dataset, scale, root)
            except UserError as error:
                raise UserError(f"dataset {dataset}: {error}") from None
    if why := no_room_for_samples(config, made, root):
        raise UserError(why)
