"""The loop of long trainings on a schedule, with a running average of the weights as their result."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import lightning_fabric
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays, place_anywhere, place_on_any_lesion
from mapping_stroke.networks.spec import Weights
from mapping_stroke.training.batches import Batch, Randomness, cut_patch, draw_batch
from mapping_stroke.training.loop import Epoch, EpochSoFar, Learner, Step, TrainingState, set_up, take_step, validate
from mapping_stroke.training.schedule import Schedule, Session
from mapping_stroke.training.schemes import NONE, Augmentation, Scheme, Size, augmentation_of
from mapping_stroke.training.supply import Position, Supply

VALIDATION_SEED = (11,)
"""All validations use the same patches, so that curves reflect only the network."""
BETWEEN_LOOKS_S = 0.2
FEWEST_VOXELS = 8.0
"""Voxels without error added to the mean in `patch_hardness`, which damps single voxels."""


@dataclass(frozen=True, eq=False)
class Task:
    """Settings of a training on a schedule.

    Attributes:
        scheme: Loss and augmentation.
        size: Batch and number of validation steps.
        schedule: The schedule.
        session: The current call of a training by the clock; None for a schedule over patches.
    """

    scheme: Scheme
    size: Size
    schedule: Schedule
    session: Session | None = None

    def is_over(self, position: Position) -> bool:
        """Whether this call takes no more steps, although the schedule may not be done."""
        if self.session is None:
            return False
        return self.session.is_over(position, self.schedule.patch_at(self.schedule.place_of(position)))

    def steps_of(self, number: int) -> int:
        """Number of steps of a period; 0 for a schedule by the clock."""
        if self.session is not None:
            return 0
        schedule = self.schedule
        return -(-min(schedule.period, schedule.length - number * schedule.period) // self.size.batch)


def start_position(network: nn.Module) -> Position:
    """The initial position, with the weights as their own average."""
    return Position({name: value.detach().clone() for name, value in network.named_parameters()})


def average_weights(position: Position) -> Weights:
    """The average of the weights, in the form of `unet_weights`."""
    return {name: value.cpu().numpy() for name, value in position.average.items()}


def train_on_schedule(
    state: TrainingState,
    position: Position,
    task: Task,
    cases: tuple[Supply, Sequence[CaseArrays]],
    fabric: lightning_fabric.Fabric,
    *,
    compiled: bool = False,
) -> Iterator[Step | Epoch]:
    """Train from the current state to the end of the schedule or of the session.

    At every yield the state is consistent, as in `train`; while waiting for cases, the same step is yielded again.

    Args:
        state: Changed in place, as is `position`.
        position: From `start_position`, or read from a checkpoint.
        task: Settings of the training.
        cases: Supply of training cases, and validation cases, which may be empty.
        fabric: Launched engine of one process.
        compiled: See `train`.

    Yields:
        A `Step` after every training step, and the record of every period, validated with the averaged weights.

    Raises:
        TrainingError: The loss is no longer finite, or the supply of cases ended.
    """
    schedule, session = task.schedule, task.session
    # patches grow only a few times: code for each size is faster than code for any size
    learner = set_up(state, fabric, compiled=compiled, dynamic=False)
    if session is not None:
        session.begin(position, schedule.length)
    while len(state.epochs) < schedule.periods:
        number = len(state.epochs)
        while schedule.place_of(position) < schedule.period_end(number):
            start, left_s = time.monotonic(), 0.0 if session is None else session.left_s
            while not task.is_over(position) and not cases[0].is_ready():
                time.sleep(BETWEEN_LOOKS_S)
                yield Step(number, state.so_far.steps_done, task.steps_of(number))
            if task.is_over(position):
                return
            patch = schedule.patch_at(schedule.place_of(position))
            loss = _step(learner, state, position, task, cases[0])
            if session is not None:
                session.count_step(position, patch, left_s)
            state.so_far.add_training(loss, time.monotonic() - start)
            yield Step(number, state.so_far.steps_done, task.steps_of(number))
        _end_period(learner, state, position, task, cases[1])
        yield state.epochs[-1]


def _step(learner: Learner, state: TrainingState, position: Position, task: Task, supply: Supply) -> Float[Tensor, ""]:
    """Take a step, count its patches, and return the loss."""
    schedule = task.schedule
    learner.set_rate(schedule.rate_of(position))
    batch = draw_scheduled(supply, schedule, position, task.size.batch, augmentation_of(task.scheme), state.random)
    loss, logits = take_step(learner, batch, task.size.loss_of(task.scheme))
    supply.note(batch.case_ids, patch_hardness(logits, batch.target).tolist())
    # the state's own network: that of the learner has other parameter names once compiled
    _update_average(position, state.network, schedule)
    position.patches += task.size.batch
    return loss


def _end_period(
    learner: Learner, state: TrainingState, position: Position, task: Task, cases: Sequence[CaseArrays]
) -> None:
    """Validate with the averaged weights and record the period; one without steps is not validated."""
    before_s = 0.0 if task.session is None else task.session.left_s
    if state.so_far.steps_done:
        with averaged(state.network, position):
            _validate(learner, state.so_far, task, cases)
    state.epochs.append(state.so_far.sum_up(len(state.epochs), task.schedule.rate_of(position)))
    state.so_far = EpochSoFar()
    if task.session is not None:
        task.session.count_validation(before_s - task.session.left_s)


def draw_scheduled(
    supply: Supply, schedule: Schedule, position: Position, batch: int, augmentation: Augmentation, random: Randomness
) -> Batch:
    """Draw a batch: its last patches are centred on lesions, and a share of all is cut from hard cases.

    Args:
        supply: A supply that is ready.
        schedule: Patch size, and shares of lesion-centred patches and of hard cases.
        position: Position of the training.
        batch: Number of patches.
        augmentation: Augmentation of each patch.
        random: Random generators.
    """
    patch, elsewhere = schedule.patch_at(schedule.place_of(position)), round(batch * (1 - schedule.lesion_share))
    pairs, case_ids = [], []
    # each patch has its own generators, as in `draw_batch`
    for index, seed in enumerate(random.numbers.integers(2**63, size=batch)):
        of_patch = random.of_patch(int(seed))
        rng = of_patch.numbers
        case = (supply.draw_hard if rng.random() < schedule.hard_share else supply.draw)(rng)
        if index < elsewhere:
            corner = place_anywhere(case.scan.shape, patch, rng)
        else:
            corner = place_on_any_lesion(case.scan.shape, patch, case.lesion_voxels, rng)
        pairs.append(cut_patch(case, corner, patch, augmentation, of_patch))
        case_ids.append(case.case_id)
    scans, targets = zip(*pairs, strict=True)
    return Batch(torch.stack(scans)[:, None], torch.stack(targets), tuple(case_ids))


def patch_hardness(logits: Float[Tensor, "n 2 x y z"], target: Int[Tensor, "n x y z"]) -> Float[Tensor, " n"]:
    """Mean cross-entropy over the lesion and predicted lesion voxels of each patch, 0 or more; 0 if there are none.

    A missed lesion therefore counts the same whatever its volume, and so does a false positive in a healthy brain.
    `FEWEST_VOXELS` without error are included, so that single voxels do not make a patch hard.
    """
    entropy = functional.cross_entropy(logits.float(), target, reduction="none", ignore_index=UNSURE)
    concerned = ((target == 1) | (logits[:, 1] > logits[:, 0])) & (target != UNSURE)
    return (entropy * concerned).flatten(1).sum(1) / (concerned.flatten(1).sum(1) + FEWEST_VOXELS)


@contextmanager
def averaged(network: nn.Module, position: Position) -> Iterator[None]:
    """Temporarily give a network the average of its weights; its own are restored exactly."""
    own = {name: value.detach().clone() for name, value in network.named_parameters()}
    _give(network, position.average)
    try:
        yield
    finally:
        _give(network, own)


def _give(network: nn.Module, weights: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(weights[name])


def _update_average(position: Position, network: nn.Module, schedule: Schedule) -> None:
    """Update the running average of the weights."""
    weights = dict(network.named_parameters())
    averages = list(position.average.values())
    with torch.no_grad():
        # one call for all parameters: one by one would cost a GPU more time in launches than in work
        torch._foreach_lerp_(
            averages,
            [weights[name] for name in position.average],
            1 - schedule.decay_at(position.patches),
        )


def _validate(learner: Learner, so_far: EpochSoFar, task: Task, cases: Sequence[CaseArrays]) -> None:
    size, loss_config = task.size, task.size.loss_of(task.scheme)
    random = Randomness.from_seed(VALIDATION_SEED, learner.fabric.device)
    for _ in range(size.validation_steps if cases else 0):
        start = time.monotonic()
        batch = draw_batch(cases, size.patch, size.batch, NONE, random)
        validated = validate(learner.network, batch, loss_config, learner.fabric)
        so_far.add_validation(*validated, time.monotonic() - start)
