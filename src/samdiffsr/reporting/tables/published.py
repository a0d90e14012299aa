"""The paper's own tables (paper/published_tables.csv), its errata applied."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from samdiffsr.core.errors import UserError
from samdiffsr.reporting.frames import read

PRINTED = ["table", "method", "scale", "dataset", "metric"]  # what names a printed value


def read_published(path: Path) -> pd.DataFrame:
    """PRINTED, `published` (the value as printed) and `erratum` (what was changed, and why; else "").

    The errata are those of `errata.yaml` beside `path`: {table, swap: [data set, data set], why}, columns
    that were exchanged in print.
    """
    import yaml

    values = read([path], [*PRINTED, "value"], "the paper's tables").rename(columns={"value": "published"})
    values["erratum"] = ""
    beside = path.with_name("errata.yaml")
    try:
        errata = yaml.safe_load(beside.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{beside}: not valid YAML ({error})") from None
    for erratum in errata:
        first, second = erratum["swap"]
        mine = values["table"] == str(erratum["table"])
        printed = values["dataset"].where(mine)
        for there, here in ((first, second), (second, first)):
            values.loc[printed == there, ["dataset", "erratum"]] = (
                here,
                f"printed under {there}: {erratum['why']}",
            )
    return values
