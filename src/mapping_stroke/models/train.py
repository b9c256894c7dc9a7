"""Training of all schemes of a model on simulated strokes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import name_files, say, track
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import Cases, Mixture, Reseeded
from mapping_stroke.errors import ConfigError
from mapping_stroke.files import fingerprint
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.inference.sliding_window import WindowConfig, plan_tiling, predict_map
from mapping_stroke.inference.torch_engine import TorchEngine
from mapping_stroke.models.case_ring import Ring
from mapping_stroke.models.schedule import LongCases, train_by_schedule
from mapping_stroke.models.settings import ModelConfig
from mapping_stroke.models.warm_starts import FOLD, warm_starts
from mapping_stroke.names import Part
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.processes import StopRequest, listening, run_in_jobs, threads_of
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.simulation.bank import SimulationBank, load_bank, write_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.held_out import KeptCases, keep_cases
from mapping_stroke.stages.member import CheckpointPolicy, Plan, train_member
from mapping_stroke.stages.progress import deadline
from mapping_stroke.stages.warm_start import WarmStart
from mapping_stroke.training.engine import Engine, Hardware
from mapping_stroke.training.pseudo_labels import best_scheme, make_pseudo_label
from mapping_stroke.training.schedule import Schedule, Session, plan_schedule
from mapping_stroke.training.schemes import SCHEMES, Size, find_scheme, find_size, with_batch
from mapping_stroke.training.supply import PoolPlan

AUGMENTATION = "sides"
"""Augmentation of all schemes: cases may be reused, so left and right are swapped at random. The simulation already
varies everything that the schemes' own augmentations vary, and more realistically."""
WARM_RATE = 0.5
"""Share of the size's learning rate with a warm start."""
FRESH_CASES, WARM_CASES = 8, 9
"""Combined with the model's seed, so that a training with a warm start has no case of the one that it continues."""
VALIDATION_CASES = 24
UNLABELLED, PSEUDO_SHARE = 48, 0.3
"""Simulated scans that the best member labels for self-training, and how often one of them is drawn instead of a new
case."""
POOL_SIZE, PIECES = 256, "pieces"
"""By the clock: cases kept in the device's memory, and the folder of pieces for moving to another machine."""
FEWEST_VALIDATION, WATCHED_WITH_ALL_S = 4, 1200
"""By the clock: validation cases of a trial of a minute, and the length of schedule from which all are used."""
VALIDATION_SEED, PSEUDO_SEED = 1, 2


@dataclass(frozen=True)
class _Work:
    """One training: the run folder, the sources of its cases, and its settings."""

    run: RunFolder
    sources: Sources
    config: ModelConfig

    @property
    def seed(self) -> tuple[int, int]:
        """Seed of the cases."""
        return self.config.seed, WARM_CASES if self.config.from_ else FRESH_CASES

    @property
    def spacing_mm(self) -> float:
        spacing_mm = find_size(self.config.size).preprocess.spacing_mm
        if isinstance(spacing_mm, tuple):
            raise ConfigError(f"size {self.config.size}: simulated cases need cubic voxels, got {spacing_mm} mm")
        return spacing_mm

    @property
    def cache(self) -> Path:
        return sources_folder(self.run)

    @property
    def origin(self) -> dict[str, Any]:
        """Provenance of the simulated cases, for fingerprints and cards."""
        brains = self.sources.brains
        return {
            "brains": 0 if brains is None else len(brains.scans),
            "brains_fingerprint": self.sources.brains_fingerprint,
            "people": self.sources.people,
            "masks": len(self.sources.masks),
            "masks_fingerprint": self.sources.masks_fingerprint,
        }

    @property
    def kept(self) -> KeptCases:
        count = self.config.cases
        return KeptCases(self.run.path / "cases", self.sources, self.cache, self.spacing_mm, count, self.seed)

    def bank(self, part: Part, device: torch.device) -> SimulationBank:
        return load_bank(self.sources, part, self.spacing_mm, self.cache, device)

    def validation(self, count: int, device: torch.device) -> list[CaseArrays]:
        seed = (self.config.seed, VALIDATION_SEED)
        return _draw_many(self.bank("validation", device), count, seed, "Validation cases")

    def hardware(self, grids: tuple[tuple[int, int, int], ...]) -> Hardware:
        config = self.config
        return Hardware(choose_device(config.device), config.precision, config.compile, grids=grids)


