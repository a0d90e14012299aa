"""Every path of the graph can be read back, and no two things share one."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdiffsr.core import layout
from samdiffsr.core.layout import CONSTRAINTS, Layout, read, read_masks, read_run, seed_of

STUDY = Layout("demo")
FREE: list[Callable[..., str]] = [
    layout.source_stamp, layout.hr, layout.lr, layout.regions, layout.region_part, layout.region_state,
    layout.values,
]  # fmt: skip
OF_STUDY: list[Callable[..., str]] = [
    STUDY.samples, STUDY.sample_state, STUDY.sample_part, STUDY.draws, STUDY.draws_state, STUDY.steps,
    STUDY.steps_state, STUDY.scores, STUDY.mask_statistics, STUDY.mask_summary, STUDY.table, STUDY.figure,
]  # fmt: skip
OF_MODELS: list[Callable[..., str]] = [
    STUDY.model, STUDY.curve, STUDY.training_record, STUDY.training_state, STUDY.released,
]  # fmt: skip
KINDS: list[layout.Kind] = ["encoders", "runs"]


def values_of(names: list[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {name: st.from_regex(CONSTRAINTS.get(name, "[a-z]+"), fullmatch=True) for name in names}
    )


def arguments(spell: Callable[..., str]) -> list[str]:
    parameters = inspect.signature(spell).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.name != "kind"]


@pytest.mark.parametrize("spell", [*FREE, *OF_STUDY], ids=lambda f: f.__name__)
@given(data=st.data())
def test_a_path_is_read_back(spell: Callable[..., str], data: st.DataObject) -> None:
    values = data.draw(values_of(arguments(spell)))
    assert read(spell(**values), spell) == values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spell", OF_MODELS, ids=lambda f: f.__name__)
@given(data=st.data())
def test_a_models_path_is_read_back(
    spell: Callable[..., str], kind: layout.Kind, data: st.DataObject
) -> None:
    values = data.draw(values_of(arguments(spell)))
    assert read(spell(kind=kind, **values), spell, kind=kind) == values


@pytest.mark.parametrize("spell", OF_MODELS, ids=lambda f: f.__name__)
@given(
    a=st.from_regex(CONSTRAINTS["name"], fullmatch=True), b=st.from_regex(CONSTRAINTS["name"], fullmatch=True)
)
def test_an_encoder_and_a_variant_share_no_file(spell: Callable[..., str], a: str, b: str) -> None:
    """Also where both have one name."""
    assert spell(kind="encoders", name=a) != spell(kind="runs", name=b)


@given(values=values_of(["variant", "scale", "seed"]))
def test_a_runs_name_is_read_back(values: dict[str, str]) -> None:
    name = layout.run_name(**values)
    assert read_run(name) == (values["variant"], int(values["scale"]), int(values["seed"]))
    assert seed_of(name) == int(values["seed"])


@given(values=values_of(["mask_set", "scale"]))
def test_a_mask_sets_file_name_is_read_back(values: dict[str, str]) -> None:
    assert read_masks(layout.mask_name(values["mask_set"])) == (values["mask_set"], None)
    assert read_masks(layout.mask_name(**values)) == (values["mask_set"], int(values["scale"]))


def test_what_is_no_such_path_is_not_read() -> None:
    assert read("work/stores/set5/lr-x4", layout.lr) == {"dataset": "set5", "scale": "4"}
    for other in (
        "work/stores/set5/hr",
        "work/stores/set5/lr-x3",
        "work/stores/a/b/lr-x4",
        "xwork/stores/s/lr-x4",
    ):
        assert read(other, layout.lr) is None
    assert read("results/reduced/table2.csv", STUDY.table) is None
    assert read_run("sam_diffsr-x3-s0") is None
    assert read_run("sam_diffsr-x4-s0/../x") is None
    with pytest.raises(ValueError, match="'sam_diffsr-x3-s0' is no name of a run"):
        seed_of("sam_diffsr-x3-s0")


def test_wildcards_stay_as_they_are() -> None:
    assert (
        STUDY.scores(layout.RUN, "{dataset}")
        == "results/demo/scores/{variant}-x{scale}-s{seed}/{dataset}.csv"
    )
    assert layout.region_part("{dataset}", "{masks}", "{part}", "{parts}") == (
        "work/masks/{dataset}/{masks}/{part}of{parts}"
    )
    assert STUDY.log("score", layout.RUN, "{dataset}", "sets") == (
        "logs/demo/score/{variant}-x{scale}-s{seed}.{dataset}.sets.log"
    )
