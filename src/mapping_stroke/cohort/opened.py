"""Open a folder of results for reading."""

from pathlib import Path

from mapping_stroke.cohort.bids import DESCRIPTION, BidsLayout
from mapping_stroke.cohort.results import FlatLayout, OutputLayout
from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import read_object
from mapping_stroke.run_folder import FORMAT_VERSION, read_identity

WRITERS = "`mapping segment` or `mapping bids`"
KINDS = (FlatLayout.kind, BidsLayout.kind)


def open_layout(path: Path) -> OutputLayout:
    """The layout of a folder that `mapping segment` or `mapping bids` has written.

    Raises:
        RunFolderError: It holds other work, or results of another version, or nothing of this program.
    """
    identity = read_identity(path)
    if identity.get("format") != FORMAT_VERSION:
        raise RunFolderError(
            f"{path}: was written by another version (format {identity.get('format')}, expected {FORMAT_VERSION}); "
            "open it with that version, or segment the scans again"
        )
    if identity.get("kind") == FlatLayout.kind:
        return FlatLayout(path)
    if identity.get("kind") == BidsLayout.kind:
        raw = read_object(path / DESCRIPTION).get("DatasetLinks", {}).get("raw", ".")
        return BidsLayout(path, (path / raw).resolve())
    work = identity.get("kind") or identity.get("command")
    raise RunFolderError(f"{path}: holds other work ({work}); name a folder that {WRITERS} wrote, or a new one")
