"""What the report needs beside tables, figures and images."""

from __future__ import annotations

from samdiffsr.config.config import Config
from samdiffsr.config.recipes.tables import Absences, sampling_words, table_recipe
from samdiffsr.reporting.page.recipe import ComparisonRecipe, Limits, Method, ReportRecipe


def report_recipe(config: Config, absent: dict[str, Absences] | None = None) -> ReportRecipe:
    """Everything the report needs beside the tables, the figures and the images.

    absent: table -> what `table_recipe` takes.
    """
    study = config.chosen
    return ReportRecipe(
        study=config.study,
        about=study.about,
        comparable=study.comparable,
        checkpoints=config.checkpoint_source,
        train_set=study.train_set,
        test_sets=study.test_sets,
        left_out=config.left_out,
        masks=config.levels,
        seeds=study.seeds,
        sampling=sampling_words(config, "denoiser"),
        limits=Limits(**config.report.model_dump()),
        tables=tuple(table_recipe(config, name, (absent or {}).get(name)) for name in config.tables),
        figures={name: figure.title for name, figure in config.figures.items()},
        comparisons=tuple(comparisons(config, absent)),
    )


def comparisons(config: Config, absent: dict[str, Absences] | None = None) -> list[ComparisonRecipe]:
    """The images that the report sets side by side: for each data set and scale factor the variants that
    some table shows there, of the first seed and the headline weights. `absent`: as in `report_recipe`.
    """
    shown: dict[tuple[int, str], set[str]] = {}
    for name, table in config.tables.items():
        for dataset in config.table_datasets(name):
            missing = {v for v, sets in (absent or {}).get(name, {}).items() if dataset in sets}
            shown.setdefault((table.scale, dataset), set()).update({*table.variants} - missing)
    order = sorted(filter(shown.get, shown), key=lambda key: (-key[0], config.chosen.test_sets.index(key[1])))
    return [
        ComparisonRecipe(
            dataset=dataset,
            label=config.dataset_label(dataset),
            scale=scale,
            methods=tuple(
                Method(
                    label=variant.label,
                    run=config.runs(name, scale)[0].name,
                    weights=config.weights(name)[0],
                    structured=variant.structured,
                )
                for name, variant in config.variants.items()
                if name in shown[scale, dataset]
            ),
        )
        for scale, dataset in order
    ]
