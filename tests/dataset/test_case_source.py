import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource, Mixture, Reseeded, draw_case


def make_case(name: str) -> CaseArrays:
    scan = torch.zeros(2, 2, 2)
    return CaseArrays(name, scan.half(), scan.to(torch.uint8), np.zeros((0, 3), np.int16))


A, B, C = (make_case(name) for name in "abc")


class Only:
    """A source of one case."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        return C


class Numbered:
    """Cases named after the first number that is drawn for them."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        return make_case(str(rng.integers(2**63)))


def names(source: CaseSource) -> list[str]:
    rng = np.random.default_rng(0)
    return [source.draw(rng).case_id for _ in range(20)]


def test_cases_that_are_there_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_case([A, B], rng).case_id for _ in range(2000)]
    assert abs(drawn.count("a") / 2000 - 0.5) < 0.04


def test_a_source_is_asked() -> None:
    assert isinstance(Only(), CaseSource)
    assert draw_case(Only(), np.random.default_rng(0)) is C


def test_a_mixture_draws_each_kind_as_often_as_it_says_and_repeats_itself() -> None:
    mixture = Mixture([A, B], Only(), 0.3)
    first, second = (
        [mixture.draw(rng).case_id for _ in range(2000)] for rng in (np.random.default_rng(1), np.random.default_rng(1))
    )
    assert first == second
    assert abs(first.count("c") / 2000 - 0.3) < 0.04


def test_no_case_of_one_seed_is_one_of_another() -> None:
    fresh, warm = Reseeded(Numbered(), (0, 8)), Reseeded(Numbered(), (0, 9))
    assert names(warm) == names(warm)
    drawn = [name for source in (Numbered(), fresh, warm, Reseeded(Numbered(), (1, 8))) for name in names(source)]
    assert len(set(drawn)) == 4 * 20
