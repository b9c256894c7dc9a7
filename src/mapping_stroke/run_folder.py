"""The folder of a run: the files of each stage, the claim on the folder, and the settings in `config.toml`."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from mapping_stroke.errors import ConfigError, MappingError, RunFolderError
from mapping_stroke.files import PARTIAL, read_json, remove, write_json, write_text
from mapping_stroke.processes import try_lock

OWNER_FILE = "run.json"
"""Marks a folder of this program and identifies its contents; written first."""
FORMAT_VERSION = 1
RESULTS_KEY = "kind"
"""In an identity: the folder holds results. Simulated scans, which are data, only have a `command`."""
COMMAND_KEYS = (RESULTS_KEY, "command")
"""Keys of an identity that name the command."""
RECORD_KEY = "record"
"""Next to the identity: a record of the run, which does not affect resuming."""
SHARING = ".mapping"
"""Hidden folder in an output folder through which processes share the work."""

WORKING_LOCK = "work.lock"
"""In `SHARING`: held by the process that works in a folder by itself."""

ENSEMBLE = "ensemble"
"""The method that averages the maps of all schemes; its masks are P > 0.5."""
FINAL = "ensemble-pp"
"""The method that gives the final masks: the ensemble with post-processing."""

PROBABILITY_SUFFIX = "_probability.nii.gz"
MASK_SUFFIX = "_mask.nii.gz"
BRAIN_SUFFIX = "_brain.nii.gz"
"""Suffix of a brain mask, which is neither a scan nor a lesion mask."""
EDITED_SUFFIX = "_desc-edited_mask.nii.gz"
"""Suffix of a mask that a person corrected, which is never removed."""


STAGES = ("prepare", "folds", "train", "predict", "postprocess", "evaluate", "report")
RUN_CONTENTS = ("config.toml", "environment.json", "environments", "experiment", *STAGES)
"""Files and folders that the stages write into a run folder."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one experiment, with a subfolder for each stage, named after its command."""

    path: Path

    @property
    def config_toml(self) -> Path:
        """Settings of the run."""
        return self.path / "config.toml"

    @property
    def experiment(self) -> Path:
        """Settings, plan, logs and markers of `mapping experiment`."""
        return self.path / "experiment"

    @property
    def environment_json(self) -> Path:
        """Versions, machine, seeds."""
        return self.path / "environment.json"

    def environments(self, stage: str) -> Path:
        """The programs and machines that computed a stage, a file for each; members have their own."""
        return self.path / "environments" / stage

    @property
    def cases_csv(self) -> Path:
        """One row per case that passed the checks of `prepare`."""
        return self.path / "prepare" / "cases.csv"

    @property
    def registered(self) -> Path:
        """Scans and masks of reviewed results as the networks read them, and `sources.csv`."""
        return self.path / "prepare" / "scans"

    @property
    def problems_csv(self) -> Path:
        """One row per problem that `prepare` found."""
        return self.path / "prepare" / "problems.csv"

    @property
    def data_csv(self) -> Path:
        """Size and SHA-256 of every scan and mask."""
        return self.path / "prepare" / "data.csv"

    @property
    def arrays(self) -> Path:
        """Preprocessed volumes, a folder per preprocessing."""
        return self.path / "prepare" / "arrays"

    @property
    def folds_csv(self) -> Path:
        """The fold of every training case."""
        return self.path / "folds" / "folds.csv"

    @property
    def balance_csv(self) -> Path:
        """Kolmogorov-Smirnov distance of every fold's loads to the rest."""
        return self.path / "folds" / "balance.csv"

    @property
    def members(self) -> Path:
        """All members, a folder for each scheme."""
        return self.path / "train"

    def member(self, scheme: str, fold: int) -> Path:
        """Weights, epochs and checkpoint of one trained network."""
        return self.members / scheme / f"fold_{fold}"

    def pseudo_labels(self, fold: int) -> Path:
        """Pseudo-labels of the unlabelled scans, made without the cases of this fold."""
        return self.members / "pseudo_labels" / f"fold_{fold}"

    def probabilities(self, method: str) -> Path:
        """`<case>_probability.nii.gz` of a scheme, or of the `ensemble`."""
        return self.path / "predict" / method

    def masks(self, method: str) -> Path:
        """`<case>_mask.nii.gz` of a scheme, the `ensemble`, or the `ensemble-pp` (with post-processing)."""
        return self.path / "postprocess" / method

    @property
    def scores_csv(self) -> Path:
        """One row per method and case."""
        return self.path / "evaluate" / "scores.csv"

    @property
    def test_scores_csv(self) -> Path:
        """One row per method and unlabelled scan that a reference was given for."""
        return self.path / "evaluate" / "test" / "scores.csv"

    @property
    def report_html(self) -> Path:
        """The report."""
        return self.path / "report" / "index.html"

    def require(self, path: Path, stage: str) -> Path:
        """Return `path`; if it is missing, raise `RunFolderError` naming the stage that writes it."""
        if not path.exists():
            raise RunFolderError(f"{path}: not there yet; run `mapping {stage} {self.path}` first")
        return path


def is_run_folder(path: Path) -> bool:
    """Whether a folder is marked as written by this program."""
    return (path / OWNER_FILE).is_file()


def claim_folder(
    path: Path, identity: Mapping[str, object], contents: Sequence[str] = (), *, overwrite: bool = False
) -> None:
    """Claim a folder for one piece of work, so that a repeat resumes it and nothing else is overwritten.

    Args:
        path: The output folder; made if it is missing.
        identity: Everything that determines the result (command, inputs, seed, ...), JSON-able. The same identity
            resumes.
        contents: Name patterns of the files and folders that this work writes into the folder.
        overwrite: Remove the `contents` of another run of the same command. Nothing else is ever removed: no mask
            that a person corrected, no other files in that folder, and no folder that this program did not claim.

    Raises:
        RunFolderError: The folder holds another run (and `overwrite` is off) or the work of another command, holds
            foreign files, or is not writable.
    """
    require_claimable(path, identity, overwrite=overwrite)
    if is_run_folder(path):
        if holds_work(path, identity):
            return
        _remove_contents(path, contents)
    write_json(path / OWNER_FILE, _as_written(identity))


