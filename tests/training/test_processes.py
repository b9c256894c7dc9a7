from typing import Any

import pytest
import torch

import two_processes
from mapping_stroke.training.batches import Share

pytestmark = pytest.mark.slow  # two processes that start anew
Answers = dict[str, Any]


@pytest.fixture(scope="module")
def alone() -> Answers:
    return two_processes.run_in_one()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Answers]:
    return two_processes.run_in_two(tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("config", two_processes.CONFIGS)
def test_two_processes_have_the_gradients_of_one(config: str, alone: Answers, both: list[Answers]) -> None:
    for answers in both:
        assert answers[config].keys() == alone[config].keys()
        for name, gradient in alone[config].items():
            torch.testing.assert_close(answers[config][name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    largest = max(float(gradient.abs().max()) for gradient in alone[config].values())
    assert largest > 0.1  # there is something to compare


@pytest.mark.parametrize("scheme", [0, 1], ids=["dice-topk10", "residual"])
def test_two_processes_train_to_the_weights_and_records_of_one(
    scheme: int, alone: Answers, both: list[Answers]
) -> None:
    weights, records = alone["trained"][scheme]
    for answers in both:
        torch.testing.assert_close(answers["trained"][scheme][0], weights, rtol=1e-5, atol=1e-5)
        assert answers["trained"][scheme][1] == pytest.approx(records, abs=1e-5)
    assert torch.equal(both[0]["trained"][scheme][0], both[1]["trained"][scheme][0])


def test_a_loss_that_is_no_number_in_one_process_ends_both_and_names_its_cases(both: list[Answers]) -> None:
    assert [answers["nan"] for answers in both] == ["the loss is nan on a batch of broken; check these scans"] * 2


def test_what_one_process_says_all_hear(alone: Answers, both: list[Answers]) -> None:
    assert [answers["any"] for answers in both] == [(True, False)] * 2
    assert alone["any"] == (True, False)
    assert [answers["first"] for answers in both] == [{"rank": 0}] * 2


def test_all_go_on_from_the_state_of_the_first(alone: Answers, both: list[Answers]) -> None:
    assert both[0]["in step"] == both[1]["in step"] == alone["in step"]


def test_the_first_tells_its_failure_and_the_others_follow(alone: Answers, both: list[Answers]) -> None:
    assert both[0]["failures"] == alone["failures"] == ["TrainingError: it failed", "FileError: it failed"]
    assert both[1]["failures"] == ["TrainingError: it failed", "SystemExit: 0"]


def test_shares_are_equal_and_in_order() -> None:
    assert [list(Share(6, process, 3).indices) for process in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert list(Share(2).indices) == [0, 1]
