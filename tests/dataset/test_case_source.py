import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource, Mixture, draw_case


def make_case(name: str) -> CaseArrays:
    scan = torch.zeros(2, 2, 2)
    return CaseArrays(name, scan.half(), scan.to(torch.uint8), np.zeros((0, 3), np.int16))


A, B, C = (make_case(name) for name in "abc")


class Only:
    """A source of one case."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        return C


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
