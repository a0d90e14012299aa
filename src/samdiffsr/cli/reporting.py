"""Commands that make what people read: tables, figures, the report page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from samdiffsr.cli.options import Out, RecipeText, Threads, named, path, paths
from samdiffsr.cli.stage import Stage
from samdiffsr.core.errors import UserError

TOPIC = "Tables and figures"
app = typer.Typer()


@app.command("gather", cls=Stage, rich_help_panel=TOPIC)
def gather(
    published: Annotated[Path, path("The paper's tables, CSV.")],
    out: Annotated[Path, path("The table, CSV.")],
    tidy: Annotated[Path, path("CSV with a row for each value.")],
    differences: Annotated[Path, path("CSV of the differences between methods.")],
    markdown: Annotated[Path, path("The table, Markdown.")],
    latex: Annotated[Path, path("The table, LaTeX.")],
    scores: Annotated[list[Path], paths("Scores of single images.")],
    recipe: RecipeText,
    sets: Annotated[list[Path] | None, paths("Scores of whole sets.")] = None,
    threads: Threads = 1,
) -> None:
    """Make one table from the scores."""
    from samdiffsr.reporting.tables import differences as claims
    from samdiffsr.reporting.tables import render
    from samdiffsr.reporting.tables.gather import gather
    from samdiffsr.reporting.tables.recipe import TableRecipe

    told = TableRecipe.parse(recipe)
    rows = gather(told, scores, sets or [], published, out, tidy)
    claimed = claims.differences(told, scores, published, differences)
    render.write_text(markdown, render.markdown(told, rows, claimed))
    render.write_text(latex, render.latex(told, rows, claimed))


@app.command("draw", cls=Stage, rich_help_panel=TOPIC)
def draw(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The figure's name in messages, e.g. figure5.")],
    out: Annotated[list[Path], paths("Files to write, .png and .pdf.")],
    recipe: RecipeText,
    inputs: Annotated[
        list[Any] | None, typer.Option(parser=named, metavar="USE=PATH...", help="The files that it shows.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Draw one figure from CSVs, images and small files."""
    from samdiffsr.reporting.figures.draw import draw
    from samdiffsr.reporting.figures.registry import read_recipe

    uses: dict[str, list[Path]] = {}
    for use, place in inputs or ():
        uses.setdefault(use, []).append(place)
    try:
        draw(read_recipe(recipe), uses, out)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


@app.command("join-differences", cls=Stage, rich_help_panel=TOPIC)
def join_differences(
    out: Out, parts: Annotated[list[Path], paths("The tables' differences.")], threads: Threads = 1
) -> None:
    """Put the tables' differences into one file."""
    from samdiffsr.reporting.tables.differences import join

    join(parts, out)


@app.command("report", cls=Stage, rich_help_panel=TOPIC)
def report(
    differences: Annotated[Path, path("All differences, CSV.")],
    results: Annotated[Path, path("The study's results.")],
    stores: Annotated[Path, path("The images' stores.")],
    out: Annotated[Path, path("The page.")],
    recipe: RecipeText,
    tidy: Annotated[list[Path] | None, paths("Tidy tables.")] = None,
    figures: Annotated[list[Path] | None, paths("PNG files.")] = None,
    overlaps: Annotated[
        Path | None, path("What the sets have in common, CSV; default: not compared.")
    ] = None,
    threads: Threads = 1,
) -> None:
    """Make the page that shows a study: tables, images, figures, origin."""
    from samdiffsr.reporting.page.page import report
    from samdiffsr.reporting.page.recipe import ReportRecipe

    told = ReportRecipe.parse(recipe)
    report(told, tidy or [], differences, figures or [], results, stores, out, overlaps)


@app.command("findings", cls=Stage, rich_help_panel=TOPIC)
def findings(
    kept: Annotated[Path, path("The kept studies.")] = Path("results/kept"),
    template: Annotated[Path, path("Template of the text.")] = Path("docs/_site/findings.md.j2"),
    others: Annotated[Path, path("What others measured, CSV.")] = Path("paper/others.csv"),
    out: Annotated[Path, path("The page.")] = Path("docs/study/findings.md"),
    threads: Threads = 1,
) -> None:
    """Write the findings page from the kept scores."""
    from samdiffsr.reporting.findings import render
    from samdiffsr.reporting.tables.render import write_text

    for place in (kept, template, others):
        if not place.exists():
            raise UserError(f"{place} is not there; run this in the repository's root")
    write_text(out, render(template.read_text(encoding="utf-8"), kept, others))
