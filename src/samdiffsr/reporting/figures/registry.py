"""The registry of kinds of figures: what config.yaml may say of one, its recipe, and where it is drawn.

One entry here and one function make a kind. Nothing here imports matplotlib or torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import parse_json
from samdiffsr.core.registry import Registry, module_of
from samdiffsr.reporting.figures import recipe, spec


@dataclass(frozen=True)
class Kind:
    """One kind of figure.

    Args:
        code: "module:function", function(recipe, inputs: style.Inputs) -> style.Page.
        spec: what config.yaml may say of it.
        recipe: what its function is told.
        reads: what its function is given, by the names in `workflow.inputs.figures.READS`.
    """

    code: str
    spec: type[spec.Figure] = spec.Figure
    recipe: type[recipe.FigureRecipe] = recipe.FigureRecipe
    reads: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that draws it."""
        return module_of(self.code)


_ROOM = "samdiffsr.reporting.figures"
KINDS: Registry[Kind] = Registry(
    "kind of figure",
    {
        "noise": Kind(f"{_ROOM}.noise:draw", spec.Noise, recipe.NoiseRecipe, ("structure",)),
        "modulation": Kind(f"{_ROOM}.modulation:draw", spec.Modulation, recipe.ModulationRecipe),
        "crops": Kind(f"{_ROOM}.crops:draw", spec.Crops, recipe.CropsRecipe, ("images",)),
        "artifacts": Kind(f"{_ROOM}.artifacts:draw", spec.Artifacts, recipe.ArtifactsRecipe, ("images",)),
        "masks": Kind(f"{_ROOM}.masks:draw", spec.Masks, recipe.MasksRecipe, ("regions",)),
        "metrics": Kind(f"{_ROOM}.metrics:draw", spec.Metrics, recipe.MetricsRecipe, ("tables", "published")),
        "published": Kind(
            f"{_ROOM}.published:draw",
            spec.Published,
            recipe.PublishedRecipe,
            ("tables", "differences", "published"),
        ),
        "seeds": Kind(f"{_ROOM}.seeds:draw", spec.Seeds, recipe.SeedsRecipe, ("table_scores",)),
        "split": Kind(f"{_ROOM}.split:draw", spec.Split, recipe.SplitRecipe, ("table_scores",)),
        "mask_gain": Kind(
            f"{_ROOM}.gain:draw",
            spec.MaskGain,
            recipe.MaskGainRecipe,
            ("scores_and_control", "mask_statistics"),
        ),
        "steps": Kind(f"{_ROOM}.steps:draw", spec.Steps, recipe.StepsRecipe, ("steps",)),
        "curves": Kind(f"{_ROOM}.curves:draw", spec.Curves, recipe.CurvesRecipe, ("curves",)),
        "rules": Kind(f"{_ROOM}.rules:draw", spec.Rules, reads=("rule_graph",)),
    },
)


class _Named(BaseModel):
    """What any figure must say; the rest depends on it."""

    kind: Annotated[str, AfterValidator(KINDS.known)]


def _of_its_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> spec.Figure:
    if not isinstance(value, Mapping):
        return validate(value)
    return KINDS[_Named.model_validate(value).kind].spec.model_validate(value)


AnyFigure = Annotated[SerializeAsAny[spec.Figure], WrapValidator(_of_its_kind)]


def read_recipe(text: str) -> recipe.FigureRecipe:
    """The recipe of its kind that a JSON text holds; UserError names the first mistake."""
    try:
        value = parse_json(text, "--recipe")
    except ValueError as error:
        raise UserError(f"--recipe: not valid JSON ({error})") from None
    kind: Any = value.get("kind") if isinstance(value, dict) else None
    return KINDS[kind].recipe.parse(text)
