"""Which scans are segmented, and what their outputs are called."""

from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.segment_files import MAP_SUFFIXES
from mapping_stroke.files import list_files
from mapping_stroke.image import image_stem, image_suffix
from mapping_stroke.run_folder import OWNER_FILE


def find_scans(given: Sequence[Path]) -> dict[str, Path]:
    """The scans by the name of their outputs, in order; a folder stands for its image files but for outputs of ours.

    Raises:
        CaseError: There is no scan, two have the same name, or a name is taken.
    """
    scans = [scan for path in given for scan in (_scans_in(path) if path.is_dir() else [path])]
    if not scans:
        raise CaseError("no scan is given, expected one or more; name their files, or a folder that holds them")
    names: dict[str, Path] = {}
    for scan in scans:
        name = image_stem(scan)
        if f"{name}.json" == OWNER_FILE:
            raise CaseError(f"{scan}: the name {name} is taken by a file of the output folder; rename the scan")
        if name in names:
            raise CaseError(f"{scan}: {names[name]} has the same name, and outputs are named after it; rename one")
        names[name] = scan
    return names


def _scans_in(folder: Path) -> list[Path]:
    files = [path for path in list_files(folder, "*") if image_suffix(path) and not path.name.endswith(MAP_SUFFIXES)]
    if not files:
        raise CaseError(f"{folder}: holds no image file, expected scans; name another folder, or the files themselves")
    return files
