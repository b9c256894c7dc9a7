"""The zips that nnU-Net exports, as result folders for as long as they are read."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from mapping_stroke.errors import BundleError, MappingError
from mapping_stroke.files import require_space
from mapping_stroke.interop.nnunet_v2 import DATASET_FILE
from mapping_stroke.networks.cards import require_inside
from mapping_stroke.networks.nnunet_results import (
    CHECKPOINTS_V1,
    CHECKPOINTS_V2,
    PLANS_V1,
    PLANS_V2,
    choose_result,
    results_zipped,
    tell_import,
)

DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError)
"""What unpacking raises for a damaged, encrypted or unusual zip; a full disk is none of that."""


@contextmanager
def unpacked(source: Path, beside: Path) -> Iterator[Path]:
    """Yield the result folder that an exported zip holds, unpacked; whatever is no such zip is yielded itself.

    Args:
        source: A zip of `nnUNetv2_export_model_to_zip` or `nnUNet_export_model_to_zip`, or anything else.
        beside: Folder that may hold the files meanwhile; made where it is missing.

    Raises:
        BundleError: The zip is damaged, or holds several models. What else reading the folder raises names the zip.
        ResourceError: There is no room for its files.
    """
    results = results_zipped(source) if source.is_file() else []
    if not results:
        yield source
        return
    result = choose_result(results)
    if result is None:
        raise BundleError(tell_import(source))
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=beside.absolute()) as place:
        root = Path(place) if result.name else Path(place) / source.stem  # the files lie in no folder of their own
        try:
            _unpack(source, result, root)
            yield root / result
        except MappingError as error:
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
    """Whether reading needs a file: plans and data set, and the checkpoints of every fold."""
    if name.parent == result:
        return name.name in (PLANS_V1, PLANS_V2, DATASET_FILE)
    return name.parent.parent == result and name.name in (*CHECKPOINTS_V1.values(), *CHECKPOINTS_V2.values())
