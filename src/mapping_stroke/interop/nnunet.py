"""Models of nnU-Net: import from v1 and v2, export to v2, as result folders or exported zips."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from mapping_stroke.errors import BundleError, ConfigError, FileError, MappingError
from mapping_stroke.files import require_space
from mapping_stroke.interop import nnunet_v1, nnunet_v2
from mapping_stroke.interop.nnunet_common import ImportedModel
from mapping_stroke.interop.nnunet_export import write_nnunet_v2
from mapping_stroke.interop.nnunet_v2 import DATASET_FILE
from mapping_stroke.networks.cards import require_inside
from mapping_stroke.networks.nnunet_results import (
    CHECKPOINTS_V1,
    CHECKPOINTS_V2,
    PLANS_V1,
    PLANS_V2,
    choose_result,
    describe_import,
    is_result,
    results_below,
    results_zipped,
)

__all__ = ["ImportedModel", "find_result", "read_nnunet", "write_nnunet_v2"]

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError)
"""Errors of unpacking a damaged, encrypted or unusual zip, as opposed to a full disk."""


@contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """Yield the unpacked result folder of an exported zip. Yield anything else unchanged.

    Args:
        source: A zip of `nnUNetv2_export_model_to_zip` or `nnUNet_export_model_to_zip`, or anything else.
        beside: Folder for the temporary files; created if missing.

    Raises:
        BundleError: The zip is damaged, or holds several models. Errors from reading the folder name the zip.
        ResourceError: There is no room for its files.
    """
    results = results_zipped(source) if source.is_file() else []
    if not results:
        yield source
        return
    result = choose_result(results)
    if result is None:
        raise BundleError(describe_import(source))
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=beside.absolute()) as place:
        # members are named after the folder, so a zip without one lends its own name
        root = Path(place) if result.name else Path(place) / source.stem  # the zip has no top-level folder
        try:
            _unpack(source, result, root)
            yield root / result
        except MappingError as error:
            # the temporary folder means nothing to the user
            raise type(error)(str(error).replace(f"{place}/", f"{source}: ")) from error


def _unpack(source: Path, result: PurePosixPath, root: Path) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            wanted = [entry for entry in archive.infolist() if _is_wanted(PurePosixPath(entry.filename), result)]
            for entry in wanted:
                require_inside(entry.filename)
            require_space(root.parent, sum(entry.file_size for entry in wanted))
            for entry in wanted:
                archive.extract(entry, root)
    except DAMAGED as error:
        raise BundleError(f"{source}: cannot be unpacked ({error}); copy or download it again") from error


def _is_wanted(name: PurePosixPath, result: PurePosixPath) -> bool:
    """Whether a file is needed: plans, data set, or a checkpoint of a fold."""
    if name.parent == result:
        return name.name in (PLANS_V1, PLANS_V2, DATASET_FILE)
    return name.parent.parent == result and name.name in (*CHECKPOINTS_V1.values(), *CHECKPOINTS_V2.values())


def read_nnunet(
    folder: Path, *, scheme: str | None = None, orientation: str = "RAS", checkpoint: str = "final"
) -> ImportedModel:
    """Read a result folder of nnU-Net, v1 or v2. Executes nothing from its files.

    Args:
        folder: `.../TRAINER__PLANS__CONFIGURATION` (v2, with plans.json) or `.../TRAINER__PLANS` (v1, with plans.pkl);
            or a folder around it, such as its data set's, without another candidate.
        scheme: Scheme of the members; None guesses it from trainer and network.
        orientation: Axis orientation of the training scans. nnU-Net does not record it (its usual readers keep each
            file's own axes); scans in MNI space are RAS.
        checkpoint: `final`, `best` or `latest`.

    Raises:
        BundleError: The folder is incomplete or damaged, a pickle in it asks to call something, or the model is not
            supported.
    """
    if checkpoint not in CHECKPOINTS_V1:
        raise BundleError(f"checkpoint {checkpoint!r} is not known; expected one of {', '.join(CHECKPOINTS_V1)}")
    folder = find_result(folder)
    new = (folder / PLANS_V2).is_file()
    try:
        return (nnunet_v2.read_v2 if new else nnunet_v1.read_v1)(folder, scheme, orientation, checkpoint)
    except (ConfigError, TypeError, AttributeError, LookupError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        path = folder / (PLANS_V2 if new else PLANS_V1)
        raise BundleError(f"{path}: cannot be understood ({error}); copy the whole folder again") from error


def find_result(path: Path) -> Path:
    """The result folder at a path: the path itself, or the only candidate below it.

    Raises:
        BundleError: There is no candidate, or several, or the path is a part of one.
    """
    if is_result(path):
        return path
    chosen = choose_result(results_below(path)) if path.is_dir() else None
    if chosen is None:
        raise BundleError(
            describe_import(path) or f"{path}: has neither plans.json nor plans.pkl, expected nnU-Net's result folder"
        )
    return chosen
