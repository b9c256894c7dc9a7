"""Train all schemes of a model on simulated strokes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import name_files, say, track
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import Cases, Mixture, Part
from mapping_stroke.errors import ConfigError
from mapping_stroke.files import fingerprint
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.inference.sliding_window import WindowConfig, plan_tiling, predict_map
from mapping_stroke.inference.torch_engine import TorchEngine
from mapping_stroke.models.case_ring import Ring
from mapping_stroke.models.lessons import FOLD, LaterCases, ModelConfig, go_on_with
from mapping_stroke.models.schedule import LongCases, train_by_schedule
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.processes import StopRequest, listening, run_in_jobs, threads_of
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.simulation.bank import SimulationBank, load_bank, write_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.held_out import KeptCases, keep_cases
from mapping_stroke.stages.member import CheckpointPolicy, Plan, train_member
from mapping_stroke.stages.progress import deadline
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.engine import Engine, Hardware
from mapping_stroke.training.pseudo_labels import best_scheme, make_pseudo_label
from mapping_stroke.training.schedule import Schedule, Session, plan_schedule
from mapping_stroke.training.schemes import SCHEMES, Scheme, Size, find_scheme, find_size, with_batch
from mapping_stroke.training.supply import PoolPlan

VALIDATION_CASES = 24
POOL_SIZE, PIECES = 256, "pieces"
"""By the clock: cases that are kept in the device's memory, and the folder in which the state is taken elsewhere."""
FEWEST_WATCHED, WATCHED_WITH_ALL_S = 4, 1200
"""By the clock: cases to watch a trial of a minute with, and the length of a schedule that takes the time for all."""
BRANCH_EPOCHS, BRANCH_RATE = 0.4, 0.5
"""Of the epochs and the learning rate of a fresh member: what one takes that begins with the weights of another."""
VALIDATION_SEED, PSEUDO_SEED = 1, 2


def train_model(run: RunFolder, sources: Sources, config: ModelConfig, stop: StopRequest) -> None:
    """Train the four schemes, self-training last; what is trained is not trained again, what was begun goes on.

    Args:
        run: Where members and the bank of brains and masks are kept.
        sources: Brains and masks; those of the training part are used, those of validation watch.
        config: How.
        stop: Asked between steps whether to stop.

    Raises:
        CaseError, ImageError: A source is missing or cannot be read.
        RunFolderError: The folder holds something else, or members of other settings.
        TrainingError: A loss is no longer a number, or a job was killed.
        Stopped: When asked to, with all saved.
    """
    identity = {"kind": "train-model", "model": _origin(sources), "size": config.size, "seed": config.seed}
    if config.model:  # what cannot be gone on with is refused before anything is claimed or simulated
        wanted = [name for names in config.rounds for name in names]
        starts = go_on_with(config.model, find_size(config.size), sources.people, wanted)
        identity["from"] = fingerprint({name: start.member.weights_sha256 for name, start in starts.items()})
    if config.on_schedule:
        identity |= {config.counts: config.length} | ({"batch": config.batch} if config.batch else {})
    claim_folder(run.path, identity, (run.members.name,))
    write_bank(sources, _spacing_mm(config), sources_folder(run))  # before jobs that would all do it
    if config.cases and not config.on_schedule:
        keep_cases(_kept(run, sources, config), choose_device(config.device), config.jobs, stop)
    for names in config.rounds:
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
    scheme = replace(find_scheme(name), augmentation=config.lesson.augmentation)
    start, size = _start(run, sources, scheme, config)
    engine = Engine.start(Hardware(choose_device(config.device), config.precision, config.compiled, grids=size.grids))
    device = engine.hardware.device
    say(f"{name}: size {size.name}, on {engine.hardware.description}")
    bank, watching = (_bank(run, sources, part, config, device) for part in ("training", "validation"))
    validation = _draw_many(watching, VALIDATION_CASES, (config.seed, VALIDATION_SEED), "Cases to watch with")
    new = LaterCases(bank, (config.seed, config.lesson.case_seed)) if config.model else bank
    source: Cases = _kept(run, sources, config).read() if config.cases else new
    pseudo: dict[str, Any] = {}
    if scheme.pseudo_labels:
        labelled, pseudo = _pseudo_cases(_makers(run, sources, config), bank, config, device)
        source = Mixture(source, labelled, config.pseudo_share)
    origin = _origin(sources) | {"kept_cases": config.cases}
    share = config.lesson.start_share
    plan = Plan(
        scheme, size, FOLD, config.seed, (), (), pseudo=pseudo, simulation=origin, start=start, start_share=share
    )
    saving = CheckpointPolicy(config.save_minutes, stop)
    train_member(run.member(name, FOLD), plan, (source, validation), engine, saving, overwrite=False)


