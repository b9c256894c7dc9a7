"""Which cases are shown: fixed places in the order of Dice, so that nobody picks the pretty ones."""

import math
from collections.abc import Sequence

from mapping_stroke.evaluation.tables import CaseScore

QUANTILES = (0.95, 0.8, 0.6, 0.45)
"""Of the Dice: two easy cases and two ordinary ones."""
WORST = 4


def worst_cases(scores: Sequence[CaseScore], count: int = WORST) -> list[str]:
    """The cases of lowest Dice, worst first; of equal ones the largest load, then by id; NaN is passed over."""
    return [score.case_id for score in _ranked(scores)[:count]]


def typical_cases(scores: Sequence[CaseScore]) -> list[str]:
    """The cases at `QUANTILES` of the Dice, best first, each once; cases without lesion are passed over."""
    ranked = _ranked([score for score in scores if score.load_vox > 0])
    if not ranked:
        return []
    places = dict.fromkeys(round(quantile * (len(ranked) - 1)) for quantile in QUANTILES)
    return [ranked[place].case_id for place in places]


def _ranked(scores: Sequence[CaseScore]) -> list[CaseScore]:
    defined = [score for score in scores if not math.isnan(score.values["dice"])]
    return sorted(defined, key=lambda score: (score.values["dice"], -score.load_vox, score.case_id))
