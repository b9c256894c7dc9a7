from dataclasses import replace

import pytest

from mapping_stroke.errors import ConfigError
from mapping_stroke.training.schemes import (
    CARVEMIX,
    DEFAULT,
    EXTRA_SCHEMES,
    MIXUP,
    NO_MIXING,
    SCHEMES,
    SIZES,
    STRONG,
    LossConfig,
    Scheme,
    augmentation_of,
    find_scheme,
    find_size,
    find_variant,
    mixing_of,
    seed_number,
)


def test_the_four_schemes_are_the_papers() -> None:
    rows = [(s.name, s.encoder, s.loss, s.augmentation, s.pseudo_labels, s.full_epochs) for s in SCHEMES]
    assert rows == [
        ("default", "plain", "dice+ce", "default", False, 1000),
        ("dice-topk10", "plain", "dice+topk10", "default", False, 1000),
        ("residual", "residual", "dice+ce", "strong", False, 1000),
        ("self-training", "plain", "dice+ce", "default", True, 1000),
    ]


def test_the_container_differs_in_two_settings() -> None:
    paper, container = find_variant("paper"), find_variant("container")
    assert [a.name for a, b in zip(paper, container, strict=True) if a != b] == ["dice-topk10", "self-training"]
    assert container[1].full_epochs == 800
    assert augmentation_of(container[3]) is STRONG
    assert augmentation_of(container[0]) is DEFAULT


def test_extra_schemes_are_default_but_for_their_mixing() -> None:
    for scheme, mixing in zip(EXTRA_SCHEMES, (CARVEMIX, MIXUP), strict=True):
        assert mixing_of(scheme) is mixing
        assert replace(scheme, name="default", mixing="none") == SCHEMES[0]
        assert find_scheme(scheme.name, "paper") is find_scheme(scheme.name, "container") is scheme
        assert scheme not in (*find_variant("paper"), *find_variant("container"))
    assert all(mixing_of(scheme) is NO_MIXING for scheme in SCHEMES)


def test_every_scheme_has_a_seed_of_its_own_that_no_new_row_changes() -> None:
    assert [seed_number(scheme) for scheme in SCHEMES] == [0, 1, 2, 3]
    numbers = [seed_number(scheme) for scheme in (*SCHEMES, *EXTRA_SCHEMES)]
    assert len(set(numbers)) == len(numbers)
    assert seed_number(Scheme("carvemix", loss="dice+topk10")) == seed_number(EXTRA_SCHEMES[0])


def test_the_full_size_is_nnunets() -> None:
    full = SIZES["full"]
    assert (full.patch, full.batch, full.preprocess.spacing_mm) == ((128, 128, 128), 2, 1.0)
    assert (full.optimiser, full.learning_rate, full.momentum) == ("sgd", 0.01, 0.99)
    dice_ce, dice_topk10 = LossConfig(), LossConfig(topk_share=0.10)
    assert [full.loss_of(scheme) for scheme in SCHEMES] == [dice_ce, dice_topk10, dice_ce, dice_ce]
    assert (full.steps_per_epoch, full.validation_steps) == (250, 50)
    assert [full.epochs_of(scheme) for scheme in find_variant("container")] == [1000, 800, 1000, 1000]
    assert full.network(SCHEMES[2]).encoder == "residual"
    assert full.network(SCHEMES[3]).encoder == "plain"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find_scheme("magic"), "no training scheme 'magic'; expected one of default, dice-topk10"),
        (
            lambda: Scheme("new", mixing="blender"),
            "scheme new: no mixing 'blender'; expected one of none, carvemix, mixup",
        ),
        (
            lambda: Scheme("new", augmentation="wild"),
            "scheme new: no augmentation 'wild'; expected one of none, sides, default",
        ),
        (lambda: find_size("huge"), "no size 'huge'; expected one of full, compact, fine, small, tiny"),
        (lambda: find_variant("draft"), "no variant 'draft'"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()  # type: ignore[operator]


def test_a_patch_must_halve_at_every_stage() -> None:
    with pytest.raises(ConfigError, match=r"not a multiple of \(32, 32, 32\)"):
        replace(SIZES["full"], patch=(128, 128, 100))