def train_for_days(run: RunFolder, sources: Sources, config: ModelConfig, name: str, stop: StopRequest) -> None:
    """Train the member of one scheme on a schedule; raises as `train_model` does."""
    stop.check()
    session = _session(config)
    scheme = replace(find_scheme(name), augmentation=config.lesson.augmentation)
    start, size = _start(run, sources, scheme, config)
    size = with_batch(size, config.batch) if config.batch else size
    schedule = plan_schedule(config.length, size, config.counts)
    hardware = Hardware(choose_device(config.device), config.precision, config.compiled, grids=schedule.grids(size))
    engine = Engine.start(hardware)
    device = engine.hardware.device
    say(f"{name}: size {size.name}, {schedule.length} {schedule.counts}, on {engine.hardware.description}")
    watching = _bank(run, sources, "validation", config, device)
    count = watched_cases(schedule)
    validation = _draw_many(watching, count, (config.seed, VALIDATION_SEED), "Cases to watch with")
    origin = _origin(sources)  # how many cases are kept may differ on another machine
    plan = Plan(scheme, size, FOLD, config.seed, (), (), simulation=origin, start=start, schedule=schedule)
    cases = LongCases(_long_source(run, sources, config, device), validation, config.state)
    saving = CheckpointPolicy(config.save_minutes, stop, session, run.path / PIECES if session else None)
    train_by_schedule(run.member(name, FOLD), plan, cases, engine, saving)


def watched_cases(schedule: Schedule) -> int:
    """How many cases a training on a schedule is watched with: fewer where minutes count."""
    if schedule.counts == "patches":
        return VALIDATION_CASES
    return min(max(round(VALIDATION_CASES * schedule.length / WATCHED_WITH_ALL_S), FEWEST_WATCHED), VALIDATION_CASES)


def _long_source(
    run: RunFolder, sources: Sources, config: ModelConfig, device: torch.device
) -> Ring | PoolPlan | LaterCases:
    """Where a training on a schedule takes its cases from."""
    seed = (config.seed, config.lesson.case_seed)
    if config.cases and not config.minutes:
        cache, mix = sources_folder(run), config.lesson.mix
        return Ring(run.path / "ring", config.cases, sources, cache, _spacing_mm(config), seed, mix)
    bank = _bank(run, sources, "training", config, device)
    return PoolPlan(bank, config.cases or POOL_SIZE, seed) if config.minutes else LaterCases(bank, seed)


def _session(config: ModelConfig) -> Session | None:
    """This call of a training by the clock; None for others."""
    return Session(60 * config.minutes, deadline(60 * config.minutes)) if config.minutes else None


