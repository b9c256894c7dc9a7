"""Training of one network on a schedule, for days and across machines, resumed exactly or from a small state file."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import clock, duration, name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource
from mapping_stroke.errors import FileError, TrainingError
from mapping_stroke.files import remove
from mapping_stroke.models.case_ring import Ring, RingSupply, producing
from mapping_stroke.networks.member_folder import has_member, write_member
from mapping_stroke.processes import locked
from mapping_stroke.stages.member import CheckpointPolicy, Plan, card_of, require_same_recipe
from mapping_stroke.stages.progress import TrainingLength, draw_curves, seconds_left, signed, watched, write_epochs
from mapping_stroke.stages.status import PROGRESS_FILE
from mapping_stroke.training.checkpoint import (
    NEWEST,
    join_pieces,
    read_list,
    remove_checkpoints,
    resume_from,
    write_checkpoint,
    write_pieces,
)
from mapping_stroke.training.engine import Engine
from mapping_stroke.training.loop import Epoch, Step, TrainingState, start_training
from mapping_stroke.training.schedule import Schedule
from mapping_stroke.training.scheduled import Task, average_weights, start_position, train_on_schedule
from mapping_stroke.training.schemes import seed_number
from mapping_stroke.training.small_state import SUFFIX, Identity, read_state, write_state
from mapping_stroke.training.supply import Endless, Pool, PoolPlan, Position, Supply


@dataclass(frozen=True, eq=False)
class LongCases:
    """Cases of a long training, and an earlier state to start from.

    Attributes:
        source: A ring that a separate process keeps full, a pool in the device's memory, or a source of a new case for
            every patch.
        validation: Validation cases.
        state: A small state file, or a folder that holds it under its usual name or holds a full state in pieces; None
            for none.
    """

    source: Ring | PoolPlan | CaseSource
    validation: Sequence[CaseArrays]
    state: Path | None = None


@dataclass(frozen=True, eq=False)
class _Long:
    """A training in progress."""

    folder: Path
    plan: Plan
    schedule: Schedule
    state: TrainingState
    position: Position
    pieces: Path | None = None

    @property
    def is_done(self) -> bool:
        """Whether the whole schedule has been completed."""
        return len(self.state.epochs) >= self.schedule.periods

    @property
    def identity(self) -> Identity:
        return Identity(self.plan.size.network(self.plan.scheme), self.plan.settings, self.plan.recipe)

    @property
    def small(self) -> Path:
        return self.folder / state_name(self.plan)

    def save(self) -> None:
        """Write the checkpoint, the small state, and the pieces for another machine if wanted."""
        write_checkpoint(self.folder, self.state, self.plan.recipe, self.position)
        write_state(self.small, self.state, self.position, self.identity)
        if self.pieces is not None:
            self.pieces.mkdir(exist_ok=True)
            write_state(self.pieces / self.small.name, self.state, self.position, self.identity)
            recipe, patches = self.plan.recipe, self.position.patches
            write_pieces(self.folder / NEWEST, self.pieces, self.small.stem, recipe, patches)


def state_name(plan: Plan) -> str:
    """File name of a member's small state, such as `compact-default.state`."""
    return f"{plan.size.name}-{plan.scheme.name}{SUFFIX}"


def train_by_schedule(folder: Path, plan: Plan, cases: LongCases, engine: Engine, saving: CheckpointPolicy) -> None:
    """Train a member on its schedule, resuming an unfinished training; do nothing if it is trained.

    Args:
        folder: The member's folder.
        plan: The member to train; it has a schedule.
        cases: Training and validation cases.
        engine: The launched engine, in a single process.
        saving: Checkpoint policy and stop request.

    Raises:
        RunFolderError: The folder holds a member of other settings.
        TrainingError: The loss is no longer a number, all checkpoints are damaged, another process trains this member,
            the supply of cases ended, or the small state belongs to another training.
        Stopped: On request, after writing checkpoint and small state.
    """
    with locked(folder.with_name(f".{folder.name}.lock"), plan.name):
        require_same_recipe(folder, plan, overwrite=False)
        if has_member(folder):
            say(f"{plan.name}: already trained")
        else:
            _train_under_lock(folder, plan, cases, engine, saving)
        if has_member(folder):
            remove_checkpoints(folder)
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
        if isinstance(cases.source, Ring):
            remove(cases.source.folder)
        name_files("State", saving.pieces or folder / state_name(plan))


