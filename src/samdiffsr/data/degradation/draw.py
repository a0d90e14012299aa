"""The random choices for one image: which steps, with which parameters."""

from __future__ import annotations

import hashlib
from itertools import accumulate
from typing import Any

import numpy as np

from samdiffsr.data.degradation.steps import UNIT
from samdiffsr.data.recipe import RealEsrgan, Round

METHODS = ("area", "bilinear", "bicubic")


def drawn(name: str, size: tuple[int, int], scale: int, recipe: RealEsrgan) -> list[dict[str, Any]]:
    """The steps from an HR image of `size` (height, width) to its LR image (`steps.carried_out`).

    The random numbers depend on the image's name, the scale factor and the recipe's seed alone.
    """
    chance = _Chance(f"real_esrgan {recipe.seed} x{scale} {name}")
    small = (size[0] // scale, size[1] // scale)
    steps = chance.blur(recipe.first)
    steps += chance.resize(recipe.first, size)
    steps += [chance.noise(recipe.first), chance.jpeg(recipe.first)]
    steps += chance.blur(recipe.second)
    steps += chance.resize(recipe.second, small)
    steps += [chance.noise(recipe.second)]
    # the sinc filter and JPEG come last, in either order
    last = [_resize(chance.one_of(METHODS), small)]
    if chance.happens(recipe.final_sinc):
        last.append(chance.sinc(recipe.second))
    compressed = [chance.jpeg(recipe.second)]
    return steps + (last + compressed if chance.happens(0.5) else compressed + last)


def _resize(method: str, size: tuple[int, int]) -> dict[str, Any]:
    return {"step": "resize", "method": method, "height": size[0], "width": size[1]}


class _Chance:
    """Random numbers from a text: whole numbers of exact probability."""

    def __init__(self, text: str) -> None:
        self._bits = np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))

    def _word(self) -> int:
        return int(self._bits.random_raw())

    def happens(self, probability: float) -> bool:
        return self._word() < round(probability * UNIT) * 2**64 // UNIT

    def between(self, bounds: tuple[float, float]) -> float:
        """Uniform, of four decimals."""
        low, high = (round(bound * UNIT) for bound in bounds)
        return (low + self._word() * (high - low + 1) // 2**64) / UNIT

    def one_of(self, things: tuple[Any, ...]) -> Any:
        return things[self._word() * len(things) // 2**64]

    def key(self) -> str:
        """Of the random numbers of one step."""
        return f"{self._word():016x}{self._word():016x}"

    def blur(self, round_: Round) -> list[dict[str, Any]]:
        if not self.happens(round_.blur):
            return []
        if self.happens(round_.sinc):
            return [self.sinc(round_)]
        kind, even = self._kind(round_)
        sigma_x = self.between(round_.sigma)
        beta = {"generalised": round_.beta, "plateau": round_.plateau_beta}.get(kind)
        return [
            {
                "step": "blur",
                "kernel": kind,
                "size": self._size(round_),
                "sigma_x": sigma_x,
                "sigma_y": sigma_x if even else self.between(round_.sigma),
                "degrees": 0.0 if even else self.between((-180.0, 180.0)),
                "beta": 1.0 if beta is None else self.between(beta),
            }
        ]

    def _kind(self, round_: Round) -> tuple[str, bool]:
        """A shape, and whether it is the same in all directions."""
        point = self._word() * UNIT // 2**64
        ends = accumulate(round(probability * UNIT) for *_, probability in round_.shapes)
        at = next((i for i, end in enumerate(ends) if point < end), len(round_.shapes) - 1)
        kind, even, _ = round_.shapes[at]
        return kind, even

    def _size(self, round_: Round) -> int:
        low, high = round_.sizes
        return int(self.one_of(tuple(range(low, high + 1, 2))))

    def sinc(self, round_: Round) -> dict[str, Any]:
        """Small kernels cannot hold the ringing of a low cutoff."""
        size = self._size(round_)
        low = 0.3333 if size < 13 else 0.2
        return {"step": "sinc", "size": size, "cutoff": self.between((low, 1.0))}

    def resize(self, round_: Round, size: tuple[int, int]) -> list[dict[str, Any]]:
        """To a random factor of `size`, up, down or not at all."""
        low, high = round_.factor
        factor = 1.0
        if self.happens(round_.up):
            factor = self.between((1.0, high))
        elif self.happens(round_.down / (1 - round_.up)):
            factor = self.between((low, 1.0))
        height, width = (max(1, n * round(factor * UNIT) // UNIT) for n in size)
        return [_resize(self.one_of(METHODS), (height, width))]

    def noise(self, round_: Round) -> dict[str, Any]:
        if self.happens(round_.gaussian):
            found: dict[str, Any] = {"step": "gaussian_noise", "sigma": self.between(round_.noise)}
        else:
            found = {"step": "poisson_noise", "scale": self.between(round_.poisson)}
        return {**found, "grey": self.happens(round_.grey), "key": self.key()}

    def jpeg(self, round_: Round) -> dict[str, Any]:
        low, high = round_.quality
        return {"step": "jpeg", "quality": low + self._word() * (high - low + 1) // 2**64}
