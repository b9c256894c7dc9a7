"""The image files of a folder, whatever its layout."""

import os
from pathlib import Path

from mapping_stroke.errors import RunFolderError
from mapping_stroke.image import image_suffix
from mapping_stroke.run_folder import RESULTS_KEY, is_run_folder, read_identity


def list_images(root: Path) -> list[Path]:
    """Paths of all image files below a folder, relative to it, sorted.

    Hidden files and folders are passed over, and so are folders of our own results below the given one: what a model
    marked there is no reference. Links to folders are followed, each folder once.
    """
    images: list[Path] = []
    seen: set[Path] = set()
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        real = folder.resolve()
        if real in seen or (folder != root and holds_results(folder)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        images += [folder.relative_to(root) / file for file in files if image_suffix(Path(file)) and file[0] != "."]
    return sorted(images)


def holds_results(folder: Path) -> bool:
    """Whether a folder is marked as one of our own results; data that we simulated are none."""
    try:
        return is_run_folder(folder) and RESULTS_KEY in read_identity(folder)
    except RunFolderError:
        return False
