"""The stage `train`: every scheme on every fold, in one or several processes; unfinished members are resumed."""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import lightning_fabric
import torch

from mapping_stroke.console import be_quiet, name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import ConfigError, Stopped, TrainingError
from mapping_stroke.files import write_json
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.processes import StopRequest, listening, run_in_jobs, threads_of
from mapping_stroke.run_folder import RunFolder, write_section
from mapping_stroke.stages.arrays import arrays_of, labelled_contents
from mapping_stroke.stages.member import CheckpointPolicy, Plan, facts_of, train_member
from mapping_stroke.stages.pseudo_labels import choose_labels, label_unlabelled, pseudo_arrays
from mapping_stroke.stages.settings import TrainConfig
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.engine import Engine, Hardware, any_of, first_does
from mapping_stroke.training.schemes import Scheme, Size
from mapping_stroke.work import StageResult

AS_USUAL = TrainConfig()
SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 3.0
"""Delay before a process reports that it lost the first one, which usually has ended, and all others with it."""


@dataclass(frozen=True, eq=False)
class _Cohort:
    """Training data of all members of a run."""

    run: RunFolder
    cases: Sequence[Case]
    folds: Mapping[str, int]
    data: str
    """Hash of the contents of scans and masks."""
    arrays: Mapping[PreprocessSpec, Mapping[str, CaseArrays]]
    """Arrays for each preprocessing."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A member to train."""

    scheme: Scheme
    fold: int
    size: Size
    start: WarmStart | None


def train_run(run: RunFolder, config: TrainConfig = AS_USUAL, *, overwrite: bool = False) -> StageResult:
    """Train every scheme on every fold, with `jobs` several folds at once; the weights are the same.

    Schemes with pseudo-labels wait for all others: the scheme with the best validation Dice over all folds makes the
    labels. A member that fails does not stop the others. On several devices, the processes of the others repeat the
    program's command line, which must lead to this call.

    Args:
        run: A run with cases and folds.
        config: Schemes, folds, size, seed, device.
        overwrite: Retrain members that were trained with other settings or data.

    Returns:
        The folders of the trained members, trained now or before; and why the others failed, which is also reported.

    Raises:
        RunFolderError: An earlier stage is missing, or a member of other settings or data is in the way.
        FileError: A scan or mask cannot be read.
        ConfigError: Unknown scheme, size, fold, or device, or the model has no member to start a scheme from.
        BundleError: The model to start from does not exist.
        TrainingError: No member could be trained.
        Stopped: A signal asked to stop; all work is saved.
    """
    folds = _wanted_folds(config, set(_read_cases_and_folds(run)[1].values()))
    with listening() as stop:
        if config.jobs == 1 or len(folds) == 1:
            trained = _train_members(run, config, stop, overwrite=overwrite)
        else:
            trained = _train_in_jobs(run, config, folds, stop, overwrite=overwrite)
    if trained.failed and not trained.outputs:
        raise TrainingError("; ".join(dict.fromkeys(trained.failed.values())))
    for name, why in trained.failed.items():
        warn(f"not trained: {name}: {why}")
    name_files("Members", run.members)
    return trained


def prepare_arrays(run: RunFolder, config: TrainConfig = AS_USUAL) -> StageResult:
    """Prepare the arrays that the members read, without training; raises as `train_run` does."""
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    for spec in _specs_of(_list_members(config, config.folds or (0,))):
        arrays_of(run, cases, spec)
    name_files("Arrays", run.arrays)
    return StageResult((run.arrays,))


def _train_in_jobs(
    run: RunFolder, config: TrainConfig, folds: Sequence[int], stop: StopRequest, *, overwrite: bool
) -> StageResult:
    prepare_arrays(run, config)
    say(f"Training {min(config.jobs, len(folds))} folds at once, {threads_of(config.jobs)} CPU threads each")
    trained = StageResult()
    for pseudo in (False, True):
        schemes = tuple(scheme.name for scheme in config.find_schemes() if scheme.pseudo_labels == pseudo)
        parts = [replace(config, schemes=schemes, folds=(fold,)) for fold in folds if schemes]
        tasks = [partial(_train_as_job, run, part, overwrite=overwrite) for part in parts]
        trained = sum(run_in_jobs(tasks, config.jobs, stop), trained)
    return trained


def _train_as_job(run: RunFolder, config: TrainConfig, *, overwrite: bool) -> StageResult:
    with listening() as stop:
        return _train_members(run, config, stop, overwrite=overwrite)


def _train_members(run: RunFolder, config: TrainConfig, stop: StopRequest, *, overwrite: bool) -> StageResult:
    """Train member after member in this process; one that fails does not stop the others."""
    cases, folds = _read_cases_and_folds(run)
    members = _list_members(config, _wanted_folds(config, set(folds.values())))
    device = choose_device(config.device)
    grids = tuple(dict.fromkeys(grid for member in members for grid in member.size.grids))
    hardware = Hardware(device, config.precision, config.compile, config.devices, config.nodes, grids)
    engine = Engine.start(hardware)
    with distributed(engine.fabric, stop):
        first_does(lambda: _record(run, config, hardware), engine.fabric)
        with engine.fabric.rank_zero_first():
            data = labelled_contents(run, cases)  # before the arrays, so that later changes are noticed next time
            arrays = {spec: arrays_of(run, cases, spec) for spec in _specs_of(members)}
        cohort = _Cohort(run, cases, folds, data, arrays)
        saving, trained = CheckpointPolicy(config.save_minutes, stop), StageResult()
        for number, member in enumerate(members, start=1):
            check_all(stop, engine.fabric)
            where = f"size {config.wanted_size.name}, on {hardware.description}"
            say(f"Member {number} of {len(members)}: {_words_of(member)}, {where}")
            trained += _train_one(cohort, member, config, engine, saving, overwrite=overwrite)
        return trained


