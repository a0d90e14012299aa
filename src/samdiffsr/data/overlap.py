"""Split hygiene: test images that are training images too, whole, cropped or rescaled.

Images are described by small upright patches around the strongest blobs of a scale pyramid, each normalised
to zero mean and unit length, so that the same place in a brighter, smaller or cropped copy has nearly the
same vector. Pairs of vectors that agree vote for a scale and a shift; where enough votes agree, one image is
laid over the other at that scale and the normalised cross-correlation of the common part decides. Rotated and
mirrored copies are not looked for. The cost is one pyramid an image and one matrix product per pair of
blocks: minutes for thousands of images.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import as_cell, read_json, sha256_file, sha256_json, write_csv, write_json
from samdiffsr.data.images import list_images, read_rgb
from samdiffsr.data.store import Store

log = logging.getLogger(__name__)

LONGEST = 512  # pixels; larger images are shrunk to this first
STEP = 2 ** (1 / 3)  # between two levels of the pyramid
SMALLEST = 24  # pixels; side of the smallest level
PER_LEVEL = 60  # blobs
PATCH, SPACING = 8, 2.5  # samples a side, and their distance in the level's pixels
ALIKE = 0.9  # correlation of two patches that vote
VOTES = 8  # that make a pair worth laying over each other
MAJORITY = 0.2  # of all votes between two images, that must agree
SAME = 0.8  # correlation of the common part that makes it the same photograph
GRID = 128  # pixels a side, at most, at which two images are laid over each other
HOPEFUL = 0.4  # correlation before the corrections that makes them worth trying
WHOLE = 0.985  # share of an image that counts as all of it
COMMON = 32  # pixels; least side of the common part, in the smaller image's scale


Images = Sequence[tuple[str, np.ndarray]]  # name, uint8 (H, W, 3); an image may be a view of a memory map


@dataclass(frozen=True)
class Patches:
    """Patches of one image: unit vectors (n, PATCH**2) float32, centres (n, 2) as row, column and size (n,)
    in the pixels of the image at its own size."""

    vectors: np.ndarray
    centres: np.ndarray
    sizes: np.ndarray


@dataclass(frozen=True)
class Overlap:
    """One pair of images that show the same photograph.

    `scale` is how much larger `a` shows it than `b`; `box` is the common part in `a`'s pixels as
    top, left, bottom, right; `share` of `a` and of `b` that it covers; `correlation` of the two there.
    """

    a: str
    b: str
    scale: float
    box: tuple[int, int, int, int]
    share_a: float
    share_b: float
    correlation: float
    votes: int

    @property
    def relation(self) -> str:
        """What `b` is to `a`, in words."""
        size = "" if abs(np.log(self.scale)) < 0.02 else ", rescaled"
        if min(self.share_a, self.share_b) > WHOLE:
            return "the same image" + size
        if self.share_b > WHOLE:
            return "a part of it" + size
        if self.share_a > WHOLE:
            return "it and more" + size
        return "overlaps" + size


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> float32 (H, W) in 0 to 255, the mean of the channels."""
    return image.mean(2, dtype=np.float32)


def describe(gray: np.ndarray) -> Patches:
    """The patches of an image, float32 (H, W)."""
    from scipy import ndimage

    shrink = min(1.0, LONGEST / max(gray.shape))
    image = _resize(gray, shrink)
    vectors, centres, sizes = [], [], []
    factor = shrink
    offsets = (np.arange(PATCH) - (PATCH - 1) / 2) * SPACING
    margin = int(np.ceil(offsets[-1])) + 1
    while min(image.shape) >= SMALLEST:
        fine = ndimage.gaussian_filter(image, 1.0)
        coarse = ndimage.gaussian_filter(image, 1.6)
        blobs = np.abs(coarse - fine)
        peaks = (blobs == ndimage.maximum_filter(blobs, 5)) & (blobs > 1.0)
        inner = np.zeros_like(peaks)
        inner[margin:-margin, margin:-margin] = True
        rows, columns = np.nonzero(peaks & inner)
        strongest = np.argsort(-blobs[rows, columns], kind="stable")[:PER_LEVEL]
        rows, columns = rows[strongest], columns[strongest]
        if len(rows):
            grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij"))  # (2, P, P)
            places = np.stack([rows, columns])[:, :, None, None] + grid[:, None]
            patch = ndimage.map_coordinates(coarse, places, order=1, mode="nearest").reshape(len(rows), -1)
            patch -= patch.mean(1, keepdims=True)
            norm = np.linalg.norm(patch, axis=1)
            good = norm > 4.0 * PATCH  # a standard deviation of 4 gray levels
            vectors.append((patch[good] / norm[good, None]).astype(np.float32))
            centres.append((np.stack([rows, columns], 1)[good] + 0.5) / factor)
            sizes.append(np.full(good.sum(), 1 / factor))
        image, factor = _resize(image, 1 / STEP), factor / STEP
    if not vectors:
        return Patches(np.zeros((0, PATCH**2), np.float32), np.zeros((0, 2)), np.zeros(0))
    return Patches(np.concatenate(vectors), np.concatenate(centres), np.concatenate(sizes))


