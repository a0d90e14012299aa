"""Figure 7: masks over images, one column per quality level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samdiffsr.data.store import Store
from samdiffsr.errors import UserError
from samdiffsr.files import atomic_path
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.statistics import borders
from samdiffsr.masks.store import RegionStore

OPACITY = 0.55
COLUMN_INCHES = 2.4
GOLDEN = (5**0.5 - 1) / 2


def draw_masks(
    hr: str | Path,
    levels: Sequence[tuple[str, str, str | Path]],
    outs: Sequence[Path],
    *,
    images: Sequence[str] = (),
    count: int = 4,
) -> None:
    """Draw images with their masks at each level; one file per path of `outs`, format by suffix.

    Args:
        hr: the images' store.
        levels: (heading, name of the mask set, its region store), from left to right.
        images: names to draw; without any, `count` images spread evenly over the data set.

    Raises:
        UserError: an image or its masks are missing.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    store = Store(hr)
    regions = [(heading, name, RegionStore(path)) for heading, name, path in levels]
    if not len(store):
        raise UserError(f"{hr}: holds no image; prepare the data set again")
    chosen = [store.index(name) for name in images] or _spread(len(store), count)
    # rows as high as their images: a portrait beside a landscape would leave holes
    shapes = [store.shape(i)[:2] for i in chosen]
    ratios = [height / width for height, width in shapes]
    columns = 1 + len(regions)
    figure, axes = plt.subplots(
        len(chosen),
        columns,
        figsize=(COLUMN_INCHES * columns, COLUMN_INCHES * sum(ratios) + 0.13 * len(chosen) + 0.15),
        gridspec_kw={"height_ratios": ratios},
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    for row, i in enumerate(chosen):
        name = store.names[i]
        _show(axes[row, 0], store[i], name if row else f"Image\n{name}")
        for axis, (heading, mask_set, labels) in zip(axes[row, 1:], regions, strict=True):
            masks = labels[labels.index(name)]
            height, width = masks.shape
            picture = overlay(store[i][:height, :width], masks)
            count_text = f"{masks.n_masks} masks"
            _show(axis, picture, count_text if row else f"{heading}: {mask_set}\n{count_text}")
    for out in outs:
        # no date in the file: equal inputs give equal bytes
        metadata = {"CreationDate": None} if Path(out).suffix == ".pdf" else {}
        with atomic_path(out) as part:
            figure.savefig(part, dpi=300, metadata=metadata)
    plt.close(figure)


def overlay(image: np.ndarray, regions: Regions) -> np.ndarray:
    """The image under its atoms' colours, their borders white on black; uncovered pixels stay as they are.

    (H, W, 3) uint8 -> the same. Neighbouring labels differ in hue and in lightness, so grey shows them too.
    """
    colours = np.concatenate([np.zeros((1, 3)), _palette(regions.n_atoms)])
    opacity = np.where(regions.labels > 0, OPACITY, 0.0)[..., None]
    out = image * (1 - opacity) + 255 * colours[regions.labels] * opacity
    edge = borders(regions.labels)
    wide = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:, 1:] |= edge[:, :-1]
    out[wide] = 0
    out[edge] = 255
    return np.rint(out).astype(np.uint8)


def _palette(n: int) -> np.ndarray:
    """n colours, (n, 3) in 0..1; successive ones far apart."""
    from matplotlib.colors import hsv_to_rgb

    k = np.arange(n)
    hsv = np.stack([k * GOLDEN % 1, 0.55 + 0.35 * (k % 2), np.array([1.0, 0.75, 0.5])[k % 3]], axis=1)
    return hsv_to_rgb(hsv).reshape(n, 3)


def _spread(n: int, count: int) -> list[int]:
    """At most `count` of n positions, evenly spread."""
    count = min(n, count)
    return [(2 * k + 1) * n // (2 * count) for k in range(count)]


def _show(axis, image: np.ndarray, title: str) -> None:
    axis.imshow(image, interpolation="nearest")
    axis.set_title(title, fontsize=7, pad=2)
    axis.set_axis_off()
