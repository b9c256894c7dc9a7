"""Result folders of nnU-Net: found from any path inside or around them, with the command that imports them.

Only file names are used here; `interop` reads the files.
"""

import shlex
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from mapping_stroke.networks.archive import SUFFIX, ZIP_ERRORS

PLANS_V1, PLANS_V2 = "plans.pkl", "plans.json"
CHECKPOINTS_V1 = {"final": "model_final_checkpoint.model", "best": "model_best.model", "latest": "model_latest.model"}
CHECKPOINTS_V2 = {kind: f"checkpoint_{kind}.pth" for kind in CHECKPOINTS_V1}
CHECKPOINT_SUFFIXES = (".pth", ".model", ".pkl")
DEEPEST = 3
"""Most folders between a result folder and the root of nnU-Net's results, as in `nnUNet/3d_fullres/TASK`."""
FINEST = "3d_fullres"
NOT_FOR_US = ("2d", "3d_cascade_fullres")
"""Configurations that our models do not support."""

Place = TypeVar("Place", bound=PurePath)


def is_result(folder: Path) -> bool:
    """Whether a folder is a result folder, `TRAINER__PLANS__CONFIGURATION` (v2) or `TRAINER__PLANS` (v1)."""
    return any((folder / name).is_file() for name in (PLANS_V1, PLANS_V2))


def results_below(folder: Path) -> list[Path]:
    """The result folders inside a folder, such as that of a data set, sorted; empty if there are none."""
    plans = (folder.glob("*/" * depth + name) for depth in range(1, DEEPEST + 1) for name in (PLANS_V1, PLANS_V2))
    return sorted({path.parent for found in plans for path in found})


def result_around(path: Path) -> Path | None:
    """The result folder around a fold or a file; None if there is none."""
    return next((near for near in (path.parent, path.parent.parent) if is_result(near)), None)


def results_zipped(path: Path) -> list[PurePosixPath]:
    """The result folders inside a zip, sorted; empty if there are none or it is not a zip."""
    names = [] if path.is_dir() else _names_in(path)
    return sorted({name.parent for name in names if name.name in (PLANS_V1, PLANS_V2)})


def choose_result(results: Sequence[Place]) -> Place | None:
    """Choose one of several result folders, since nnU-Net exports all configurations together, including 2D ones.

    Returns:
        The only one, or the only supported one, or the only one of full resolution; otherwise None.
    """
    usable = [result for result in results if _configuration(result) not in NOT_FOR_US]
    finest = [result for result in usable if _configuration(result) == FINEST]
    return next((among[0] for among in (results, usable, finest) if len(among) == 1), None)


def describe_import(path: Path) -> str:
    """The refusal of a model of nnU-Net, with the command for importing it; empty for anything else."""
    zipped = results_zipped(path)
    within = choose_result(zipped)
    if within is not None:
        return _import_hint(
            path, path, path.stem, (name.name for name in _names_in(path) if name.parent.parent == within)
        )
    if zipped:
        return f"{path}: holds several models of nnU-Net; unzip it, and run `mapping models import` on one of them"
    results = _results_near(path)
    result = choose_result(results)
    if result is not None:
        return _import_hint(path, result, result.resolve().parent.name, (file.name for file in result.glob("*/*")))
    if results:
        names = ", ".join(map(str, results))
        return f"{path}: holds several models of nnU-Net; run `mapping models import` on those you want: {names}"
    if path.is_file() and path.suffix in CHECKPOINT_SUFFIXES:
        return (
            f"{path}: looks like one file of a model of nnU-Net, expected the entire model; get its result folder "
            "with plans and folds, and run `mapping models import` on it"
        )
    return ""


def folds_without(result: Path, kind: str) -> list[str]:
    """The numbered folds of a result folder that have checkpoints, but none of this kind, sorted."""
    folds = [fold for fold in sorted(result.glob("fold_*")) if fold.is_dir() and fold.name != "fold_all"]
    kinds = {fold.name: _kinds(file.name for file in fold.iterdir()) for fold in folds}
    return [fold for fold, there in kinds.items() if there and kind not in there]


def _names_in(path: Path) -> list[PurePosixPath]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [PurePosixPath(name) for name in archive.namelist()]
    except ZIP_ERRORS:
        return []


def _kinds(names: Iterable[str]) -> list[str]:
    there = set(names)
    return [kind for kind in CHECKPOINTS_V1 if there & {CHECKPOINTS_V1[kind], CHECKPOINTS_V2[kind]}]


def _configuration(result: PurePath) -> str:
    """The configuration, from the folder's name (v2) or the folder around the task (v1)."""
    parts = result.name.split("__")
    return parts[2] if len(parts) == 3 else result.parent.parent.name


def _results_near(path: Path) -> list[Path]:
    """The result folder itself, those below it, or the one around it."""
    if is_result(path):
        return [path]
    around = None if path.suffix == SUFFIX else result_around(path)
    return results_below(path) or ([around] if around else [])


def _import_hint(path: Path, result: Path, name: str, files: Iterable[str]) -> str:
    kinds, model = _kinds(files), f"{name or 'nnunet'}{SUFFIX}"
    words = ["mapping", "models", "import", str(result), "-o", model]
    words += ["--checkpoint", kinds[0]] if kinds and "final" not in kinds else []
    return f"{path}: is a model of nnU-Net; run `{shlex.join(words)}` once, and give {model} as the model"
