"""The stage `train`: each scheme on each fold, in one process or several, resuming members that were begun."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from mapping_stroke.console import name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import ConfigError, TrainingError
from mapping_stroke.files import write_json
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.processes import StopRequest, listening, run_in_jobs, threads_of
from mapping_stroke.run_folder import RunFolder, write_section
from mapping_stroke.stages.arrays import arrays_of, arrays_run, labelled_contents
from mapping_stroke.stages.distributed import check_all, together
from mapping_stroke.stages.member import CheckpointPolicy, Plan, train_member
from mapping_stroke.stages.pseudo_labels import choose_labels, label_unlabelled, pseudo_arrays
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.engine import Engine, Hardware, first_does
from mapping_stroke.training.schemes import SCHEMES, Scheme, Size, find_scheme, find_size


@dataclass(frozen=True)
class TrainConfig:
    """What `mapping train` trains."""

    schemes: tuple[str, ...] = tuple(scheme.name for scheme in SCHEMES)
    folds: tuple[int, ...] = ()
    """Empty for all folds of the run."""
    size: str = "full"
    variant: str = "paper"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """Of the convolutions: `float32`, `bfloat16`, or the faster of them on the device."""
    compiled: bool = False
    """Compile the networks first."""
    confidence_floor: float | None = None
    """Pseudo-labels of a lower mean confidence, and empty ones, are left out; None for no floor."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints."""
    devices: int = 1
    """Of each machine; each has its share of every batch."""
    nodes: int = 1
    batch: int | None = None
    """Patches of a training step, on all devices together; None takes the size's own."""
    model: str = ""
    """What members begin with, see `open_bundle`; empty for fresh weights."""
    epochs: int | None = None
    """Of every scheme; None takes the size's own."""
    learning_rate: float | None = None
    """Of the first epoch; None takes the size's own."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"got --epochs {self.epochs}, expected 1 or more")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise ConfigError(f"got --learning-rate {self.learning_rate}, expected above 0 and up to 1, such as 0.001")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"got --batch {self.batch}, expected 1 or more")
        if self.seed < 0:
            raise ConfigError(f"got seed {self.seed}, expected 0 or more; give --seed 0 or more")
        if self.confidence_floor is not None and not 0 <= self.confidence_floor <= 1:
            raise ConfigError(
                f"got --confidence-floor {self.confidence_floor}, expected 0 to 1, such as 0.8 (labels have over 0.5)"
            )
        if not self.save_minutes >= 0:
            raise ConfigError(f"got --save-minutes {self.save_minutes}, expected 0 (every step) or more, such as 10")
        for name in self.schemes:
            find_scheme(name, self.variant)
        if not self.schemes:
            raise ConfigError("no training scheme given; leave --schemes out for all of them")
        _require_equal_shares(self.wanted_size.batch, self.devices * self.nodes)

    @property
    def wanted_size(self) -> Size:
        """The size, with the batch, epochs and learning rate that were asked for."""
        size = find_size(self.size)
        return replace(
            size,
            batch=size.batch if self.batch is None else self.batch,
            epochs=size.epochs if self.epochs is None else self.epochs,
            learning_rate=size.learning_rate if self.learning_rate is None else self.learning_rate,
        )


def _require_equal_shares(batch: int, processes: int) -> None:
    if processes > 1 and batch % processes:
        enough = -(-batch // processes) * processes
        raise ConfigError(
            f"a batch of {batch} patches has no equal shares for {processes} processes; give fewer --devices, or "
            f"--batch {enough} (which trains another network than the size's own batch does)"
        )


@dataclass
class Trained:
    """What came of the members that were asked for.

    Attributes:
        members: The folders of those that are trained, now or before.
        failed: The names of the others, and why.
    """

    members: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, other: "Trained") -> None:
        """Take in what came of others."""
        self.members += other.members
        self.failed |= other.failed


@dataclass(frozen=True, eq=False)
class _Cohort:
    """What all members of a run are trained on."""

    run: RunFolder
    cases: Sequence[Case]
    folds: Mapping[str, int]
    data: str
    """Mark of what scans and masks hold."""
    arrays: Mapping[PreprocessSpec, Mapping[str, CaseArrays]]
    """For every way in which members read a scan."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A member to train."""

    scheme: Scheme
    fold: int
    size: Size
    start: WarmStart | None


def train_run(run: RunFolder, config: TrainConfig, stop: StopRequest, *, overwrite: bool = False) -> Trained:
    """Train every scheme on every fold, schemes with pseudo-labels last; one that fails does not stop the others.

    Args:
        run: A run with cases and folds.
        config: Schemes, folds, size, seed, device.
        stop: Asked between steps whether to stop.
        overwrite: Train anew where a member of other settings or data stands.

    Raises:
        RunFolderError: A stage before this one has not been run, or a member of other settings or data stands there.
        FileError: A scan or mask cannot be read.
        ConfigError: An unknown scheme, size, fold, or device, or nothing to begin a scheme with.
        BundleError: There is no such model to begin with.
        Stopped: When asked to, with all saved.
    """
    cases, folds = _read_cases_and_folds(run)
    members = _list_members(config, _wanted_folds(config, set(folds.values())))
    device = choose_device(config.device)
    grids = tuple(dict.fromkeys(grid for member in members for grid in member.size.grids))
    hardware = Hardware(device, config.precision, config.compiled, config.devices, config.nodes, grids)
    engine = Engine.start(hardware)
    with together(engine.fabric, stop):
        first_does(lambda: _record(run, config, hardware), engine.fabric)
        with engine.fabric.rank_zero_first():
            data = labelled_contents(run, cases)  # before the arrays: what changes from here on is noticed next time
            arrays = {spec: arrays_of(run, cases, spec) for spec in _specs_of(members)}
        cohort = _Cohort(run, cases, folds, data, arrays)
        saving, trained = CheckpointPolicy(config.save_minutes, stop), Trained()
        for number, member in enumerate(members, start=1):
            check_all(stop, engine.fabric)
            where = f"size {config.size}, on {hardware.description}"
            say(f"Member {number} of {len(members)}: {_words_of(member)}, {where}")
            trained.add(_train_one(cohort, member, config, engine, saving, overwrite=overwrite))
        return trained