def _train_under_lock(folder: Path, plan: Plan, cases: LongCases, engine: Engine, saving: CheckpointPolicy) -> None:
    if plan.schedule is None:
        raise TrainingError(f"{plan.name}: has no schedule to train on")
    weights = None if plan.start is None else plan.start.read_weights()
    seed = (plan.seed, seed_number(plan.scheme), plan.fold)
    state = start_training(plan.scheme, plan.size, seed, engine.fabric.device, weights)
    long = _Long(folder, plan, plan.schedule, state, start_position(state.network), saving.pieces)
    task = Task(plan.scheme, plan.size, plan.schedule, saving.session)
    length = TrainingLength(plan.name, plan.schedule.periods, task.steps_of(0))

    with signed(folder, length, state) as sign_running:
        _resume(long, cases.state)
        sign_running()
        with _supplied(cases.source, long.position) as supply:
            compiled = engine.hardware.compiled
            sources = (supply, cases.validation)
            events = train_on_schedule(state, long.position, task, sources, engine.fabric, compiled=compiled)
            _keep(watched(events, folder, length, state, lambda one: _line(length, one, long)), long, saving)
    if saving.session is not None:  # before anything else: the machine may be withdrawn
        long.save()
    write_epochs(folder, state.epochs)
    draw_curves(folder, plan.name, state.epochs)
    if long.is_done:
        write_state(long.small, state, long.position, long.identity)
        write_member(folder, average_weights(long.position), card_of(plan, state.epochs, engine.hardware))
    else:
        say(f"{plan.name}: time is up at {_place(long)}, {long.position.patches} patches; rerun the command to resume")


def _resume(long: _Long, given: Path | None) -> None:
    """Resume from the checkpoint, or from a state in pieces or a small state that is further on."""
    plan, position = long.plan, long.position
    _resume_here(long)
    if position.patches:
        say(f"{plan.name}: resuming after {position.patches} patches")
    for place in (long.pieces, given):
        if place is None or _resume_from_pieces(long, place):
            continue
        path = place / state_name(plan) if place.is_dir() else place
        if place is not given and not path.is_file():
            continue  # no state was copied here
        if read_state(path, long.state, position, long.identity):
            say(
                f"{plan.name}: resuming from {path}, after {position.patches} patches; the learning rate warms up again"
            )
        elif place is given:
            say(f"{plan.name}: is already further on than {path}")


def _resume_here(long: _Long) -> None:
    for problem in resume_from(long.folder, long.state, long.plan.recipe, long.position):
        warn(f"{long.plan.name}: {problem}; resuming from the checkpoint before it")


def _resume_from_pieces(long: _Long, folder: Path) -> bool:
    """Resume from a checkpoint in pieces, if it is complete, of this training and further on."""
    name, position = long.plan.name, long.position
    try:
        listed = read_list(folder, long.small.stem)
        if listed is None or listed.patches <= position.patches or listed.recipe != long.plan.recipe:
            return False
        join_pieces(folder, listed, long.folder / NEWEST)
    except FileError as error:
        warn(f"{name}: {error}; or continue without it, from the small state")
        return False
    _resume_here(long)
    say(f"{name}: resuming from the pieces in {folder}, after {position.patches} patches")
    return True


@contextmanager
def _supplied(source: Ring | PoolPlan | CaseSource, position: Position) -> Iterator[Supply]:
    """The supply of cases while the training runs."""
    if isinstance(source, PoolPlan):
        yield Pool(source, position.memory)
    elif isinstance(source, Ring):
        with producing(source, position.memory.made) as producer:
            yield RingSupply(source, position.memory, producer)
    else:
        yield Endless(source)


def _keep(events: Iterable[Step | Epoch], long: _Long, saving: CheckpointPolicy) -> None:
    """Run a training to its end, writing checkpoints as the policy says."""
    saved = time.monotonic()
    with saving.stop.held():  # a request to stop waits for the end of a step
        for _ in events:
            stop = bool(saving.stop.by)
            if stop or time.monotonic() - saved >= 60 * saving.minutes:
                long.save()
                saved = time.monotonic()
            if stop:
                say(f"State: {long.small}")
                saving.stop.end()


def _line(length: TrainingLength, epoch: Epoch, long: _Long) -> str:
    left_s = seconds_left(length, long.state) if length.steps else None
    left = f", {duration(left_s)} left, until {clock(left_s)}" if left_s else ""
    speed = long.plan.size.batch * epoch.steps_per_second
    return (
        f"{length.name}: {_place(long)}, {speed:.3g} patches/s, loss {epoch.loss:+.3f}, "
        f"foreground Dice {epoch.foreground_dice:.3f}{left}"
    )


def _place(long: _Long) -> str:
    """Progress of a training, in words."""
    length = long.schedule.length
    done = min(long.schedule.place_of(long.position), length)
    if long.schedule.counts == "patches":
        return f"patch {done:.0f}/{length} ({done / length:.1%})"
    return f"minute {done / 60:.2f}/{length / 60:g} ({done / length:.1%})"
