"""A pool of cases in memory: each is used 25 times at most, none is made twice, and as many are made as are used up."""

import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.training.supply import MADE_AT_ONCE, MOST_USES, Memory, Pool, PoolPlan


class Numbers:
    """Cases of one voxel, whose value is the first number drawn."""

    made = 0

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        self.made += 1
        scan = torch.full((1, 1, 1), float(rng.random()))
        return CaseArrays("any", scan.half(), torch.ones(1, 1, 1, dtype=torch.uint8), np.zeros((1, 3), np.int16))


def pool_of(size: int, memory: Memory | None = None) -> Pool:
    return Pool(PoolPlan(Numbers(), size, (0, 8)), memory or Memory())


def step(pool: Pool, batch: int, rng: np.random.Generator) -> list[str]:
    """Draw a batch of patches; the names of their cases."""
    while not pool.is_ready():
        pass
    names = [pool.draw(rng).case_id for _ in range(batch)]
    pool.note(names, [1.0] * batch)
    return names


def test_no_case_is_used_more_than_25_times_and_the_pool_stays_full() -> None:
    pool, rng, uses = pool_of(16), np.random.default_rng(0), dict[str, int]()
    for number in range(300):
        for name in step(pool, 8, rng):
            uses[name] = uses.get(name, 0) + 1
        assert number < 20 or len(pool.cases) >= 8
    assert max(uses.values()) == MOST_USES
    assert pool.memory.made - 16 <= 300 * 8 / MOST_USES + 1
    assert set(pool.memory.uses) <= set(pool.cases)
    assert set(pool.memory.hardness) <= set(pool.cases)


def test_it_begins_with_a_quarter_in_parts_and_grows_a_case_at_a_step() -> None:
    pool = pool_of(100)
    assert [pool.is_ready(), len(pool.cases), pool.is_ready(), len(pool.cases)] == [False, MADE_AT_ONCE, True, 32]
    assert pool.is_ready()
    assert len(pool.cases) == 33


def test_large_batches_are_kept_up_with() -> None:
    pool, rng = pool_of(64), np.random.default_rng(0)
    for _ in range(100):
        step(pool, 64, rng)
    assert len(pool.cases) > 56


def test_a_pool_of_few_cases_does_not_run_dry() -> None:
    pool, rng = pool_of(2), np.random.default_rng(0)
    assert len(step(pool, 200, rng)) == 200
    assert pool.draw_hard(rng).case_id in {f"case-{number:08d}" for number in range(20)}


def test_another_call_goes_on_with_new_cases() -> None:
    pool, rng = pool_of(8), np.random.default_rng(0)
    before = {name for _ in range(20) for name in step(pool, 2, rng)}
    values = {float(case.scan) for case in pool.cases.values()}
    later = pool_of(8, pool.memory)
    after = {name for _ in range(20) for name in step(later, 2, rng)}
    assert before.isdisjoint(after)
    assert values.isdisjoint(float(case.scan) for case in later.cases.values())
    assert set(later.memory.uses) <= set(later.cases)


def test_the_hardest_tenth_is_drawn_where_hard_cases_are_asked_for() -> None:
    pool, rng = pool_of(20), np.random.default_rng(0)
    while len(pool.cases) < 20:
        pool.is_ready()
    names = [pool.draw(rng).case_id for _ in range(60)]
    pool.note(names, [float(name[-2:]) for name in names])
    hardest = sorted(set(names))[-2:]
    assert {pool.draw_hard(rng).case_id for _ in range(20)} == set(hardest)
