"""Train members: each scheme on each fold, one after the other, resuming what was begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

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
from mapping_stroke.experiment.train_member import Plan, Saving, train_member
from mapping_stroke.files import write_json
from mapping_stroke.inference.devices import choose_device
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.engine import Hardware
from mapping_stroke.training.schemes import SCHEMES, Scheme, find_scheme, find_size


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

    def __post_init__(self) -> None:
        find_size(self.size)
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
        ConfigError: An unknown scheme, size, or fold.
        Stopped: When asked to, with all saved.
    """
    cases, folds = _read_cases_and_folds(run)
    wanted = _wanted_folds(config, set(folds.values()))
    size = find_size(config.size)
    hardware = Hardware(choose_device(config.device), config.precision, config.compiled)
    _record(run, config, hardware)
    cohort = _Cohort(cases, folds, arrays_of(run, cases, size.preprocess))
    schemes = sorted((find_scheme(name, config.variant) for name in config.schemes), key=lambda s: s.pseudo_labels)
    trained, saving = Trained(), Saving(config.save_minutes, stop)
    pairs = [(scheme, fold) for scheme in schemes for fold in wanted]
    for number, (scheme, fold) in enumerate(pairs, start=1):
        stop.check()
        say(f"Member {number} of {len(pairs)}: {scheme.name}, fold {fold}, size {size.name}, on {hardware.description}")
        folder = run.member(scheme.name, fold)
        try:
            plan = _plan(run, cohort, config, scheme, fold, hardware.device)
            arrays = _arrays_of_plan(run, cohort, plan)
            train_member(folder, plan, arrays, hardware, saving, overwrite=overwrite)
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
    write_section(run.config_toml, "train", {"size": config.size, "variant": config.variant, "seed": config.seed})
    write_json(
        run.environment_json,
        describe_environment() | {"device": str(hardware.device), "precision": hardware.computes_in},
    )


def _plan(
    run: RunFolder, cohort: _Cohort, config: TrainConfig, scheme: Scheme, fold: int, device: torch.device
) -> Plan:
    pseudo = {}
    if scheme.pseudo_labels:
        labelled = label_unlabelled(run, cohort.cases, cohort.folds, fold, device)
        pseudo = choose_labels(labelled, config.confidence_floor)
    return Plan(
        scheme,
        find_size(config.size),
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


def _wanted_folds(config: TrainConfig, known: set[int]) -> tuple[int, ...]:
    unknown = sorted(set(config.folds) - known)
    if unknown:
        raise ConfigError(f"no fold {unknown[0]} in this run; it has {', '.join(map(str, sorted(known)))}")
    return tuple(config.folds) or tuple(sorted(known))
