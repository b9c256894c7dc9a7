"""Train members: each scheme on each fold, one after the other, resuming what was begun."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mapping_stroke.config import write_section
from mapping_stroke.console import duration, name_files, say
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import ConfigError, RunFolderError
from mapping_stroke.experiment.arrays import arrays_of
from mapping_stroke.experiment.pseudo_labels import choose_labels, label_unlabelled, pseudo_arrays
from mapping_stroke.files import fingerprint, read_object, write_csv, write_json
from mapping_stroke.inference.devices import choose_device
from mapping_stroke.networks.bundle import MemberCard, has_member
from mapping_stroke.networks.member_folder import write_member
from mapping_stroke.networks.unet import unet_weights
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.checkpoint import resume_from, write_checkpoint
from mapping_stroke.training.engine import start_engine
from mapping_stroke.training.loop import Epoch, TrainingState, start_training, train
from mapping_stroke.training.schemes import SCHEMES, Scheme, Size, find_scheme, find_size, rows_of, seed_number

EPOCH_COLUMNS = ("epoch", "loss", "foreground_dice", "validation_loss", "learning_rate", "seconds")


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
    confidence_floor: float | None = None
    """Pseudo-labels of a lower mean confidence, and empty ones, are left out; None for no floor."""

    def __post_init__(self) -> None:
        find_size(self.size)
        if self.seed < 0:
            raise ConfigError(f"got seed {self.seed}, expected 0 or more; give --seed 0 or more")
        if self.confidence_floor is not None and not 0 <= self.confidence_floor <= 1:
            raise ConfigError(
                f"got --confidence-floor {self.confidence_floor}, expected 0 to 1, such as 0.8 (labels have over 0.5)"
            )
        for name in self.schemes:
            find_scheme(name, self.variant)
        if not self.schemes:
            raise ConfigError("no training scheme given; leave --schemes out for all of them")


@dataclass(frozen=True, eq=False)
class Plan:
    """One member to train: what, on which cases, from which seed."""

    scheme: Scheme
    size: Size
    fold: int
    seed: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    variant: str = "paper"
    pseudo: dict[str, Any] = field(default_factory=dict)
    """Provenance of the pseudo-labels; empty without."""

    @property
    def recipe(self) -> str:
        """Fingerprint of all that decides the trained weights."""
        return fingerprint({**asdict(self), "rows": rows_of(self.scheme)})

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.scheme.name}, fold {self.fold}"


def train_run(run: RunFolder, config: TrainConfig, *, overwrite: bool = False) -> list[Path]:
    """Train every scheme on every fold, schemes with pseudo-labels last.

    Args:
        run: A run with cases and folds.
        config: Schemes, folds, size, seed, device.
        overwrite: Train anew where a member of other settings stands.

    Returns:
        The folders of all members asked for, trained now or before.

    Raises:
        RunFolderError: A stage before this one has not been run, or a member of other settings stands there.
        ConfigError: An unknown scheme, size, or fold.
    """
    cases, folds = _read_cases_and_folds(run)
    wanted = _wanted_folds(config, set(folds.values()))
    size, device = find_size(config.size), choose_device(config.device)
    _record(run, config, device)
    arrays = arrays_of(run, cases, size.preprocess)
    schemes = sorted((find_scheme(name, config.variant) for name in config.schemes), key=lambda s: s.pseudo_labels)
    members = []
    pairs = [(scheme, fold) for scheme in schemes for fold in wanted]
    for number, (scheme, fold) in enumerate(pairs, start=1):
        say(f"Member {number} of {len(pairs)}: {scheme.name}, fold {fold}, size {size.name}, on {device}")
        pseudo = {}
        if scheme.pseudo_labels:
            pseudo = choose_labels(label_unlabelled(run, cases, folds, fold, device), config.confidence_floor)
        plan = _plan(scheme, fold, folds, config, pseudo)
        members.append(_train_member(run, plan, cases, arrays, device, overwrite=overwrite))
    name_files("Members", run.members)
    return members


def folds_to_train(run: RunFolder, config: TrainConfig) -> tuple[int, ...]:
    """The folds a configuration asks for, all where it names none; raises as `train_run` does."""
    return _wanted_folds(config, set(_read_cases_and_folds(run)[1].values()))


def _read_cases_and_folds(run: RunFolder) -> tuple[list[Case], dict[str, int]]:
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    labelled = [case for case in cases if case.mask is not None]
    return cases, read_folds(run.require(run.folds_csv, "folds"), labelled)


def _record(run: RunFolder, config: TrainConfig, device: torch.device) -> None:
    """Write what all members of the run share; schemes and folds do not, and may be trained by several commands."""
    write_section(run.config_toml, "train", {"size": config.size, "variant": config.variant, "seed": config.seed})
    write_json(run.environment_json, describe_environment() | {"device": str(device)})


def _plan(scheme: Scheme, fold: int, folds: Mapping[str, int], config: TrainConfig, pseudo: dict[str, Any]) -> Plan:
    return Plan(
        scheme,
        find_size(config.size),
        fold,
        config.seed,
        training=tuple(sorted(case_id for case_id, of in folds.items() if of != fold)),
        validation=tuple(sorted(case_id for case_id, of in folds.items() if of == fold)),
        variant=config.variant,
        pseudo=pseudo,
    )


def _train_member(
    run: RunFolder,
    plan: Plan,
    cases: Sequence[Case],
    arrays: dict[str, CaseArrays],
    device: torch.device,
    *,
    overwrite: bool,
) -> Path:
    folder = run.member(plan.scheme.name, plan.fold)
    _require_same_recipe(folder, plan, overwrite=overwrite)
    if has_member(folder):
        say(f"{plan.name}: trained already")
        return folder
    training = [arrays[case_id] for case_id in plan.training]
    if plan.pseudo:
        training += pseudo_arrays(run, cases, plan.pseudo, plan.size.preprocess)
    validation = [arrays[case_id] for case_id in plan.validation]
    if device.type != "cpu":
        training, validation = [v.to(device) for v in training], [v.to(device) for v in validation]
    state = start_training(plan.scheme, plan.size, (plan.seed, seed_number(plan.scheme), plan.fold), device)
    if resume_from(folder / "checkpoint.pt", state, plan.recipe):
        say(f"{plan.name}: going on after epoch {len(state.epochs)}")
    _run_epochs(folder, plan, state, (training, validation), device)
    write_member(folder, unet_weights(state.network), _card(plan, state.epochs))
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder


def _run_epochs(
    folder: Path,
    plan: Plan,
    state: TrainingState,
    arrays: tuple[list[CaseArrays], list[CaseArrays]],
    device: torch.device,
) -> None:
    total = plan.size.epochs_of(plan.scheme)
    for epoch in train(state, plan.scheme, plan.size, arrays, start_engine(device)):
        write_csv(folder / "epochs.csv", EPOCH_COLUMNS, [asdict(one) for one in state.epochs])
        write_checkpoint(folder / "checkpoint.pt", state, plan.recipe)
        mean_s = sum(one.seconds for one in state.epochs) / len(state.epochs)
        say(
            f"{plan.name}: epoch {epoch.epoch + 1}/{total}, loss {epoch.loss:+.3f}, foreground Dice "
            f"{epoch.foreground_dice:.3f}, {epoch.seconds:.1f} s, {duration(mean_s * (total - epoch.epoch - 1))} left"
        )


def _require_same_recipe(folder: Path, plan: Plan, *, overwrite: bool) -> None:
    """Mark the folder with the plan's recipe; refuse, or clear, one that was begun with another."""
    marker = folder / "recipe.json"
    if marker.is_file():
        if read_object(marker).get("recipe") == plan.recipe:
            return
        if not overwrite:
            raise RunFolderError(
                f"{folder}: holds a member trained with other settings or cases; use --overwrite to train it anew, "
                "or prepare another run"
            )
        shutil.rmtree(folder)
    write_json(marker, {"recipe": plan.recipe, "settings": asdict(plan)})


def _card(plan: Plan, epochs: Sequence[Epoch]) -> MemberCard:
    last = epochs[-1].foreground_dice if epochs else float("nan")
    return MemberCard(
        scheme=plan.scheme.name,
        fold=plan.fold,
        network=plan.size.network(plan.scheme),
        preprocess=plan.size.preprocess,
        patch=plan.size.patch,
        training={
            "recipe": plan.recipe,
            "size": plan.size.name,
            "variant": plan.variant,
            "seed": plan.seed,
            "epochs": len(epochs),
            "training_cases": len(plan.training),
            "validation_dice": last,
            "pseudo_labels": plan.pseudo,
        },
    )


def _wanted_folds(config: TrainConfig, known: set[int]) -> tuple[int, ...]:
    unknown = sorted(set(config.folds) - known)
    if unknown:
        raise ConfigError(f"no fold {unknown[0]} in this run; it has {', '.join(map(str, sorted(known)))}")
    return tuple(config.folds) or tuple(sorted(known))
