"""Train one member: start or resume, save checkpoints, and write the network after the last epoch."""

import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning_fabric

from mapping_stroke.console import say, warn
from mapping_stroke.dataset.sources import Cases
from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import fingerprint, read_object, write_json
from mapping_stroke.networks.cards import STARTED_FROM, MemberCard
from mapping_stroke.networks.member_folder import RECIPE_FILE, has_member, write_member
from mapping_stroke.networks.unet import unet_weights
from mapping_stroke.processes import StopRequest, locked
from mapping_stroke.stages.environments import ENVIRONMENTS, recorder
from mapping_stroke.stages.progress import TrainingLength, draw_curves, signed, watched, write_epochs
from mapping_stroke.stages.status import PROGRESS_FILE
from mapping_stroke.stages.warm_start import WarmStart
from mapping_stroke.training.batches import bring_to
from mapping_stroke.training.checkpoint import bring_in_step, remove_checkpoints, resume_from, write_checkpoint
from mapping_stroke.training.engine import Engine, Hardware, any_of, first_does
from mapping_stroke.training.loop import Epoch, Step, TrainingState, start_training, train
from mapping_stroke.training.schedule import Schedule, Session
from mapping_stroke.training.schemes import Scheme, Size, augmentation_of, rows_of, seed_number

Arrays = tuple[Cases, Cases]
"""Training cases, validation cases."""


