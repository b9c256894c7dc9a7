import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.training.batches import bring_to, has_room

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CASE = CaseArrays(
    "a", torch.zeros(10, 10, 10).half(), torch.zeros(10, 10, 10, dtype=torch.uint8), np.zeros((0, 3), np.int16)
)


def test_a_case_takes_three_bytes_a_voxel() -> None:
    assert CASE.bytes == 3000


def test_on_a_processor_cases_stay_mapped() -> None:
    cases = [CASE]
    assert bring_to(CPU, cases) is cases


@pytest.mark.parametrize(("free", "fits"), [(6000, True), (5999, False)])
def test_cases_take_at_most_half_of_a_gpus_free_memory(free: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**6))
    assert has_room(CUDA, CASE.bytes) is fits


def test_cases_that_do_not_fit_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100, 10**6))
    assert bring_to(CUDA, [CASE, CASE]) == [CASE, CASE]