def _train_one(
    cohort: _Cohort, member: _Member, config: TrainConfig, engine: Engine, saving: CheckpointPolicy, *, overwrite: bool
) -> Trained:
    name = f"{member.scheme.name}, fold {member.fold}"
    folder = cohort.run.member(member.scheme.name, member.fold)
    try:
        plan = _plan(cohort, member, config, engine)
        with engine.fabric.rank_zero_first():
            arrays = _arrays_of_plan(cohort, plan)
        train_member(folder, plan, arrays, engine, saving, overwrite=overwrite)
    except TrainingError as error:
        warn(f"{name}: {error}")
        return Trained(failed={name: str(error)})
    return Trained([folder])


def prepare_arrays(run: RunFolder, config: TrainConfig) -> None:
    """Prepare the arrays that the members read, and train nothing; raises as `train_run` does."""
    arrays_run(run, _specs_of(_list_members(config, config.folds or (0,))))


def folds_to_train(run: RunFolder, config: TrainConfig) -> tuple[int, ...]:
    """The folds a configuration asks for, all where it names none; raises as `train_run` does."""
    return _wanted_folds(config, set(_read_cases_and_folds(run)[1].values()))


def _read_cases_and_folds(run: RunFolder) -> tuple[list[Case], dict[str, int]]:
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    labelled = [case for case in cases if case.mask is not None]
    return cases, read_folds(run.require(run.folds_csv, "folds"), labelled)


def _record(run: RunFolder, config: TrainConfig, hardware: Hardware) -> None:
    """Write what all members of the run share; schemes and folds do not, and may be trained by several commands."""
    shared = {"size": config.size, "variant": config.variant, "seed": config.seed, "batch": config.batch}
    shared |= {"from": config.model or None, "epochs": config.epochs, "learning_rate": config.learning_rate}
    write_section(run.config_toml, "train", shared)
    computes = {"device": str(hardware.device), "precision": hardware.computes_in, "processes": hardware.processes}
    write_json(run.environment_json, describe_environment() | computes)


def _list_members(config: TrainConfig, folds: Sequence[int]) -> list[_Member]:
    """All that is asked for, in the order in which it is trained: schemes with pseudo-labels last."""
    schemes = sorted((find_scheme(name, config.variant) for name in config.schemes), key=lambda s: s.pseudo_labels)
    model, size = open_bundle(config.model) if config.model else None, config.wanted_size
    members = []
    for scheme, fold in ((scheme, fold) for scheme in schemes for fold in folds):
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


def train_side_by_side(run: RunFolder, config: TrainConfig, jobs: int, *, overwrite: bool = False) -> Trained:
    """Train every scheme on every fold, several folds at once if asked to; the weights are the same.

    Schemes with pseudo-labels wait for all others, whose validation Dice on all folds chooses who makes the labels.

    Args:
        run: A run with cases and folds.
        config: As for `train_run`.
        jobs: Processes at once, 1 or more.
        overwrite: Train anew where a member of other settings or data stands.

    Returns:
        What came of each member, also told to the user.

    Raises:
        ConfigError: Less than one job, or several on several devices. Otherwise as `train_run`.
        TrainingError: No member could be trained.
        Stopped: When asked to by a signal, with all saved.
    """
    if jobs < 1:
        raise ConfigError(f"got {jobs} jobs, expected 1 or more")
    if config.devices * config.nodes > 1:
        _require_one_command(jobs)
    wanted = folds_to_train(run, config)
    with listening() as stop:
        if jobs == 1 or len(wanted) == 1:
            trained = train_run(run, config, stop, overwrite=overwrite)
        else:
            trained = _train_in_jobs(run, config, wanted, stop, jobs, overwrite=overwrite)
    if trained.failed and not trained.members:
        raise TrainingError("; ".join(dict.fromkeys(trained.failed.values())))
    for name, why in trained.failed.items():
        warn(f"not trained: {name}: {why}")
    name_files("Members", run.members)
    return trained


def _require_one_command(jobs: int) -> None:
    """Refuse several devices where their processes, which repeat the command line, would do something else."""
    if jobs > 1:
        raise ConfigError("--jobs trains each fold on one device; leave out --jobs, or --devices and --nodes")
    if not any(argument.startswith(("--devices", "--nodes")) for argument in sys.argv):
        raise ConfigError("several devices need a command line of their own: call `mapping train ... --devices N`")


def _train_in_jobs(
    run: RunFolder, config: TrainConfig, folds: Sequence[int], stop: StopRequest, jobs: int, *, overwrite: bool
) -> Trained:
    prepare_arrays(run, config)
    say(f"Training {min(jobs, len(folds))} folds at once, {threads_of(jobs)} CPU threads each")
    trained = Trained()
    for pseudo in (False, True):
        schemes = tuple(s for s in config.schemes if find_scheme(s, config.variant).pseudo_labels == pseudo)
        parts = [replace(config, schemes=schemes, folds=(fold,)) for fold in folds if schemes]
        for part in run_in_jobs([partial(_train_as_job, run, one, overwrite=overwrite) for one in parts], jobs, stop):
            trained.add(part)
    return trained


def _train_as_job(run: RunFolder, config: TrainConfig, *, overwrite: bool) -> Trained:
    with listening() as stop:
        return train_run(run, config, stop, overwrite=overwrite)
