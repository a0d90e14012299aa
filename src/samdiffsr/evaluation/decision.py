"""The decision rule: what a study has to show, fixed before it runs. docs/study/decision.md says why.

A change here is a new VERSION. What was run under which version stands in results/kept/README.md.
"""

from __future__ import annotations

from typing import Literal

from samdiffsr.evaluation.compare import Difference, equivalence, verdict
from samdiffsr.evaluation.crossed import Spread, seeds_needed

VERSION = "2"  # of 28 November 2026
METRIC = "psnr_y"
SMALLEST_EFFECT = 0.2  # dB; a smaller difference is of no interest, and equivalence is within it
PUBLISHED_EFFECT = 0.74  # dB; the paper's SAM-DiffSR minus SRDiff on DIV2K, Table 2
IMAGES = 100  # of the primary data set: DIV2K's validation, Urban100 and BSDS100 each have as many
SEEDS = 5  # of the primary comparisons
LEVEL = 0.05  # of p-values, after Holm's correction over the study
# Of the paired difference in PSNR-Y (dB), estimated in results/kept/pilot on BSDS100
SPREAD = Spread(seed=0.223, image=0.328, residual=0.230)


Conclusion = Literal["higher", "lower", "no difference of interest", "not decided"]


def conclusion(found: Difference, p_study: float | None) -> Conclusion:
    """What the rule concludes of one primary comparison; the first of its lines that applies.

    p_study: of that comparison, after Holm's correction over the study; None: nothing is claimed.
    """
    told = verdict(found)
    if told != "not decided" and p_study is not None and p_study <= LEVEL:
        return told
    within = equivalence(found, SMALLEST_EFFECT)
    return "no difference of interest" if within is not None and within <= LEVEL else "not decided"


def seeds_to_decide(effect: float, images: int = IMAGES) -> int | None:
    """Training seeds that find a difference of `effect` dB with 80 % power; None: no number would do."""
    return seeds_needed(effect, SPREAD, images)


def needed_words(seeds: int) -> str:
    """What a study with so many seeds can decide, for the plan."""
    shown = "; ".join(
        f"{effect:g} dB: {seeds_to_decide(effect)} seeds" for effect in (PUBLISHED_EFFECT, SMALLEST_EFFECT)
    )
    return f"to decide {shown} ({IMAGES} images, 80 % power; this study has {seeds})"
