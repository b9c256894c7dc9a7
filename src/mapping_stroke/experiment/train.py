"""Train members: each scheme on each fold, one after the other, resuming what was begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapping_stroke.config import write_section
from mapping_stroke.console import say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import ConfigError, TrainingError
from mapping_stroke.experiment.arrays import arrays_of
from mapping_stroke.experiment.pseudo_labels import choose_labels, label_unlabelled, pseudo_arrays
from mapping_stroke.experiment.stopping import StopRequest
from mapping_stroke.experiment.together import check_all, together
from mapping_stroke.experiment.train_member import Plan, Saving, train_member
from mapping_stroke.files import write_json
from mapping_stroke.inference.devices import choose_device
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.engine import Engine, Hardware
from mapping_stroke.training.processes import first_does
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

    def __post_init__(self) -> None:
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
        """The size, with the batch that was asked for."""
        size = find_size(self.size)
        return size if self.batch is None else replace(size, batch=self.batch)


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

    cases: Sequence[Case]
    folds: Mapping[str, int]
    arrays: Mapping[str, CaseArrays]


def train_run(run: RunFolder, config: TrainConfig, stop: StopRequest, *, overwrite: bool = False) -> Trained:
    """Train every scheme on every fold, schemes with pseudo-labels last; one that fails does not stop the others.

    Args:
        run: A run with cases and folds.
        config: Schemes, folds, size, seed, device.
        stop: Asked between steps whether to stop.
        overwrite: Train anew where a member of other settings stands.

    Raises:
        RunFolderError: A stage before this one has not been run, or a member of other settings stands there.
        ConfigError: An unknown scheme, size, fold, or device.
        Stopped: When asked to, with all saved.
    """
    cases, folds = _read_cases_and_folds(run)
    wanted = _wanted_folds(config, set(folds.values()))
    device = choose_device(config.device)
    hardware = Hardware(
        device, config.precision, config.compiled, config.devices, config.nodes, config.wanted_size.grids
    )
    engine = Engine.start(hardware)
    with together(engine.fabric, stop):
        first_does(lambda: _record(run, config, hardware), engine.fabric)
        with engine.fabric.rank_zero_first():
            cohort = _Cohort(cases, folds, arrays_of(run, cases, config.wanted_size.preprocess))
        saving = Saving(config.save_minutes, stop)
        return _train_members(run, cohort, replace(config, folds=wanted), engine, saving, overwrite=overwrite)


def _train_members(
    run: RunFolder, cohort: _Cohort, config: TrainConfig, engine: Engine, saving: Saving, *, overwrite: bool
) -> Trained:
    schemes = sorted((find_scheme(name, config.variant) for name in config.schemes), key=lambda s: s.pseudo_labels)
    trained, pairs = Trained(), [(scheme, fold) for scheme in schemes for fold in config.folds]
    for number, (scheme, fold) in enumerate(pairs, start=1):
        check_all(saving.stop, engine.fabric)
        where = f"size {config.size}, on {engine.hardware.description}"
        say(f"Member {number} of {len(pairs)}: {scheme.name}, fold {fold}, {where}")
        folder = run.member(scheme.name, fold)
        try:
            plan = _plan(run, cohort, config, scheme, fold, engine)
            with engine.fabric.rank_zero_first():
                arrays = _arrays_of_plan(run, cohort, plan)
            train_member(folder, plan, arrays, engine, saving, overwrite=overwrite)
            trained.members.append(folder)
        except TrainingError as error:
            warn(f"{scheme.name}, fold {fold}: {error}")
            trained.failed[f"{scheme.name}, fold {fold}"] = str(error)
    return trained


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
    write_section(run.config_toml, "train", shared)
    computes = {"device": str(hardware.device), "precision": hardware.computes_in, "processes": hardware.processes}
    write_json(run.environment_json, describe_environment() | computes)


def _plan(run: RunFolder, cohort: _Cohort, config: TrainConfig, scheme: Scheme, fold: int, engine: Engine) -> Plan:
    pseudo = {}
    if scheme.pseudo_labels:
        device = engine.hardware.device
        labelled = first_does(lambda: label_unlabelled(run, cohort.cases, cohort.folds, fold, device), engine.fabric)
        pseudo = choose_labels(labelled, config.confidence_floor)
    return Plan(
        scheme,
        config.wanted_size,
        fold,
        config.seed,
        training=tuple(sorted(case_id for case_id, of in cohort.folds.items() if of != fold)),
        validation=tuple(sorted(case_id for case_id, of in cohort.folds.items() if of == fold)),
        variant=config.variant,
        pseudo=pseudo,
    )


def _arrays_of_plan(run: RunFolder, cohort: _Cohort, plan: Plan) -> tuple[list[CaseArrays], list[CaseArrays]]:
    training = [cohort.arrays[case_id] for case_id in plan.training]
    if plan.pseudo:
        training += pseudo_arrays(run, cohort.cases, plan.pseudo, plan.size.preprocess)
    return training, [cohort.arrays[case_id] for case_id in plan.validation]


def _require_equal_shares(batch: int, processes: int) -> None:
    if processes > 1 and batch % processes:
        enough = -(-batch // processes) * processes
        raise ConfigError(
            f"a batch of {batch} patches has no equal shares for {processes} processes; give fewer --devices, or "
            f"--batch {enough} (which trains another network than the size's own batch does)"
        )


def _wanted_folds(config: TrainConfig, known: set[int]) -> tuple[int, ...]:
    unknown = sorted(set(config.folds) - known)
    if unknown:
        raise ConfigError(f"no fold {unknown[0]} in this run; it has {', '.join(map(str, sorted(known)))}")
    return tuple(config.folds) or tuple(sorted(known))