def _resize(image: np.ndarray, factor: float) -> np.ndarray:
    """Shrink or enlarge, bilinear after a Gaussian; the centre of pixel (0, 0) is at 0.5 * factor."""
    from scipy import ndimage

    shape = [max(1, round(side * factor)) for side in image.shape]
    if tuple(shape) == image.shape:
        return image
    if factor < 1:
        image = ndimage.gaussian_filter(image, 0.5 * np.sqrt(max(1 / factor**2 - 1, 0)))
    axes = [(np.arange(n) + 0.5) * side / n - 0.5 for n, side in zip(shape, image.shape, strict=True)]
    return ndimage.map_coordinates(image, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")


def find_overlaps(
    first: Images,
    second: Images,
    *,
    patches: tuple[Sequence[Patches], Sequence[Patches]] | None = None,
) -> list[Overlap]:
    """All pairs of an image of `first` and one of `second` that show the same photograph, the surest first.

    Args:
        first, second: (name, uint8 (H, W, 3)), looked at one at a time; equal names do not matter.
        patches: `describe_all` of both, if at hand.
    """
    of_first, of_second = patches or (describe_all(first), describe_all(second))
    found = []
    for j, b in enumerate(of_second):
        for i, a in enumerate(of_first):
            if (placed := place(a, b)) is None:
                continue
            (name_a, image_a), (name_b, image_b) = first[i], second[j]
            overlap = lay_over(name_a, grey(image_a), name_b, grey(image_b), *placed)
            if overlap is not None:
                found.append(overlap)
        if (j + 1) % 20 == 0:
            log.info(f"{j + 1} of {len(second)} images compared with {len(first)}")
    return sorted(found, key=lambda o: (-o.correlation, o.a, o.b))


def describe_all(images: Images) -> list[Patches]:
    """`describe` of every image."""
    return [describe(grey(images[i][1])) for i in range(len(images))]


def place(a: Patches, b: Patches) -> tuple[float, np.ndarray, int] | None:
    """Scale and shift (a's pixel = scale * b's pixel + shift), and how many patches agree on them."""
    if len(a.vectors) < VOTES or len(b.vectors) < VOTES:
        return None
    alike = b.vectors @ a.vectors.T
    nearest = alike.argmax(1)
    voters = np.nonzero(alike[np.arange(len(nearest)), nearest] > ALIKE)[0]
    if len(voters) < VOTES:
        return None
    q, p = b.centres[voters], a.centres[nearest[voters]]
    ratio = a.sizes[nearest[voters]] / b.sizes[voters]
    # how far patch j lands from where its vote says, if the vote of i is right
    shift = p - ratio[:, None] * q
    landed = ratio[:, None, None] * q[None] + shift[:, None]
    reach = np.maximum(0.02 * np.ptp(q, axis=0).max() * ratio, 4 * a.sizes[nearest[voters]])[:, None]
    agree = (np.linalg.norm(landed - p[None], axis=2) < reach) & (
        np.abs(np.log(ratio[:, None] / ratio[None])) < 1.5 * np.log(STEP)
    )
    best = int(agree.sum(1).argmax())
    chosen = agree[best]
    if chosen.sum() < max(VOTES, MAJORITY * len(voters)):
        return None
    q, p = q[chosen], p[chosen]
    spread = ((q - q.mean(0)) ** 2).sum()
    if spread < 1:
        return None
    scale = float(((q - q.mean(0)) * (p - p.mean(0))).sum() / spread)
    if scale <= 0:
        return None
    return scale, p.mean(0) - scale * q.mean(0), int(chosen.sum())


def lay_over(
    name_a: str, a: np.ndarray, name_b: str, b: np.ndarray, scale: float, shift: np.ndarray, votes: int
) -> Overlap | None:
    """The overlap of two gray images placed so, or None if their common part is too small or differs.

    The common part of both is brought to at most GRID pixels a side and freed of slow changes, which any two
    skies share; the best correlation over small corrections of scale and shift counts.
    """
    box = _common(a.shape, b.shape, scale, shift)
    sides = box[2:] - box[:2]
    if min(sides / max(scale, 1.0)) < COMMON:
        return None
    n = np.maximum(8, np.round(sides * min(GRID / sides.max(), 1.0, 1 / scale))).astype(int)
    pixel = (sides / n).mean()  # of the grid, in a's pixels
    best, best_of = _correlation(a, b, scale, shift, n), (scale, shift)
    if best < HOPEFUL:
        return None
    middle = box[:2] + sides / 2
    for stretch in (0.985, 0.99, 0.995, 1.0, 1.005, 1.01, 1.015):
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                tried = scale * stretch
                moved = middle - stretch * (middle - shift) + np.array([dy, dx]) * pixel
                correlation = _correlation(a, b, tried, moved, n)
                if correlation > best:
                    best, best_of = correlation, (tried, moved)
    if best < SAME:
        return None
    scale, shift = best_of
    box = _common(a.shape, b.shape, scale, shift)
    area = np.prod(box[2:] - box[:2])
    return Overlap(
        name_a,
        name_b,
        round(scale, 3),
        tuple(int(x) for x in np.round(box)),  # type: ignore[arg-type]
        round(float(area / np.prod(a.shape)), 3),
        round(float(area / np.prod(b.shape) / scale**2), 3),
        round(best, 3),
        votes,
    )


def _common(a: tuple[int, ...], b: tuple[int, ...], scale: float, shift: np.ndarray) -> np.ndarray:
    """Top, left, bottom, right of what both show, in a's pixels."""
    low = np.maximum(0, shift)
    return np.concatenate([low, np.maximum(low, np.minimum(a[:2], np.array(b[:2]) * scale + shift))])


def _correlation(a: np.ndarray, b: np.ndarray, scale: float, shift: np.ndarray, n: np.ndarray) -> float:
    from scipy import ndimage

    box = _common(a.shape, b.shape, scale, shift)
    inside = [_part(a, box, n), _part(b, (box - np.tile(shift, 2)) / scale, n)]
    x, y = (part - ndimage.gaussian_filter(part, 4.0) for part in inside)
    norm = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / norm) if norm > 0 else -1.0


