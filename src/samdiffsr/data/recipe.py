"""Recipes of the image stores, and the setting of config.yaml that they hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from samdiffsr.core.recipe import NotNegative, Positive, Recipe, Strict
from samdiffsr.data.resize import Rounding

Probability = Annotated[float, Field(ge=0, le=1)]


def _ordered(value: tuple[Any, Any]) -> tuple[Any, Any]:
    if value[0] > value[1]:
        raise ValueError("the lower bound comes first")
    return value


def _odd(value: tuple[int, int]) -> tuple[int, int]:
    if not all(size % 2 and 3 <= size <= 21 for size in value):
        raise ValueError("sizes are odd, 3 to 21")
    return _ordered(value)


Bounds = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_ordered)
]
Quality = Annotated[int, Field(ge=1, le=100)]
Reference = Literal["hr", "none"]


class Bicubic(Strict):
    """LR images by MATLAB's antialiased bicubic."""

    kind: Literal["bicubic"] = "bicubic"
    """MATLAB's antialiased bicubic."""
    rounding: Rounding = "each_axis"
    """`each_axis`: after each axis, as MATLAB does on uint8 images. `end`: once, as it does on double."""


class Round(Strict):
    """Blur, resize, noise and JPEG, once. The defaults are the paper's for the first time."""

    blur: Probability = 1.0
    """Probability of a blur."""
    sinc: Probability = 0.1
    """Probability that the blur is a sinc filter."""
    isotropic: Probability = 0.45
    """Probability of an isotropic Gaussian among the other blurs."""
    anisotropic: Probability = 0.25
    """Of an anisotropic Gaussian."""
    generalised: tuple[Probability, Probability] = (0.12, 0.03)
    """Of a generalised Gaussian, isotropic and anisotropic."""
    plateau: tuple[Probability, Probability] = (0.12, 0.03)
    """Of a plateau-shaped kernel, isotropic and anisotropic."""
    sizes: Annotated[tuple[int, int], AfterValidator(_odd)] = (7, 21)
    """Smallest and largest kernel; all odd sizes between are equally likely."""
    sigma: Bounds = (0.2, 3.0)
    """Standard deviation of a blur, in pixels."""
    beta: Bounds = (0.5, 4.0)
    """Shape of generalised Gaussians."""
    plateau_beta: Bounds = (1.0, 2.0)
    """Shape of plateau-shaped kernels."""
    up: Probability = 0.2
    """Probability that the image grows."""
    down: Probability = 0.7
    """Probability that it shrinks."""
    factor: Bounds = (0.15, 1.5)
    """By which factors."""
    gaussian: Probability = 0.5
    """Probability that the noise is Gaussian; otherwise it is Poisson noise."""
    grey: Probability = 0.4
    """Probability that the noise is the same in all channels."""
    noise: Bounds = (1.0, 30.0)
    """Standard deviation of Gaussian noise, in grey levels."""
    poisson: Bounds = (0.05, 3.0)
    """Scale of Poisson noise."""
    quality: Annotated[tuple[Quality, Quality], AfterValidator(_ordered)] = (30, 95)
    """Quality of JPEG."""

    @property
    def shapes(self) -> tuple[tuple[str, bool, float], ...]:
        """Kernel, whether it is isotropic, and its probability."""
        return (
            ("gaussian", True, self.isotropic),
            ("gaussian", False, self.anisotropic),
            ("generalised", True, self.generalised[0]),
            ("generalised", False, self.generalised[1]),
            ("plateau", True, self.plateau[0]),
            ("plateau", False, self.plateau[1]),
        )

    @model_validator(mode="after")
    def _whole(self) -> Round:
        if abs(sum(probability for *_, probability in self.shapes) - 1) > 1e-9:
            raise ValueError("the probabilities of the kernels must add up to 1")
        if self.up + self.down > 1 + 1e-9 or self.up == 1:
            raise ValueError("up, down: they add up to more than 1")
        if not self.factor[0] <= 1 <= self.factor[1]:
            raise ValueError("factor: 1 must lie between its bounds")
        return self


class SecondRound(Round):
    """The same a second time, with the paper's defaults for it."""

    blur: Probability = 0.8
    """Probability of a blur."""
    sigma: Bounds = (0.2, 1.5)
    """Standard deviation of a blur, in pixels."""
    up: Probability = 0.3
    """Probability that the image grows."""
    down: Probability = 0.4
    """Probability that it shrinks."""
    factor: Bounds = (0.3, 1.2)
    """By which factors, of the LR image's size."""
    noise: Bounds = (1.0, 25.0)
    """Standard deviation of Gaussian noise, in grey levels."""
    poisson: Bounds = (0.05, 2.5)
    """Scale of Poisson noise."""


class RealEsrgan(Strict):
    """LR images by the blind degradation of Real-ESRGAN (`data.degradation`)."""

    kind: Literal["real_esrgan"] = "real_esrgan"
    """Real-ESRGAN's blur, resize, noise and JPEG, twice."""
    seed: NotNegative = 0
    """Another seed makes other choices for every image."""
    first: Round = Round()
    """Blur, resize, noise and JPEG, the first time."""
    second: SecondRound = SecondRound()
    """The same, the second time."""
    final_sinc: Probability = 0.8
    """Probability of a sinc filter at the end."""


def _kind(value: Any) -> Any:
    return value.get("kind", "bicubic") if isinstance(value, dict) else getattr(value, "kind", None)


Degradation = Annotated[
    Annotated[Bicubic, Tag("bicubic")] | Annotated[RealEsrgan, Tag("real_esrgan")], Discriminator(_kind)
]


class HrRecipe(Recipe):
    """The HR images of one data set.

    Attributes:
        folder: folders of images; a set may be the union of several.
        exclude: names (stems) that are left out, e.g. of images that are test images too.
        images: digest of what the manifests say the set holds (data/manifest.py); None where they do not say.
        reference: "none" where the folders hold LR images without a truth; the store is then empty.
    """

    later = ("reference",)

    folder: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    images: str | None = None
    reference: Reference = "hr"


class LrRecipe(Recipe):
    """The LR images of one data set.

    Attributes:
        scale: factor by which each side shrinks.
        rounding: of MATLAB's bicubic (`Bicubic`).
        degradation: instead of the bicubic.
        folder: of LR images, where they are not made of HR images.
        exclude: names (stems) of them that are left out.
        reference: "none": of what is in `folder`, no HR image is known.
    """

    later = ("degradation", "folder", "exclude", "reference")

    scale: Positive
    rounding: Rounding = "each_axis"
    degradation: RealEsrgan | None = None
    folder: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    reference: Reference = "hr"
