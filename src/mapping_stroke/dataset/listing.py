"""The image files of a folder, whatever its layout."""

import os
from pathlib import Path

from mapping_stroke.errors import RunFolderError
from mapping_stroke.image import image_suffix
from mapping_stroke.run_folder import is_run_folder, read_identity

EXPERIMENT = "experiment"
"""What `prepare` writes as `kind` into a run folder."""


def list_images(root: Path) -> list[Path]:
    """Paths of all image files below a folder, relative to it, sorted.

    Hidden files and folders are passed over, and so are run folders of an experiment (they hold results, not data).
    Links to folders are followed, each folder once.
    """
    images: list[Path] = []
    seen: set[Path] = set()
    for name, folders, files in os.walk(root, followlinks=True):
        folder = Path(name)
        real = folder.resolve()
        if real in seen or (folder != root and _holds_experiment(folder)):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        images += [folder.relative_to(root) / file for file in files if image_suffix(Path(file)) and file[0] != "."]
    return sorted(images)


def _holds_experiment(folder: Path) -> bool:
    try:
        return is_run_folder(folder) and read_identity(folder).get("kind") == EXPERIMENT
    except RunFolderError:
        return False
