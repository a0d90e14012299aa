"""The demo data set: photographs that scikit-image and matplotlib install anyway. Nothing is downloaded.

Photographs only: scikit-image's gray textures and its microscopy slide have residuals of two to four times
a photograph's variance, and a small denoiser trained on them leaves grain on skies and skin. `motorcycle`
has no stated licence and is left out.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_json
from samdiffsr.data.images import read_rgb, write_png


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image inside an installed package.

    `pixels` is the SHA-256 of the decoded RGB bytes: it holds the decoder to account as well as the file.
    """

    split: Literal["train", "test"]
    name: str
    package: str
    file: str
    pixels: str
    licence: str
    credit: str


SKIMAGE, MATPLOTLIB = "skimage", "matplotlib"

PHOTOGRAPHS = (
    Photograph(
        "test", "astronaut", SKIMAGE, "data/astronaut.png",
        "a8c429c18afa7b0fd5673e598d73a21225d94c864a71bbb3885126fdecb41071",
        "public domain", "Eileen Collins, NASA Great Images database, https://flic.kr/p/r9qvLn",
    ),
    Photograph(
        "test", "chelsea", SKIMAGE, "data/chelsea.png",
        "416b729128bfb2c3d1eb69bf9b1734a796293abc17939267b2dc94f8a5784031",
        "CC0", "Chelsea the cat, Stefan van der Walt",
    ),
    Photograph(
        "train", "coffee", SKIMAGE, "data/coffee.png",
        "0ce2b51640b9c95f19617f03eabf40c3f0368589cc1ee1190b70966165ac184f",
        "CC0", "Rachel Michetti, courtesy of Pikolo Espresso Bar",
    ),
    Photograph(
        "train", "grace_hopper", MATPLOTLIB, "mpl-data/sample_data/grace_hopper.jpg",
        "f7f982de68dd296af67ee51b2a95a2e5658f7bf064c6536520b66bae8d01fc34",
        "public domain", "Commodore Grace M. Hopper, United States Navy",
    ),
    Photograph(
        "train", "rocket", SKIMAGE, "data/rocket.jpg",
        "3d4435cc745752b7f9724df88c6e18817de3ce7e3d2d71c55f85f7831e68f197",
        "public domain", "Falcon 9 carrying DSCOVR, SpaceX",
    ),
)  # fmt: skip


def make_demo(out: str | Path) -> None:
    """Write `out`/{train,test}/<name>.png and `out`/SOURCES.json (origin, licence, credit of each).

    The files are byte-identical on every machine. Raises UserError naming the image if its package lacks it
    or if it decodes to other pixels than the ones recorded here.
    """
    out = Path(out)
    for photograph in PHOTOGRAPHS:
        path = locate(photograph)
        image = read_rgb(path)
        found = hashlib.sha256(image.tobytes()).hexdigest()
        if found != photograph.pixels:
            raise UserError(
                f"demo image {photograph.name}: {path} decodes to pixels {found[:12]}, expected "
                f"{photograph.pixels[:12]}; install the pinned {photograph.package} and pillow"
            )
        write_png(out / photograph.split / f"{photograph.name}.png", image, portable=True)
    write_json(out / "SOURCES.json", [asdict(photograph) for photograph in PHOTOGRAPHS])


def locate(photograph: Photograph) -> Path:
    """Where the installed package keeps the file; UserError if the package or the file is missing."""
    spec = importlib.util.find_spec(photograph.package)  # finds without importing
    if spec is None or spec.origin is None:
        raise UserError(f"demo image {photograph.name}: the package {photograph.package} is not installed")
    path = Path(spec.origin).parent / photograph.file
    if not path.is_file():
        raise UserError(
            f"demo image {photograph.name}: {path} is missing; install the pinned {photograph.package} again"
        )
    return path