def holds_work(path: Path, identity: Mapping[str, object]) -> bool:
    """Whether a claimed folder belongs to this piece of work."""
    return read_identity(path) == _as_written(identity)


@contextmanager
def working_in(
    path: Path, identity: Mapping[str, object], contents: Sequence[str] = (), *, overwrite: bool = False
) -> Iterator[None]:
    """`claim_folder` around work, which holds a lock: results of another process at work are never removed.

    Raises:
        RunFolderError: See `claim_folder`; or another process is working in a folder that should be replaced.
    """
    require_claimable(path, identity, overwrite=overwrite)  # before anything is written
    lock = try_lock(path / SHARING / WORKING_LOCK)
    try:
        if lock is None and is_run_folder(path) and not holds_work(path, identity):
            raise RunFolderError(
                f"{path}: another process is working there; wait until it has finished, or use another output folder"
            )
        claim_folder(path, identity, contents, overwrite=overwrite)
        yield
    finally:
        if lock is not None:
            lock.release()
            with suppress(OSError):  # another process works there
                lock.path.parent.rmdir()


@contextmanager
def claimed(
    path: Path, identity: Mapping[str, object], contents: Sequence[str] = (), *, overwrite: bool = False
) -> Iterator[None]:
    """As `working_in`. If a `MappingError` ends the work, a newly claimed folder is left as it was before."""
    was_there, was_ours = path.exists(), is_run_folder(path)
    try:
        with working_in(path, identity, contents, overwrite=overwrite):
            try:
                yield
            except MappingError:
                if not was_ours:
                    withdraw(path, contents)
                raise
    except MappingError:
        if not was_there and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        raise


def withdraw(path: Path, contents: Sequence[str] = ()) -> None:
    """Undo `claim_folder`: remove the `contents` and the mark."""
    _remove_contents(path, (*contents, OWNER_FILE))


def _remove_contents(path: Path, contents: Sequence[str]) -> None:
    for entry in sorted({entry for pattern in contents for entry in path.glob(pattern)}):
        if not entry.name.endswith(EDITED_SUFFIX):
            remove(entry)


def write_record(path: Path, record: Mapping[str, object]) -> None:
    """Store a record of the run next to the identity of its folder."""
    write_json(path / OWNER_FILE, {**read_identity(path), RECORD_KEY: record})


def require_claimable(path: Path, identity: Mapping[str, object], *, overwrite: bool = False) -> None:
    """Raise the errors of `claim_folder` in advance, before long work. Nothing is written or removed."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        where = "is a file" if there == path else f"lies below the file {there}"
        raise RunFolderError(f"{path}: {where}, expected a folder; give another output folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunFolderError(f"{path}: {there} is not writable; give another output folder")
    if is_run_folder(path):
        found, asked = read_identity(path), _as_written(identity)
        if any(found.get(key) != asked.get(key) for key in COMMAND_KEYS):
            holds = " ".join(str(found[key]) for key in COMMAND_KEYS if key in found)
            raise RunFolderError(f"{path}: holds the work of another command ({holds}); give another output folder")
        if found != asked and not overwrite:
            differs = ", ".join(sorted(key for key in found.keys() | asked if found.get(key) != asked.get(key)))
            raise RunFolderError(
                f"{path}: holds another run (differs in {differs}); give another output folder, or --overwrite"
            )
    elif path.is_dir() and any(_is_foreign(inside.name) for inside in path.iterdir()):
        if is_run_folder(path):  # another process has just started the same work
            return require_claimable(path, identity, overwrite=overwrite)
        raise RunFolderError(f"{path}: holds files that no run of mapping wrote; give an empty or new folder")


def _is_foreign(name: str) -> bool:
    return name != SHARING and not name.startswith(PARTIAL)


def _as_written(identity: Mapping[str, object]) -> dict[str, object]:
    written: dict[str, object] = json.loads(json.dumps({"format": FORMAT_VERSION, **identity}))
    return written


def read_identity(path: Path) -> dict[str, object]:
    """Read the identity of a claimed folder; raises `RunFolderError` if it is missing or damaged."""
    owner = path / OWNER_FILE
    if not owner.is_file():
        raise RunFolderError(
            f"{path}: is not a run folder (it has no {OWNER_FILE}); start with `mapping prepare DATA -o RUN`"
        )
    try:
        identity = read_json(owner)
    except ValueError as error:
        raise RunFolderError(f"{owner}: is damaged ({error.__cause__}); use a new output folder") from error
    if not isinstance(identity, dict):
        raise RunFolderError(f"{owner}: expected a JSON object; use a new output folder")
    return {name: value for name, value in identity.items() if name != RECORD_KEY}


def write_section(path: Path, section: str, settings: Mapping[str, object]) -> None:
    """Write the settings of one stage and keep the other sections.

    Args:
        path: The run's `config.toml`.
        section: Name of the stage.
        settings: Plain values; a setting of None is left out, since TOML has no null.
    """
    sections = read_sections(path)
    sections[section] = {name: value for name, value in settings.items() if value is not None}
    write_text(path, tomli_w.dumps(sections))


def read_sections(path: Path) -> dict[str, Any]:
    """All sections; empty if there is no file yet. Raises `ConfigError` if it is not TOML."""
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML ({error}); fix or delete it") from error
