"""Figure 1A: the noise of the forward process, plain and modulated, from the schedule and real masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store
from samdiffsr.diffusion.process import formulation
from samdiffsr.diffusion.schedule import cosine_schedule
from samdiffsr.masks.encode import load_values
from samdiffsr.masks.reduce import structure_map
from samdiffsr.masks.store import RegionStore
from samdiffsr.reporting.figures.recipe import NoiseRecipe
from samdiffsr.reporting.figures.style import COLOURS, Inputs, Page, page, picture

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

REGIONS = 3  # whose own distribution is drawn
COLOURMAP = "cividis"  # its lightness rises with e_sam, also in grey


def draw(recipe: NoiseRecipe, inputs: Inputs) -> Page:
    """Above: the image, its e_sam, the noise without and with it. Below: the noise's density at some t.

    The noise is x_t - sqrt(alpha_bar_t) x_0 = m_t u + sqrt(1 - alpha_bar_t) epsilon, in units of its standard
    deviation; u, the mean map, is e_sam or a function of it. Its density over the image is a mixture of
    normal ones, one for each value of u: drawn exactly.

    Args:
        recipe: rows (one, with its formulation), formulation_options, diffusion, image (a name; "" is the
            first), times.
        inputs: hr, labels, values.

    Raises:
        UserError: no such image, a variant whose regions have several numbers, or a formulation that scales
            the noise or shifts each colour in its own way.
    """
    row = recipe.rows[0]
    schedule = cosine_schedule(recipe.diffusion.steps, recipe.diffusion.s, recipe.diffusion.beta_max)
    process = formulation(row.formulation, schedule, recipe.formulation_options)
    if process.scale is not None:
        raise UserError(
            f"figure of {row.label!r}: formulation {row.formulation!r} scales the noise, and it shows shifts"
        )
    times = sorted(recipe.times)
    store = Store(inputs["hr"][0].with_suffix(""))
    regions = RegionStore(inputs["labels"][0].with_suffix(""))
    i = store.index(recipe.image) if recipe.image else 0
    i_regions = regions.index(store.names[i])
    labels = regions.labels[i_regions]
    values = load_values(inputs["values"][0], regions)[i_regions]
    if values.ndim > 1:
        raise UserError(f"figure of {row.label!r}: its regions have several numbers, and it shows one")
    e_sam = structure_map(labels, values)
    u = process.u(torch.from_numpy(e_sam)[None, None])
    if u.shape[1] > 1:
        raise UserError(
            f"figure of {row.label!r}: formulation {row.formulation!r} shifts each colour in its own way, and"
            " it shows one"
        )
    mean_map = u[0, 0].numpy()
    levels, counts = np.unique(mean_map, return_counts=True)
    shift = (process.m / (1 - schedule.alpha_bar).sqrt()).numpy()  # per unit of u, in standard deviations
    symbol = "E_{SAM}" if process.mean is None else "u"

    columns = max(4, len(times))
    figure = page(1.75 * columns, 4.3)
    above, below = figure.subfigures(2, 1, height_ratios=[0.8, 1.15], squeeze=False)[:, 0]
    image = store[i][: labels.shape[0], : labels.shape[1]]
    _pictures(above, image, store.names[i], e_sam, mean_map * shift[times[-1] - 1], times[-1])
    _densities(below, times, shift, levels, counts / mean_map.size, symbol)
    name = "e_sam" if process.mean is None else "u, a function of e_sam"
    return Page(figure, [f"{row.label}: the shift of x_t is m_t {name} (formulation {row.formulation})."])


def _pictures(
    above: SubFigure, image: np.ndarray, name: str, e_sam: np.ndarray, shift: np.ndarray, t: int
) -> None:
    """The image, its e_sam, and the noise at t, plain and shifted; shift: (H, W), in standard deviations."""
    top = above.subplots(1, 4)
    picture(top[0], image, name)
    low, high = float(e_sam.min()), float(e_sam.max())
    picture(top[1], e_sam, r"$E_{SAM}$ of its masks", cmap=COLOURMAP, vmin=low, vmax=high)
    above.colorbar(top[1].images[0], ax=top[1], shrink=0.6, pad=0.02).ax.tick_params(labelsize=6)
    epsilon = np.random.default_rng(0).standard_normal(e_sam.shape)
    modulated = epsilon + shift
    reach = float(np.abs(modulated).max())
    for axes, noise, words in ((top[2], epsilon, "plain"), (top[3], modulated, "modulated")):
        picture(axes, noise, f"{words} noise, t = {t}", cmap="gray", vmin=-reach, vmax=reach)


def _densities(
    below: SubFigure, times: list[int], shift: np.ndarray, levels: np.ndarray, share: np.ndarray, symbol: str
) -> None:
    """The noise's density at each t.

    Args:
        shift: (T,), of a unit of u, in standard deviations. levels, share: the values of u, and of how much
            of the image. symbol: of u.
    """
    reach = 4 + float(np.abs(shift[[t - 1 for t in times]]).max() * np.abs(levels).max())
    x = np.linspace(-reach, reach, 801)
    grid = below.subplots(1, len(times), sharey=True, squeeze=False)[0]
    for axes, t in zip(grid, times, strict=True):
        means = shift[t - 1] * levels
        axes.fill_between(x, mixture(x, share, means), color=COLOURS[6], alpha=0.4, linewidth=0)
        axes.plot(x, mixture(x, share, means), color=COLOURS[0], label="modulated, whole image")
        axes.plot(
            x, mixture(x, np.ones(1), np.zeros(1)), color="black", linestyle="--", label="plain, everywhere"
        )
        for k in np.argsort(-share)[:REGIONS]:
            axes.plot(
                x, mixture(x, np.ones(1), means[k : k + 1]), linestyle=":", linewidth=1.1, color="#555555",
                label="modulated, the largest regions alone",
            )  # fmt: skip
        axes.set_title(f"t = {t}: shift {shift[t - 1]:.2f} ${symbol}$")
        axes.set_xlabel("noise / its s.d.")
    grid[0].set_ylabel("density")
    handles, words = grid[0].get_legend_handles_labels()
    once = dict(zip(words, handles, strict=True))
    below.legend(once.values(), once, loc="outside lower center", ncols=3)


def mixture(x: np.ndarray, share: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Density at x of a mixture of normal distributions of standard deviation 1; share and means: (n,)."""
    density = np.zeros(len(x))
    for weight, mean in zip(share, means, strict=True):
        if weight > 0:
            density += weight * np.exp(-0.5 * (x - mean) ** 2) / np.sqrt(2 * np.pi)
    return density
