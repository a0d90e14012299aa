"""Region masks described in Croissant (MLCommons), so that loaders and search engines of data sets find them.

A table with a row an image is the part that Croissant's loaders read. The label maps are a format of this
project (`masks.store`): the description names their files and how to open them.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.core import layout
from samdiffsr.core.extras import optional
from samdiffsr.core.files import sha256_file, write_csv, write_json
from samdiffsr.masks.store import RegionStore

COLUMNS = {  # name -> Croissant's type, what it says
    "image": ("TEXT", "name of the image"),
    "height": ("INTEGER", "of the label map, pixels"),
    "width": ("INTEGER", "of the label map, pixels"),
    "masks": ("INTEGER", "number of masks; they may overlap"),
}
PAPER = "https://arxiv.org/abs/2402.17133"


def describe_masks(
    config: Config, masks: str, root: Path, folder: Path, *, copy: bool = False, licence: str = ""
) -> Path:
    """Describe the training set's masks called `masks` in `folder`/masks/; returns the Croissant file.

    Args:
        copy: copy the region store too; else its index alone, which holds the digest of all.

    Raises:
        UserError: the masks are not made, or the extra `records` is not installed.
    """
    mlc = optional("mlcroissant", "records")
    train = config.chosen.train_set
    stem, name = root / layout.regions(train, masks), f"{train}.{masks}"
    store, place = RegionStore(stem), folder / "masks"
    table = place / f"{name}.csv"
    write_csv(table, list(COLUMNS), _rows(store))
    files = [(table, "text/csv", "a row an image")]
    for suffix in layout.REGIONS if copy else layout.REGIONS[:1]:
        target = place / f"{name}{suffix}"
        shutil.copyfile(f"{stem}{suffix}", target)
        kind = "application/json" if suffix == ".json" else "application/octet-stream"
        files.append((target, kind, "part of the region store"))
    metadata = mlc.Metadata(
        name=name,
        description=(
            f"Region masks of the images of {train}, made by samdiffsr. Open the store with "
            f"samdiffsr.masks.store.RegionStore. SHA-256 of all its content: {store.digest}. Settings: "
            f"{config.mask_sets[layout.read_masks(masks)[0]].text()}"
        ),
        cite_as=PAPER,
        license=[licence] if licence else None,
        url=PAPER,
        version="1.0.0",
        date_published=datetime.now(UTC),
        distribution=[
            mlc.FileObject(
                id=path.name,
                name=path.name,
                description=about,
                content_url=path.name,
                encoding_formats=[kind],
                sha256=sha256_file(path),
            )
            for path, kind, about in files
        ],
        record_sets=[_records(mlc, table.name)],
    )
    out = place / f"{name}.croissant.json"
    write_json(out, metadata.to_json())
    mlc.Dataset(jsonld=str(out))  # raises what is wrong with it
    return out


def _rows(store: RegionStore) -> list[dict[str, Any]]:
    rows = []
    for i, name in enumerate(store.names):
        height, width = store.labels.shape(i)
        rows.append({"image": name, "height": height, "width": width, "masks": store[i].n_masks})
    return rows


def _records(mlc: Any, table: str) -> Any:
    fields = [
        mlc.Field(
            id=f"images/{column}",
            name=column,
            description=about,
            data_types=[getattr(mlc.DataType, kind)],
            source=mlc.Source(file_object=table, extract=mlc.Extract(column=column)),
        )
        for column, (kind, about) in COLUMNS.items()
    ]
    return mlc.RecordSet(id="images", name="images", description="A row an image.", fields=fields)