def _part(image: np.ndarray, box: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The part of an image inside `box`, brought to n rows and columns."""
    from scipy import ndimage

    step = (box[2:] - box[:2]) / n
    top, left = np.floor(np.maximum(box[:2] - 2 * step, 0)).astype(int)
    bottom, right = np.ceil(box[2:] + 2 * step).astype(int)
    cut = image[top:bottom, left:right]
    cut = ndimage.gaussian_filter(cut, 0.5 * np.sqrt(np.maximum(step**2 - 1, 0)))
    axes = [box[i] + (np.arange(n[i]) + 0.5) * step[i] - 0.5 - start for i, start in enumerate((top, left))]
    return ndimage.map_coordinates(cut, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")


# ---- the stage ----

COLUMNS = (
    "kind", "set_a", "image_a", "set_b", "image_b", "relation", "scale", "box_a", "share_a", "share_b",
    "correlation", "votes", "left_out",
)  # fmt: skip


class StoreImages(Sequence[tuple[str, np.ndarray]]):
    """The images of a store, and further files, read when they are looked at."""

    def __init__(self, store: Store, files: Sequence[Path] = ()) -> None:
        self.store, self.files = store, files

    def __len__(self) -> int:
        return len(self.store) + len(self.files)

    def __getitem__(self, i):
        if i >= len(self):
            raise IndexError(i)
        if i < len(self.store):
            return self.store.names[i], self.store[i]
        path = self.files[i - len(self.store)]
        return path.stem, read_rgb(path)


class Described:
    """A set of images whose patches are looked for when they are first needed.

    `key` says what it holds: the store's digest, and hashes of further files.
    """

    def __init__(self, name: str, store: Path, files: Sequence[Path] = ()) -> None:
        opened = Store(store)
        self.name, self.images = name, StoreImages(opened, files)
        self.key = [opened.digest, *([path.stem, sha256_file(path)] for path in files)]

    @cached_property
    def patches(self) -> list[Patches]:
        return describe_all(self.images)


@dataclass(frozen=True)
class Found:
    """Overlaps of pairs of sets; those that were found before are taken from `folder`, if there is one.

    code: whatever makes results of another program others.
    """

    folder: Path | None = None
    code: str = ""

    def of(self, a: Described, b: Described) -> list[Overlap]:
        if self.folder is None:
            return find_overlaps(a.images, b.images, patches=(a.patches, b.patches))
        path = self.folder / f"{sha256_json([self.code, a.key, b.key])[:32]}.json"
        if path.exists():
            return [Overlap(**{**row, "box": tuple(row["box"])}) for row in read_json(path)]
        found = find_overlaps(a.images, b.images, patches=(a.patches, b.patches))
        write_json(path, [asdict(overlap) for overlap in found])
        return found


def check_split(
    out: Path,
    train: tuple[str, Path],
    tests: Sequence[tuple[str, Path]],
    folders: Sequence[Path] = (),
    exclude: Sequence[str] = (),
    found: Found = Found(),
) -> None:
    """Compare the training images with all test images, and the test sets with each other.

    Args:
        out: CSV, columns COLUMNS; `left_out` is "yes" for a training image that training does not see.
        train, tests: (name, HR store).
        folders, exclude: where the training images come from and which are left out; they are looked at too.
        found: where results for pairs of sets are kept.

    Raises:
        UserError: a training image that is a test image and is not left out, by name (nothing is written).
    """
    files = [path for folder in folders for path in list_images(folder) if path.stem in set(exclude)]
    first = Described(*train, files)
    others = [Described(*test) for test in tests]
    rows: list[dict[str, object]] = []
    leaks: list[str] = []
    for test in others:
        log.info(f"{first.name} ({len(first.images)} images) and {test.name} ({len(test.images)})")
        for overlap in found.of(first, test):
            left_out = overlap.a in exclude
            rows.append(_row("train-test", first.name, test.name, overlap, "yes" if left_out else "no"))
            line = f"{first.name}/{overlap.a} and {test.name}/{overlap.b}: {overlap.relation}"
            log.info(f"{line} (correlation {overlap.correlation})" + (", left out" if left_out else ""))
            if not left_out:
                leaks.append(line)
    seen = {row["image_a"] for row in rows}
    for name in exclude:
        if name not in seen:
            log.info(f"{first.name}/{name} is left out, though it is in none of these test sets")
    for a, b in combinations(others, 2):
        for overlap in found.of(a, b):
            rows.append(_row("test-test", a.name, b.name, overlap, ""))
            log.info(f"{a.name}/{overlap.a} and {b.name}/{overlap.b}: {overlap.relation}")
    if leaks:
        image = leaks[0].partition(" and ")[0].partition("/")[2]
        more = f" (and {len(leaks) - 1} more, see the log)" if len(leaks) > 1 else ""
        raise UserError(f"{leaks[0]}{more}; add {image!r} to datasets.{first.name}.exclude in config.yaml")
    write_csv(out, COLUMNS, [row | {k: as_cell(str(row[k])) for k in ("image_a", "image_b")} for row in rows])


def _row(kind: str, set_a: str, set_b: str, overlap: Overlap, left_out: str) -> dict[str, object]:
    return {
        "kind": kind, "set_a": set_a, "image_a": overlap.a, "set_b": set_b, "image_b": overlap.b,
        "relation": overlap.relation, "scale": overlap.scale, "box_a": " ".join(map(str, overlap.box)),
        "share_a": overlap.share_a, "share_b": overlap.share_b, "correlation": overlap.correlation,
        "votes": overlap.votes, "left_out": left_out,
    }  # fmt: skip
