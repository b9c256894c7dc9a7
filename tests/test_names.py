"""The names that are offered on the command line are those of the rows of data behind them."""

from typing import get_args

from mapping_stroke.evaluation.profiles import PROFILES
from mapping_stroke.names import METHOD_LABELS, PAPER_SCHEMES, ProfileName, RuleName, SizeName, VariantName
from mapping_stroke.rules import RULES
from mapping_stroke.run_folder import ENSEMBLE, FINAL
from mapping_stroke.training.schemes import EXTRA_SCHEMES, SCHEMES, SIZES, VARIANTS


def test_every_row_of_data_has_its_name_in_the_same_order() -> None:
    assert get_args(SizeName) == tuple(SIZES)
    assert get_args(RuleName) == tuple(RULES)
    assert get_args(ProfileName) == tuple(PROFILES)
    assert get_args(VariantName) == tuple(VARIANTS)


def test_methods_are_the_schemes_of_the_paper_further_ones_and_the_ensembles() -> None:
    assert tuple(scheme.name for scheme in SCHEMES) == PAPER_SCHEMES
    assert list(METHOD_LABELS) == [*PAPER_SCHEMES, *(scheme.name for scheme in EXTRA_SCHEMES), ENSEMBLE, FINAL]
