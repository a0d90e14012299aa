"""What would fail after the trainings, found before the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.stages import score_recipe
from samdiffsr.core import layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import no_room, read_json
from samdiffsr.data.catalogue import weights
from samdiffsr.data.images import chosen_images, image_size
from samdiffsr.evaluation.fits import Sized, too_small
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.evaluation.recipe import ScoreRecipe

PNG_BYTES = 1.65  # of a photograph, a pixel
TRAINING = ("train_encoder", "train_denoiser")  # the rules


def scorings(config: Config, root: Path = Path()) -> list[ScoreRecipe]:
    """How images will be scored at each scale factor; not by metrics that are left out without weights."""
    scales = sorted({table.scale for table in config.tables.values()})
    recipes = [score_recipe(config, scale) for scale in scales]
    if config.missing_weights == "fail":
        return recipes
    table = weights()

    def here(metric: str) -> bool:
        return all((root / layout.weight(table[key].file)).exists() for key in METRICS[metric].weights)

    return [recipe.but(metrics=tuple(filter(here, recipe.metrics))) for recipe in recipes]


def image_sizes(config: Config, dataset: str, root: Path = Path()) -> list[Sized] | None:
    """The sizes of a data set's HR images, where they can be known; local ones are opened.

    Of LR images without a truth, those of scale factor 4.
    """
    truth = config.datasets[dataset].reference == "hr"
    if truth and (index := root / (layout.hr(dataset) + layout.STORE[0])).exists():
        return [(image["name"], *image["shape"][:2]) for image in read_json(index)["images"]]
    expected = config.expected_images(dataset)
    if expected is not None:
        return [(Path(entry.file).stem, entry.height, entry.width) for entry in expected]
    spec = config.datasets[dataset]
    if "local" not in spec.source:
        return None
    paths = chosen_images([root / folder for folder in spec.folder], spec.exclude)
    sizes = ((path.stem, *image_size(path)) for path in paths)
    enlarged = 1 if truth else 4
    return [(name, enlarged * height, enlarged * width) for name, width, height in sizes]


def unfit(config: Config, root: Path = Path()) -> dict[str, str]:
    """Test set -> which of its images no score can be computed of."""
    found, recipes = {}, scorings(config, root)
    for dataset in config.with_truth(config.chosen.test_sets):
        sizes = image_sizes(config, dataset, root) or ()
        if why := next(filter(None, (too_small(sizes, recipe) for recipe in recipes)), ""):
            found[dataset] = why
    return found


def samples_bytes(config: Config, made: Iterable[tuple[str, str]], root: Path = Path()) -> int:
    """About how much the images take that are sampled for manifests among `made`, pairs of rule and path."""
    places = layout.Layout(config.study)
    pixels: dict[str, int] = {}
    total = 0
    for _, path in made:
        stem = path.removesuffix(layout.SAMPLES[0])
        found = layout.read(stem, places.samples) or layout.read(stem, places.draws)
        if found is None or stem == path:
            continue
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


def refuse(config: Config, made: Iterable[tuple[str, str]], root: Path) -> None:
    """UserError if something is to be trained whose images could not be scored, or kept, afterwards.

    Args:
        made: rule and path of every file that is to be made.

    Images that are fetched in the same run are measured by the job that all trainings wait for.
    """
    made = list(made)
    if not any(rule in TRAINING for rule, _ in made):
        return
    for dataset, why in unfit(config, root).items():
        raise UserError(f"test set {dataset}: {why}")
    if why := no_room_for_samples(config, made, root):
        raise UserError(why)