def rounds_of(config: ModelConfig) -> tuple[tuple[str, ...], ...]:
    """Names of the schemes to train, round by round; those of one round can be trained in parallel."""
    if config.on_schedule:
        return (config.schemes or (SCHEMES[0].name,),)
    if config.from_:  # the given model makes the pseudo-labels
        return (tuple(scheme.name for scheme in SCHEMES if not config.schemes or scheme.name in config.schemes),)
    labelling = tuple(scheme.name for scheme in SCHEMES if not scheme.pseudo_labels)
    return labelling, tuple(scheme.name for scheme in SCHEMES if scheme.name not in labelling)


def train_model(run: RunFolder, sources: Sources, config: ModelConfig, stop: StopRequest) -> None:
    """Train the members; keep finished ones and resume unfinished ones.

    Args:
        run: Run folder; holds the members and the bank of brains and masks.
        sources: Brains and masks; the training split is trained on, the validation split monitors the training.
        config: Settings of the training.
        stop: Polled between steps for a request to stop.

    Raises:
        CaseError, ImageError: A source is missing or cannot be read.
        RunFolderError: The folder holds something else, or members of other settings.
        TrainingError: A loss is no longer a number, or a job was killed.
        Stopped: On request, after saving everything.
    """
    work, rounds = _Work(run, sources, config), rounds_of(config)
    identity = {"kind": "train-model", "model": work.origin, "size": config.size, "seed": config.seed}
    if config.from_:  # refuse a model that does not fit before anything is claimed or simulated
        wanted = [name for names in rounds for name in names]
        starts = warm_starts(config.from_, find_size(config.size), sources.people, wanted)
        identity["from"] = fingerprint({name: start.member.weights_sha256 for name, start in starts.items()})
    if config.on_schedule:
        identity |= {config.counts: config.length} | ({"batch": config.batch} if config.batch else {})
    claim_folder(run.path, identity, (run.members.name,))
    write_bank(sources, work.spacing_mm, work.cache)  # now, or every job would write it
    if config.cases and not config.on_schedule:
        keep_cases(work.kept, choose_device(config.device), config.jobs, stop)
    for names in rounds:
        if min(config.jobs, len(names)) == 1:
            for name in names:
                (train_for_days if config.on_schedule else train_scheme)(run, sources, config, name, stop)
        else:
            say(f"Training {len(names)} members, {threads_of(config.jobs)} CPU threads each: {', '.join(names)}")
            run_in_jobs([partial(_train_as_job, run, sources, config, name) for name in names], config.jobs, stop)
    name_files("Members", run.members)


def train_scheme(run: RunFolder, sources: Sources, config: ModelConfig, name: str, stop: StopRequest) -> None:
    """Train the member of one scheme; raises as `train_model` does."""
    stop.check()
    work = _Work(run, sources, config)
    scheme = replace(find_scheme(name), augmentation=AUGMENTATION)
    start, size = _start(work, name)
    engine = Engine.start(work.hardware(size.grids))
    device = engine.hardware.device
    say(f"{name}: size {size.name}, on {engine.hardware.description}")
    bank, validation = work.bank("training", device), work.validation(VALIDATION_CASES, device)
    source: Cases = work.kept.read() if config.cases else Reseeded(bank, work.seed)
    pseudo: dict[str, Any] = {}
    if scheme.pseudo_labels:
        labelled, pseudo = _pseudo_cases(_teachers(work), bank, config, device)
        source = Mixture(source, labelled, PSEUDO_SHARE)
    origin = work.origin | {"kept_cases": config.cases}
    # no folds: the cases are simulated, so the plan lists none
    plan = Plan(scheme, size, FOLD, config.seed, (), (), pseudo=pseudo, simulation=origin, start=start)
    saving = CheckpointPolicy(config.save_minutes, stop)
    train_member(run.member(name, FOLD), plan, (source, validation), engine, saving, overwrite=False)


def train_for_days(run: RunFolder, sources: Sources, config: ModelConfig, name: str, stop: StopRequest) -> None:
    """Train the member of one scheme on a schedule; raises as `train_model` does."""
    stop.check()
    session = Session(60 * config.minutes, deadline(60 * config.minutes)) if config.minutes else None
    work = _Work(run, sources, config)
    scheme = replace(find_scheme(name), augmentation=AUGMENTATION)
    start, size = _start(work, name)
    size = with_batch(size, config.batch) if config.batch else size
    schedule = plan_schedule(config.length, size, config.counts)
    engine = Engine.start(work.hardware(schedule.grids(size)))
    device = engine.hardware.device
    say(f"{name}: size {size.name}, {schedule.length} {schedule.counts}, on {engine.hardware.description}")
    validation = work.validation(validation_count(schedule), device)
    # the number of kept cases is left out, since it may differ on another machine
    plan = Plan(scheme, size, FOLD, config.seed, (), (), simulation=work.origin, start=start, schedule=schedule)
    cases = LongCases(_long_source(work, device), validation, config.state)
    saving = CheckpointPolicy(config.save_minutes, stop, session, run.path / PIECES if session else None)
    train_by_schedule(run.member(name, FOLD), plan, cases, engine, saving)