@dataclass(frozen=True, eq=False)
class Plan:
    """One member to train: its scheme, cases and seed."""

    scheme: Scheme
    size: Size
    fold: int
    seed: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    variant: str = "paper"
    pseudo: dict[str, Any] = field(default_factory=dict)
    """Provenance of the pseudo-labels; empty without."""
    simulation: dict[str, Any] = field(default_factory=dict)
    """Origin of cases that are simulated during training; empty for cases on disk."""
    start: WarmStart | None = None
    """Trained member to start from; None for fresh weights."""
    schedule: Schedule | None = None
    """Schedule of a long training, by patch; None for one that is counted in epochs."""
    data: str = ""
    """Hash of the contents of the cases' files; empty if they are not watched, such as simulated cases.

    It is compared next to the recipe, of which it is no part."""

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the trained weights, except the contents of the files, as plain values."""
        settings = asdict(replace(self, start=None))
        del settings["start"], settings["data"]
        if self.schedule is None:  # the hashes of recipes without it stay valid
            del settings["schedule"]
        else:
            settings["schedule"] = self.schedule.settings
        for encoder in ("plain", "residual"):  # the same
            if getattr(self.size, encoder).unshuffle == 1:
                del settings["size"][encoder]["unshuffle"]
        return settings if self.start is None else {**settings, "start": self.start.member.weights_sha256}

    @property
    def recipe(self) -> str:
        """Fingerprint of the settings."""
        return fingerprint({**self.settings, "rows": rows_of(self.scheme)})

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.scheme.name}, fold {self.fold}"


@dataclass(frozen=True)
class CheckpointPolicy:
    """When checkpoints are written, and when a training ends early."""

    minutes: float
    """Longest time between two checkpoints; one is also written after every epoch."""
    stop: StopRequest
    session: Session | None = None
    """Time limit of this call; None to train to the end."""
    pieces: Path | None = None
    """Folder for everything needed to resume on another machine, in files of less than 15 MB; None for none."""


def train_member(
    folder: Path, plan: Plan, arrays: Arrays, engine: Engine, saving: CheckpointPolicy, *, overwrite: bool
) -> None:
    """Train a member or resume its training; does nothing if it is already trained.

    If several processes train together, all call this; the first one reads, locks, writes and prints.

    Args:
        folder: Folder of the member.
        plan: The member.
        arrays: The cases of the plan, training and validation.
        engine: The launched engine.
        saving: When to write checkpoints and when to stop.
        overwrite: Retrain a member that was trained with other settings or data.

    Raises:
        RunFolderError: The folder holds a member trained with other settings or data.
        TrainingError: The loss is not a number, all checkpoints are damaged, or another process trains this member.
        Stopped: A signal asked to stop; a checkpoint has been written.
    """
    first = engine.fabric.is_global_zero
    with ExitStack() as stack:

        def begin() -> bool:
            stack.enter_context(locked(folder.with_name(f".{folder.name}.lock"), plan.name))
            require_same_recipe(folder, plan, overwrite=overwrite)
            return has_member(folder)

        if first_does(begin, engine.fabric):
            say(f"{plan.name}: already trained")
        else:
            _train_under_lock(folder, plan, arrays, engine, saving)
        if first:
            remove_checkpoints(folder)
            (folder / PROGRESS_FILE).unlink(missing_ok=True)


def _train_under_lock(folder: Path, plan: Plan, arrays: Arrays, engine: Engine, saving: CheckpointPolicy) -> None:
    hardware, fabric = engine.hardware, engine.fabric
    seed = (plan.seed, seed_number(plan.scheme), plan.fold)
    weights = None if plan.start is None else plan.start.read_weights()
    state = start_training(plan.scheme, plan.size, seed, fabric.device, weights)
    steps = plan.size.steps_per_epoch + (plan.size.validation_steps if arrays[1] else 0)
    course = TrainingLength(plan.name, plan.size.epochs_of(plan.scheme), steps)

    with signed(folder, course, state, writes=fabric.is_global_zero) as sign_running:
        first_does(lambda: _resume(folder, plan, state), fabric)
        bring_in_step(state, fabric)
        sign_running()
        first_does(recorder(folder / ENVIRONMENTS, facts_of(hardware), gpu=True), fabric)
        arrays = (bring_to(fabric.device, arrays[0]), bring_to(fabric.device, arrays[1]))
        events = train(state, plan.scheme, plan.size, arrays, fabric, compiled=hardware.compiled)
        if fabric.is_global_zero:
            events = watched(events, folder, course, state)
        _keep(events, folder, state, plan.recipe, saving, fabric)
    if fabric.is_global_zero:
        write_epochs(folder, state.epochs)
        draw_curves(folder, plan.name, state.epochs)
        write_member(folder, unet_weights(state.network), card_of(plan, state.epochs, hardware))


def facts_of(hardware: Hardware) -> dict[str, object]:
    """What a training computes on, and in."""
    return {"device": str(hardware.device), "precision": hardware.computes_in, "processes": hardware.processes}


def _resume(folder: Path, plan: Plan, state: TrainingState) -> None:
    for problem in resume_from(folder, state, plan.recipe):
        warn(f"{plan.name}: {problem}; resuming from the previous checkpoint")
    steps = state.so_far.steps_done
    if state.epochs or steps:
        within = f" and {steps} steps" if steps else ""
        say(f"{plan.name}: resuming after epoch {len(state.epochs)}{within}")


def _keep(
    events: Iterable[Step | Epoch],
    folder: Path,
    state: TrainingState,
    recipe: str,
    saving: CheckpointPolicy,
    fabric: lightning_fabric.Fabric,
) -> None:
    """Run a training to its end and write checkpoints, in all processes at the same steps."""
    saved = time.monotonic()
    with saving.stop.held():
        for event in events:
            late = fabric.is_global_zero and time.monotonic() - saved >= 60 * saving.minutes
            due, stop = any_of((late, bool(saving.stop.by)), fabric)
            if isinstance(event, Epoch) or due or stop:
                first_does(lambda: write_checkpoint(folder, state, recipe), fabric)
                saved = time.monotonic()
            if stop:
                saving.stop.end()


def require_same_recipe(folder: Path, plan: Plan, *, overwrite: bool) -> None:
    """Mark the folder with the recipe and data; refuse, or with `overwrite` clear, one of another recipe or data."""
    marker = folder / RECIPE_FILE
    data = {"data": plan.data} if plan.data else {}
    if marker.is_file():
        before = read_object(marker)
        if before.get("recipe") == plan.recipe and before.get("data", "") == plan.data:
            return
        if not overwrite:
            raise RunFolderError(
                f"{folder}: holds a member trained with other settings or cases; use --overwrite to retrain it, "
                "or prepare another run"
            )
        shutil.rmtree(folder)
    write_json(marker, {"recipe": plan.recipe, **data, "settings": plan.settings})


def card_of(plan: Plan, epochs: Sequence[Epoch], hardware: Hardware) -> MemberCard:
    """The card of a trained member."""
    last = epochs[-1].foreground_dice if epochs else float("nan")
    started: dict[str, Any] = {} if plan.start is None else {STARTED_FROM: plan.start.provenance}
    return MemberCard(
        scheme=plan.scheme.name,
        fold=plan.fold,
        network=plan.size.network(plan.scheme),
        preprocess=plan.size.preprocess,
        patch=plan.size.patch,
        mirror_axes=augmentation_of(plan.scheme).mirror_axes,
        training={
            "recipe": plan.recipe,
            "size": plan.size.name,
            "variant": plan.variant,
            "seed": plan.seed,
            "precision": hardware.computes_in,
            "epochs": len(epochs),
            **({} if plan.schedule is None else {plan.schedule.counts: plan.schedule.length}),
            "training_cases": len(plan.training),
            "validation_dice": last,
            "pseudo_labels": plan.pseudo,
            "simulation": plan.simulation,
            **started,
        },
    )
