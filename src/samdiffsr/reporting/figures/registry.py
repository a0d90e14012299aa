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
    """One kind of figure; code: "module:function", function(recipe, inputs: style.Inputs) -> style.Page."""

    code: str
    spec: type[spec.Figure] = spec.Figure
    recipe: type[recipe.FigureRecipe] = recipe.FigureRecipe

    @property
    def module(self) -> str:
        """The module that draws it."""
        return module_of(self.code)


_ROOM = "samdiffsr.reporting.figures"
KINDS: Registry[Kind] = Registry(
    "kind of figure",
    {
        "noise": Kind(f"{_ROOM}.noise:draw", spec.Noise, recipe.NoiseRecipe),
        "modulation": Kind(f"{_ROOM}.modulation:draw", spec.Modulation, recipe.ModulationRecipe),
        "crops": Kind(f"{_ROOM}.crops:draw", spec.Crops, recipe.CropsRecipe),
        "artifacts": Kind(f"{_ROOM}.artifacts:draw", spec.Artifacts, recipe.ArtifactsRecipe),
        "masks": Kind(f"{_ROOM}.masks:draw", spec.Masks, recipe.MasksRecipe),
        "metrics": Kind(f"{_ROOM}.metrics:draw", spec.Metrics, recipe.MetricsRecipe),
        "published": Kind(f"{_ROOM}.published:draw", spec.Published, recipe.PublishedRecipe),
        "seeds": Kind(f"{_ROOM}.seeds:draw", spec.Seeds, recipe.SeedsRecipe),
        "split": Kind(f"{_ROOM}.split:draw", spec.Split, recipe.SplitRecipe),
        "mask_gain": Kind(f"{_ROOM}.gain:draw", spec.MaskGain, recipe.MaskGainRecipe),
        "steps": Kind(f"{_ROOM}.steps:draw", spec.Steps, recipe.StepsRecipe),
        "curves": Kind(f"{_ROOM}.curves:draw", spec.Curves, recipe.CurvesRecipe),
        "rules": Kind(f"{_ROOM}.rules:draw", spec.Rules),
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