def _train_one(
    cohort: _Cohort, member: _Member, config: TrainConfig, engine: Engine, saving: CheckpointPolicy, *, overwrite: bool
) -> StageResult:
    name = f"{member.scheme.name}, fold {member.fold}"
    folder = cohort.run.member(member.scheme.name, member.fold)
    try:
        plan = _plan(cohort, member, config, engine)
        with engine.fabric.rank_zero_first():
            arrays = _arrays_of_plan(cohort, plan)
        train_member(folder, plan, arrays, engine, saving, overwrite=overwrite)
    except TrainingError as error:
        warn(f"{name}: {error}")
        return StageResult(failed={name: str(error)})
    return StageResult((folder,))


def _read_cases_and_folds(run: RunFolder) -> tuple[list[Case], dict[str, int]]:
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    labelled = [case for case in cases if case.mask is not None]
    return cases, read_folds(run.require(run.folds_csv, "folds"), labelled)


def _record(run: RunFolder, config: TrainConfig, hardware: Hardware) -> None:
    """Record the settings that all members share. Schemes and folds may be trained by several commands."""
    shared = {"size": config.wanted_size.name, "variant": config.variant, "seed": config.seed, "batch": config.batch}
    shared |= {"from": config.from_ or None, "epochs": config.epochs, "learning_rate": config.learning_rate}
    write_section(run.config_toml, "train", shared)
    write_json(run.environment_json, describe_environment() | facts_of(hardware))


def _list_members(config: TrainConfig, folds: Sequence[int]) -> list[_Member]:
    """All requested members in training order: schemes with pseudo-labels last."""
    model, size = open_bundle(config.from_) if config.from_ else None, config.wanted_size
    members = []
    for scheme, fold in product(config.find_schemes(), folds):
        start = None if model is None else choose_warm_start(model, scheme, fold)
        members.append(_Member(scheme, fold, size if start is None else start.fit(size), start))
    return members


def _specs_of(members: Sequence[_Member]) -> list[PreprocessSpec]:
    return list(dict.fromkeys(member.size.preprocess for member in members))


def _words_of(member: _Member) -> str:
    begins = "" if member.start is None else f", from {member.start.model.card.name} ({member.start.member.card.name})"
    return f"{member.scheme.name}, fold {member.fold}{begins}"


def _plan(cohort: _Cohort, member: _Member, config: TrainConfig, engine: Engine) -> Plan:
    pseudo, fold = {}, member.fold
    if member.scheme.pseudo_labels and (member.start is None or any(case.mask is None for case in cohort.cases)):
        device = engine.hardware.device
        labelled = first_does(
            lambda: label_unlabelled(cohort.run, cohort.cases, cohort.folds, fold, device), engine.fabric
        )
        pseudo = choose_labels(labelled, config.confidence_floor)
    return Plan(
        member.scheme,
        member.size,
        fold,
        config.seed,
        training=tuple(sorted(case_id for case_id, of in cohort.folds.items() if of != fold)),
        validation=tuple(sorted(case_id for case_id, of in cohort.folds.items() if of == fold)),
        variant=config.variant,
        pseudo=pseudo,
        start=member.start,
        data=cohort.data,
    )


def _arrays_of_plan(cohort: _Cohort, plan: Plan) -> tuple[list[CaseArrays], list[CaseArrays]]:
    arrays = cohort.arrays[plan.size.preprocess]
    training = [arrays[case_id] for case_id in plan.training]
    if plan.pseudo:
        training += pseudo_arrays(cohort.run, cohort.cases, plan.pseudo, plan.size.preprocess)
    return training, [arrays[case_id] for case_id in plan.validation]


def _wanted_folds(config: TrainConfig, known: set[int]) -> tuple[int, ...]:
    unknown = sorted(set(config.folds) - known)
    if unknown:
        raise ConfigError(f"no fold {unknown[0]} in this run; it has {', '.join(map(str, sorted(known)))}")
    return tuple(config.folds) or tuple(sorted(known))


@contextmanager
def distributed(fabric: lightning_fabric.Fabric, stop: StopRequest) -> Iterator[None]:
    """Train together with the other processes, if there are any.

    All processes except the first print nothing and only pass signals on at the next step. They exit with status 0 when
    the first one finishes or stops, and also exit if it disappears.

    Args:
        fabric: The launched engine.
        stop: Stop request of this process.

    Raises:
        TrainingError: The connection to the others was lost, for example because one of them was killed.
    """
    if fabric.world_size == 1:
        yield
        return
    try:
        if fabric.is_global_zero:
            yield
        else:
            be_quiet()
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
            with stop.held():
                yield
        fabric.barrier()
    except Stopped:
        if fabric.is_global_zero:
            raise
        raise SystemExit(0) from None
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        if not fabric.is_global_zero:
            time.sleep(SECONDS_TO_END)
        raise TrainingError(
            f"process {fabric.global_rank} lost another one, which was killed, ran out of memory, or printed its "
            "error above; rerun the command to resume from the last checkpoint"
        ) from error
    if not fabric.is_global_zero:
        raise SystemExit(0)


def check_all(stop: StopRequest, fabric: lightning_fabric.Fabric) -> None:
    """Raise `Stopped` in all processes if one of them was asked to stop."""
    if any_of((bool(stop.by),), fabric)[0]:
        stop.end()


def _is_lost_connection(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
