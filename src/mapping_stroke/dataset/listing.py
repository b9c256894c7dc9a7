"""The image files of a folder, whatever its layout."""

import os
from heapq import heappop, heappush
from pathlib import Path

from mapping_stroke.console import warn
from mapping_stroke.dataset.bids import NO_SCANS_IN
from mapping_stroke.errors import RunFolderError
from mapping_stroke.image import image_suffix
from mapping_stroke.run_folder import RESULTS_KEY, is_run_folder, read_identity


def list_images(root: Path) -> list[Path]:
    """Paths of all image files below a folder, relative to it, sorted.

    Hidden files and folders are passed over, and so are folders of our own results below the given one: what a model
    marked there is no reference. Links to folders are followed, each folder once: a folder is known by its own path
    rather than by a link, and where scans are used rather than in `NO_SCANS_IN`. A folder that the system cannot look
    into is told and passed over.
    """
    images: list[Path] = []
    seen: set[Path] = set()
    waiting = [(False, False, root)]  # whether scans are not used there, whether a link leads there; least first
    while waiting:
        unused, linked, folder = heappop(waiting)
        real = folder.resolve()
        if real in seen or (folder != root and holds_results(folder)):
            continue
        seen.add(real)
        _, folders, files = next(os.walk(folder, onerror=_tell_unread), ("", [], []))
        for name in folders:
            inside = folder / name
            if name[0] != ".":
                heappush(waiting, (unused or name in NO_SCANS_IN, linked or _is_link(inside), inside))
        images += [folder.relative_to(root) / file for file in files if image_suffix(Path(file)) and file[0] != "."]
    return sorted(images)


def holds_results(folder: Path) -> bool:
    """Whether a folder is marked as one of our own results; data that we simulated are none."""
    try:
        return is_run_folder(folder) and RESULTS_KEY in read_identity(folder)
    except (RunFolderError, OSError):  # listing what is in it will say why it cannot be looked into
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _tell_unread(error: OSError) -> None:
    warn(f"{error.filename}: cannot be looked into ({error.strerror}); check its permissions and the disk")