def validation_count(schedule: Schedule) -> int:
    """Number of validation cases of a training on a schedule; fewer for short ones by the clock."""
    if schedule.counts == "patches":
        return VALIDATION_CASES
    wanted = round(VALIDATION_CASES * schedule.length / WATCHED_WITH_ALL_S)
    return min(max(wanted, FEWEST_VALIDATION), VALIDATION_CASES)


def _long_source(work: _Work, device: torch.device) -> Ring | PoolPlan | Reseeded:
    """Source of the cases of a training on a schedule."""
    config = work.config
    if config.cases and not config.minutes:
        folder = work.run.path / "ring"
        return Ring(folder, config.cases, work.sources, work.cache, work.spacing_mm, work.seed, config.uses)
    bank = work.bank("training", device)
    return PoolPlan(bank, config.cases or POOL_SIZE, work.seed) if config.minutes else Reseeded(bank, work.seed)


def _start(work: _Work, name: str) -> tuple[WarmStart | None, Size]:
    """A member's warm start, None for fresh weights, and its size with the length and rate of its training."""
    config = work.config
    size = find_size(config.size)
    size = replace(size, epochs=config.epochs or size.epochs)
    if not config.from_:
        return None, size
    size = replace(size, learning_rate=WARM_RATE * size.learning_rate)
    return warm_starts(config.from_, size, work.sources.people, (name,))[name], size


def _train_as_job(run: RunFolder, sources: Sources, config: ModelConfig, name: str) -> None:
    with listening() as stop:
        train_scheme(run, sources, config, name, stop)


def sources_folder(run: RunFolder) -> Path:
    """Folder that caches brains and masks as arrays."""
    return run.path / "sources"


def _draw_many(source: SimulationBank, count: int, seed: Sequence[int], title: str) -> list[CaseArrays]:
    return [source.draw(np.random.default_rng([*seed, index])) for index in track(range(count), title, count)]


def _teachers(work: _Work) -> dict[str, WarmStart]:
    """Members that may label scans for self-training, by scheme."""
    config = work.config
    if config.from_:
        present = {member.card.scheme for member in open_bundle(config.from_).card.members}
        teachers = [scheme.name for scheme in SCHEMES if not scheme.pseudo_labels and scheme.name in present]
        return warm_starts(config.from_, find_size(config.size), work.sources.people, teachers)
    trained = [open_bundle(work.run.member(name, FOLD)) for name in rounds_of(config)[0]]
    return {bundle.card.members[0].card.scheme: WarmStart(bundle, bundle.card.members[0]) for bundle in trained}


def _pseudo_cases(
    teachers: Mapping[str, WarmStart], bank: SimulationBank, config: ModelConfig, device: torch.device
) -> tuple[list[CaseArrays], dict[str, Any]]:
    """Simulated scans labelled by the best of these members, and the provenance of the labels."""
    dice = {name: float(one.member.card.training["validation_dice"]) for name, one in teachers.items()}
    scheme = best_scheme(dice)
    teacher = teachers[scheme].member
    # the network after growth, if the teacher has coarser voxels
    spec, patch = teachers[scheme].network, find_size(config.size).patch
    network = TorchEngine(device).load(spec, teachers[scheme].read_weights)
    window = WindowConfig()
    labelled, confidence = [], {}
    # their true masks are known but not used: self-training learns from predictions
    drawn = _draw_many(bank, UNLABELLED, (config.seed, PSEUDO_SEED), f"Scans for {scheme} to label")
    for case in track(drawn, f"Pseudo-labels by {scheme}", len(drawn)):
        voxels = case.scan.float().cpu().numpy()
        tiling = plan_tiling(voxels, patch, spec.window_steps, window)
        label = make_pseudo_label(predict_map(network, voxels, tiling, window))
        mask = torch.from_numpy(label.mask).to(device)
        lesion_voxels = np.argwhere(label.mask).astype(np.int16)
        labelled.append(CaseArrays(f"{case.case_id}_pseudo", case.scan, mask.to(torch.uint8), lesion_voxels))
        confidence[case.case_id] = None if np.isnan(label.confidence) else round(label.confidence, 4)
    provenance = {
        "scheme": scheme,
        "weights_sha256": teacher.weights_sha256,
        "validation_dice": dice,
        "confidence": confidence,
    }
    return labelled, provenance
