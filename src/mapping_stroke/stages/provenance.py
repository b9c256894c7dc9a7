"""The record of a run: the hashes of its data, and its settings, seeds, versions and machine as plain text."""

import csv
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mapping_stroke.dataset.cases import Case
from mapping_stroke.errors import MappingError
from mapping_stroke.files import fingerprint, read_csv, read_object, write_csv
from mapping_stroke.images.formats import stored_files
from mapping_stroke.networks.member_folder import RECIPE_FILE
from mapping_stroke.run_folder import OWNER_FILE, RunFolder, read_identity, read_sections
from mapping_stroke.stages.environments import describe_environments

MANIFEST_COLUMNS = ("case_id", "image", "file", "size_bytes", "sha256")
"""Columns of `data.csv`; `image` is `scan` or `mask`."""
Hashes = dict[tuple[str, str], tuple[str, ...]]  # case and image to the SHA-256 of its files

NOT_GIVEN = "not given"


def write_manifest(path: Path, cases: Sequence[Case], ledger: Mapping[str, Any]) -> None:
    """Write `data.csv`: size and SHA-256 of every file of every case.

    Args:
        path: The file.
        cases: The cases, in the order of the table.
        ledger: State and hash of each file, as stored by `stages.prepare.content_hashes`.
    """
    rows = []
    for case in cases:
        for image, file in (("scan", case.scan), ("mask", case.mask)):
            for part in stored_files(file) if file else ():
                entry = ledger[str(part)]
                values = (case.case_id, image, part, entry["state"][1], entry["sha256"])
                rows.append(dict(zip(MANIFEST_COLUMNS, values, strict=True)))
    write_csv(path, MANIFEST_COLUMNS, rows)


def case_hash(sha256s: Sequence[str]) -> str:
    """One short hash of the contents of a case, from the SHA-256 of each of its files: those of the scan first."""
    return fingerprint(list(sha256s))


def data_hash(cases: Mapping[str, str]) -> str:
    """One short hash of all cases, from the `case_hash` of each; trainings store that of the labelled ones."""
    return fingerprint(dict(cases))


def read_manifest(path: Path) -> Hashes:
    """The hashes of a file of `write_manifest`; empty if it is missing (in runs of earlier versions) or damaged."""
    found: Hashes = {}
    try:
        for row in read_csv(path):
            image = (row["case_id"], row["image"])
            found[image] = (*found.get(image, ()), row["sha256"])
    except (MappingError, OSError, KeyError, csv.Error):
        return {}
    return found


def find_other_data(run: RunFolder) -> list[str]:
    """A line for each member that was trained on other files than `data.csv` lists; empty without either record."""
    hashes = read_manifest(run.data_csv)
    labelled = [case_id for case_id, image in hashes if image == "mask"]
    mark = data_hash({case_id: case_hash([*hashes[case_id, "scan"], *hashes[case_id, "mask"]]) for case_id in labelled})
    lines = []
    for path in sorted(run.members.glob(f"*/fold_*/{RECIPE_FILE}")) if labelled else ():
        if read_object(path).get("data", mark) != mark:
            member = f"{path.parent.parent.name}, {path.parent.name.replace('_', ' ')}"
            lines.append(
                f"{member}: was trained on other files than {run.data_csv.name} lists; run `mapping prepare` again, "
                "then `mapping train` to see whether it must be retrained"
            )
    return lines


def describe_record(run: RunFolder) -> dict[str, str]:
    """Data hashes, seeds, programs and machines of a run as names and values; unknown ones are empty or left out."""
    sections = read_sections(run.config_toml)
    seeds = {stage: sections[stage]["seed"] for stage in ("folds", "train") if "seed" in sections.get(stage, {})}
    return {
        "Data files": _data_words(run),
        "Seeds": ", ".join(f"{stage} {seed}" for stage, seed in seeds.items()),
        **describe_environments(run, "Program", _program_words),
        **describe_environments(run, "Machine", _machine_words),
    }


def fold_words(run: RunFolder) -> str:
    """How the folds of a run were made, such as `each site in one fold`; empty if it is not recorded."""
    settings = read_sections(run.config_toml).get("folds", {})
    if not settings:
        return ""
    given = "given folds, " if "folds" in settings else ""
    return f"{given}each {settings.get('group_by', 'subject')} in one fold"


def list_settings(run: RunFolder) -> dict[tuple[str, str], str]:
    """Every recorded setting and fact of a run: file and name to its value. Nested names are joined by dots.

    Raises:
        ConfigError: `config.toml` is damaged.
        RunFolderError: `run.json` is missing or damaged.
    """
    sources = {
        run.config_toml.name: read_sections(run.config_toml),
        "experiment/settings.toml": _read_toml(run.experiment / "settings.toml"),
        OWNER_FILE: read_identity(run.path),
        run.environment_json.name: read_object(run.environment_json),
    }
    return {(file, name): value for file, values in sources.items() for name, value in _flat(values).items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in sorted(values.items()):
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # only `mapping experiment` writes it, and it may be deleted
        return {}


def _data_words(run: RunFolder) -> str:
    hashes = read_manifest(run.data_csv)
    if not hashes:
        return ""
    rows = read_csv(run.data_csv)
    size_mb = sum(int(row["size_bytes"] or 0) for row in rows) / 1e6
    digest = fingerprint(sorted([*image, *parts] for image, parts in hashes.items()))
    return f"{len(rows)} files, {size_mb:.1f} MB, SHA-256 of each in {run.data_csv.name} (all together: {digest})"


def _program_words(machine: Mapping[str, Any]) -> str:
    version = machine.get("mapping-stroke", "")
    commit = machine.get("commit", "none")
    source = "" if commit == "none" else f", commit {commit}"
    libraries = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numpy") if name in machine)
    return f"mapping-stroke {version}{source}; {libraries}" if version else ""


def _machine_words(machine: Mapping[str, Any]) -> str:
    known = {
        "processor": machine.get("processor"),
        "cores": f"{machine['cores']} cores" if "cores" in machine else None,
        "memory": f"{machine['memory']} memory" if "memory" in machine else None,
        "gpu": f"GPU: {machine['gpu']}" if "gpu" in machine else None,
    }
    return ", ".join(value for value in known.values() if value)
