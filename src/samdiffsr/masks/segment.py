"""The mask stages: `segment` (images -> regions), `encode` (regions -> one value per atom), JSON export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import sha256_json
from samdiffsr.core.progress import each_image
from samdiffsr.data.store import Store
from samdiffsr.masks.recipe import MaskRecipe
from samdiffsr.masks.regions import Regions
from samdiffsr.masks.rle import write_rle
from samdiffsr.masks.segmenters.registry import Places, make_segmenter
from samdiffsr.masks.store import RegionStore, RegionStoreWriter, read_regions, write_regions


def segment(
    source: str | Path,
    out: str | Path,
    recipe: MaskRecipe,
    *,
    scale: int = 1,
    shard: tuple[int, int] = (0, 1),
    places: Places | None = None,
    state: str | Path | None = None,
    code: str = "",
) -> None:
    """Segment the images of a store into a region store (both paths without suffix).

    Args:
        source: the HR store, or the LR store where the recipe's `image` is "lr": labels found there are
            brought to HR's size, each pixel to scale x scale.
        scale: LR's scale factor; 1 with "hr".
        shard: (i, n) does the i-th (from 0) of n contiguous parts; `merge_shards` joins them to byte for byte
            the store of one part.
        places: where this machine has what the segmenter reads.
        state: a folder that keeps each image's regions until the store is written: the same call after a
            crash goes on where it stopped. Shards share it.
        code: names the code; images that other code has kept in `state` are done again.

    Raises:
        UserError: a wrong setting, or whatever the segmenter finds wrong with an image.
    """
    if recipe.image == "hr" and scale != 1:
        raise UserError(f"masks on hr with scale {scale}: only masks on lr are scaled; drop the scale")
    part, parts = shard
    if not 0 <= part < parts:
        raise UserError(f"shard {part} of {parts}: must be 0 to {parts - 1}")
    images = Store(source)
    segmenter = make_segmenter(recipe.segmenter, places)
    meta = {
        "segmenter": segmenter.describe(),
        "on": recipe.image,
        "scale": scale,
        "source": {"digest": images.digest, "names": sha256_json(list(images.names))},
    }
    chosen = range(part * len(images) // parts, (part + 1) * len(images) // parts)
    kept = None if state is None else _Kept(Path(state), sha256_json([meta, code]))
    with RegionStoreWriter(out, **meta) as writer:
        for done, name in each_image(f"masks {Path(out).name}", images.names[chosen.start : chosen.stop]):
            i = chosen[done]
            regions = kept.get(i) if kept else None
            if regions is None:
                regions = segmenter(images[i], name)
                if kept:
                    kept.put(i, regions)
            writer.add(name, regions.resize_nearest(scale))
    if kept:
        kept.drop(chosen)


def export_masks(region_store: str | Path, out: str | Path) -> None:
    """Write a region store's masks into the folder `out`, one `<image>.json` an image (masks/rle.py).

    `segment` with {"kind": "imported", "folder": out} makes the same regions of them again.
    """
    store = RegionStore(region_store)
    for i, name in each_image("export", store.names):
        write_rle(Path(out) / f"{name}.json", store[i])


class _Kept:
    """Finished images of an unfinished store: one file an image, all made with the settings of one hash."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key[:16]

    def _path(self, i: int) -> Path:
        return self.folder / f"{i:06d}.npz"

    def get(self, i: int) -> Regions | None:
        return read_regions(self._path(i)) if self._path(i).exists() else None

    def put(self, i: int, regions: Regions) -> None:
        write_regions(self._path(i), regions)

    def drop(self, images: Iterable[int]) -> None:
        for i in images:
            self._path(i).unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent):
            with contextlib.suppress(OSError):  # another shard's images are in it
                folder.rmdir()