def _start(run: RunFolder, sources: Sources, scheme: Scheme, config: ModelConfig) -> tuple[WarmStart | None, Size]:
    """What a member begins with, None for fresh weights, and its size with the length and rate of its training."""
    size = find_size(config.size)
    rate = config.lesson.rate * size.learning_rate
    size = replace(size, epochs=config.epochs or size.epochs, learning_rate=rate)
    if config.model:
        return go_on_with(config.model, size, sources.people, (scheme.name,))[scheme.name], size
    early = config.rounds[0]
    if not config.branch or scheme.name in early:
        return None, size
    trunk = next(name for name in early if find_scheme(name).encoder == scheme.encoder)
    fewer = max(round(BRANCH_EPOCHS * size.epochs_of(scheme)), 1)
    shorter = replace(size, epochs=fewer, learning_rate=BRANCH_RATE * size.learning_rate)
    return choose_warm_start(open_bundle(run.member(trunk, FOLD)), scheme, FOLD), shorter


def _train_as_job(run: RunFolder, sources: Sources, config: ModelConfig, name: str) -> None:
    with listening() as stop:
        train_scheme(run, sources, config, name, stop)


def _bank(run: RunFolder, sources: Sources, part: Part, config: ModelConfig, device: torch.device) -> SimulationBank:
    return load_bank(sources, part, _spacing_mm(config), sources_folder(run), device, config.lesson.mix)


def _kept(run: RunFolder, sources: Sources, config: ModelConfig) -> KeptCases:
    spacing_mm, seed = _spacing_mm(config), (config.seed, config.lesson.case_seed)
    folder = run.path / "cases"
    return KeptCases(folder, sources, sources_folder(run), spacing_mm, config.cases, seed, config.lesson.mix)


def _spacing_mm(config: ModelConfig) -> float:
    spacing_mm = find_size(config.size).preprocess.spacing_mm
    if isinstance(spacing_mm, tuple):
        raise ConfigError(f"size {config.size}: simulated cases need voxels that are cubes, got {spacing_mm} mm")
    return spacing_mm


def sources_folder(run: RunFolder) -> Path:
    """Where brains and masks are kept as arrays."""
    return run.path / "sources"


def _origin(sources: Sources) -> dict[str, Any]:
    """What cases are simulated from, for fingerprints and cards."""
    return {
        "brains": 0 if sources.brains is None else len(sources.brains.scans),
        "brains_fingerprint": sources.brains_fingerprint,
        "people": sources.people,
        "masks": len(sources.masks),
        "masks_fingerprint": sources.masks_fingerprint,
    }


def _draw_many(source: SimulationBank, count: int, seed: Sequence[int], what: str) -> list[CaseArrays]:
    return [source.draw(np.random.default_rng([*seed, index])) for index in track(range(count), what, count)]


def _makers(run: RunFolder, sources: Sources, config: ModelConfig) -> dict[str, WarmStart]:
    """By scheme, the members that may make pseudo-labels."""
    if config.model:
        there = {member.card.scheme for member in open_bundle(config.model).card.members}
        makers = [scheme.name for scheme in SCHEMES if not scheme.pseudo_labels and scheme.name in there]
        return go_on_with(config.model, find_size(config.size), sources.people, makers)
    made = [open_bundle(run.member(name, FOLD)) for name in config.rounds[0]]
    return {bundle.card.members[0].card.scheme: WarmStart(bundle, bundle.card.members[0]) for bundle in made}


def _pseudo_cases(
    makers: Mapping[str, WarmStart], bank: SimulationBank, config: ModelConfig, device: torch.device
) -> tuple[list[CaseArrays], dict[str, Any]]:
    """Simulated scans with the masks of the best of these members, and where these come from."""
    dice = {name: float(one.member.card.training["validation_dice"]) for name, one in makers.items()}
    scheme = best_scheme(dice)
    maker = makers[scheme].member
    spec, patch = makers[scheme].network, find_size(config.size).patch
    network = TorchEngine(device).load(spec, makers[scheme].read_weights)
    window = WindowConfig()
    labelled, confidence = [], {}
    drawn = _draw_many(bank, config.unlabelled, (config.seed, PSEUDO_SEED), f"Scans that {scheme} labels")
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
        "weights_sha256": maker.weights_sha256,
        "validation_dice": dice,
        "confidence": confidence,
    }
    return labelled, provenance
