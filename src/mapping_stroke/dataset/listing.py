"""The image files of a folder, whatever its layout."""

import os
from heapq import heappop, heappush
from pathlib import Path

from mapping_stroke.dataset.bids import NO_SCANS_IN
from mapping_stroke.errors import RunFolderError
from mapping_stroke.image import image_suffix
from mapping_stroke.run_folder import RESULTS_KEY, is_run_folder, read_identity


def list_images(root: Path) -> list[Path]:
    """Paths of all image files below a folder, relative to it, sorted.

    Hidden files and folders are passed over, and so are folders of our own results below the given one: what a model
    marked there is no reference. Links to folders are followed, each folder once: a folder is known by its own path
    rather than by a link, and where scans are used rather than in `NO_SCANS_IN`.
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
        _, folders, files = next(os.walk(folder), ("", [], []))
        for name in folders:
            inside = folder / name
            if name[0] != ".":
                heappush(waiting, (unused or name in NO_SCANS_IN, linked or inside.is_symlink(), inside))
        images += [folder.relative_to(root) / file for file in files if image_suffix(Path(file)) and file[0] != "."]
    return sorted(images)


def holds_results(folder: Path) -> bool:
    """Whether a folder is marked as one of our own results; data that we simulated are none."""
    try:
        return is_run_folder(folder) and RESULTS_KEY in read_identity(folder)
    except RunFolderError:
        return False
