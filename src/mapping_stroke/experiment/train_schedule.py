"""Train one network on a schedule, for days and on several machines: keep all, go on exactly, or from a small file."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import clock, duration, name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import CaseSource
from mapping_stroke.errors import TrainingError
from mapping_stroke.experiment.case_ring import Ring, RingSupply, producing
from mapping_stroke.experiment.locking import locked
from mapping_stroke.experiment.progress import PROGRESS_FILE
from mapping_stroke.experiment.train_member import Plan, Saving, card_of, require_same_recipe
from mapping_stroke.experiment.train_watch import (
    Course,
    draw_curves,
    seconds_left,
    signed,
    watched,
    write_epochs,
)
from mapping_stroke.files import remove
from mapping_stroke.networks.bundle import has_member
from mapping_stroke.networks.member_folder import write_member
from mapping_stroke.training.checkpoint import remove_checkpoints, resume_from, write_checkpoint
from mapping_stroke.training.engine import Engine
from mapping_stroke.training.loop import TrainingState, start_training
from mapping_stroke.training.records import Epoch, Step
from mapping_stroke.training.schedule import Schedule
from mapping_stroke.training.scheduled import average_weights, start_position, train_on_schedule
from mapping_stroke.training.schemes import seed_number
from mapping_stroke.training.small_state import SUFFIX, Identity, read_state, write_state
from mapping_stroke.training.supply import Endless, Position, Supply


@dataclass(frozen=True, eq=False)
class LongCases:
    """What a long training sees.

    Attributes:
        source: A ring that a process of its own keeps full, or what makes a new case for every patch.
        validation: Cases to watch with.
        state: A small state to begin from, or a folder in which it lies by its name; None for none.
    """

    source: Ring | CaseSource
    validation: Sequence[CaseArrays]
    state: Path | None = None


@dataclass(frozen=True, eq=False)
class _Long:
    """A training under way."""

    folder: Path
    plan: Plan
    schedule: Schedule
    state: TrainingState
    position: Position

    @property
    def identity(self) -> Identity:
        return Identity(self.plan.size.network(self.plan.scheme), self.plan.settings, self.plan.recipe)

    @property
    def small(self) -> Path:
        return self.folder / state_name(self.plan)

    def save(self) -> None:
        """Keep all, and what is small of it."""
        write_checkpoint(self.folder, self.state, self.plan.recipe, self.position)
        write_state(self.small, self.state, self.position, self.identity)


def state_name(plan: Plan) -> str:
    """What the small state of a member is called, in its folder and elsewhere, such as `compact-default.state`."""
    return f"{plan.size.name}-{plan.scheme.name}{SUFFIX}"


def train_by_schedule(folder: Path, plan: Plan, cases: LongCases, engine: Engine, saving: Saving) -> None:
    """Train a member as its schedule says, from where it was left; nothing is done where it is trained already.

    Args:
        folder: The member's.
        plan: What is trained; it has a schedule.
        cases: To train on and to watch with.
        engine: What computes, launched, in one process.
        saving: When to write checkpoints; who asks to stop.

    Raises:
        RunFolderError: A member of other settings stands there.
        TrainingError: The loss is no number, all checkpoints are damaged, another process trains this member, no more
            cases come, or the small state is not that of this training.
        Stopped: Somebody asked to stop; checkpoint and small state have been written.
    """
    with locked(folder.with_name(f".{folder.name}.lock"), plan.name):
        require_same_recipe(folder, plan, overwrite=False)
        if has_member(folder):
            say(f"{plan.name}: trained already")
        else:
            _train_under_lock(folder, plan, cases, engine, saving)
        remove_checkpoints(folder)
        (folder / PROGRESS_FILE).unlink(missing_ok=True)
        if isinstance(cases.source, Ring):
            remove(cases.source.folder)
        name_files("State", folder / state_name(plan))


def _train_under_lock(folder: Path, plan: Plan, cases: LongCases, engine: Engine, saving: Saving) -> None:
    if plan.schedule is None:
        raise TrainingError(f"{plan.name}: has no schedule to be trained on")
    weights = None if plan.start is None else plan.start.read_weights()
    seed = (plan.seed, seed_number(plan.scheme), plan.fold)
    state = start_training(plan.scheme, plan.size, seed, engine.fabric.device, weights)
    long = _Long(folder, plan, plan.schedule, state, start_position(state.network))
    course = Course(plan.name, plan.schedule.periods, -(-plan.schedule.period // plan.size.batch))

    with signed(folder, course, state) as sign_running:
        _resume(long, cases.state)
        sign_running()
        with _supplied(cases.source, long.position) as supply:
            what = (plan.scheme, plan.size, plan.schedule)
            compiled = engine.hardware.compiled
            events = train_on_schedule(
                state, long.position, what, (supply, cases.validation), engine.fabric, compiled=compiled
            )
            _keep(watched(events, folder, course, state, lambda one: _line(course, one, long)), long, saving)
    write_epochs(folder, state.epochs)
    draw_curves(folder, plan.name, state.epochs)
    write_state(long.small, state, long.position, long.identity)
    write_member(folder, average_weights(long.position), card_of(plan, state.epochs, engine.hardware))


def _resume(long: _Long, given: Path | None) -> None:
    """Go on from the checkpoint, or from a small state that has come farther."""
    plan, position = long.plan, long.position
    for problem in resume_from(long.folder, long.state, plan.recipe, position):
        warn(f"{plan.name}: {problem}; going on from the checkpoint before it")
    if position.patches:
        say(f"{plan.name}: going on after {position.patches} patches")
    if given is None:
        return
    path = given / state_name(plan) if given.is_dir() else given
    if read_state(path, long.state, position, long.identity):
        say(f"{plan.name}: going on from {path}, after {position.patches} patches; the learning rate rises anew")
    else:
        say(f"{plan.name}: has come farther already than {path}")


@contextmanager
def _supplied(source: Ring | CaseSource, position: Position) -> Iterator[Supply]:
    """Where a training gets its cases from, while it runs."""
    if not isinstance(source, Ring):
        yield Endless(source)
        return
    with producing(source, position.memory.made) as producer:
        yield RingSupply(source, position.memory, producer)


def _keep(events: Iterable[Step | Epoch], long: _Long, saving: Saving) -> None:
    """Follow a training to its end, keeping its state as often as is asked for."""
    saved = time.monotonic()
    with saving.stop.held():
        for _ in events:
            stop = bool(saving.stop.by)
            if stop or time.monotonic() - saved >= 60 * saving.minutes:
                long.save()
                saved = time.monotonic()
            if stop:
                say(f"State: {long.small}")
                saving.stop.end()


def _line(course: Course, epoch: Epoch, long: _Long) -> str:
    left_s = seconds_left(course, long.state)
    left = f", {duration(left_s)} left, until {clock(left_s)}" if left_s else ""
    done, total = min(long.position.patches, long.schedule.patches), long.schedule.patches
    speed = long.plan.size.batch * epoch.steps_per_second
    return (
        f"{course.name}: patch {done}/{total} ({done / total:.1%}), {speed:.3g} patches/s, loss {epoch.loss:+.3f}, "
        f"foreground Dice {epoch.foreground_dice:.3f}{left}"
    )
