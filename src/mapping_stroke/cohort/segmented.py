"""The result of Python's `segment`: arrays, images, a table, files, and what a notebook shows."""

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from mapping_stroke.cohort.measures import measure_regions
from mapping_stroke.cohort.results import (
    COLUMNS,
    PROBABILITY_STEP,
    STAMP_SUFFIX,
    UNCERTAINTY_STEP,
    FlatLayout,
    ScanFiles,
)
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter
from mapping_stroke.cohort.settings import ScanOptions
from mapping_stroke.errors import SCAN_FAILURES, ConfigError, RunFolderError
from mapping_stroke.files import read_object, require_space, write_text
from mapping_stroke.images.image import Image, Mask, Probability, nifti_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference import segmentation
from mapping_stroke.run_folder import OWNER_FILE, is_run_folder
from mapping_stroke.space.model_input import deface

if TYPE_CHECKING:
    import pandas as pd

MAPS = ("mask", "probability", "uncertainty")
VIEWER_HEIGHT_PX = 480


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """The result for one scan, on exactly the scan's own grid. It keeps the scan, but no network.

    Attributes:
        name: Name of the scan's file or DICOM folder without suffix; empty for an image without a file.
    """

    _loaded: LoadedScan
    _found: segmentation.Segmentation
    _segmenter: Segmenter
    name: str = ""

    @property
    def mask(self) -> Mask:
        """True inside a lesion."""
        return self._found.mask

    @property
    def probability(self) -> Probability:
        """Mean P(lesion) over the members, or over the mirrorings of a single one, in [0, 1]."""
        return self._found.probability

    @property
    def uncertainty(self) -> Float32[np.ndarray, "x y z"]:
        """Standard deviation of P(lesion) over the same, in [0, 0.5]; 0 for a single member that is not mirrored."""
        return self._found.uncertainty

    @property
    def affine(self) -> Affine:
        """Voxel index to RAS millimetres."""
        return self._found.affine

    @cached_property
    def lesions(self) -> "pd.DataFrame":
        """One row per lesion, largest first: the columns of the command's table, not rounded. Empty without lesions."""
        import pandas as pd

        table = pd.DataFrame([asdict(lesion) for lesion in self._found.lesions], columns=list(COLUMNS))
        return table.astype({column: int if column == "lesion" else float for column in COLUMNS})

    @cached_property
    def regions(self) -> "pd.DataFrame":
        """Volume by region of the segmenter's atlas, in its order, and `elsewhere`: what lies in no region.

        Columns `region`, `volume_ml` (NaN if the scan's place in MNI152 space is unknown) and `share` of the lesion in
        [0, 1] (NaN also without lesions); volumes as the command writes them. Empty without an atlas.
        """
        import pandas as pd

        volumes = measure_regions(self._loaded, self._found, self._segmenter).get("volumes_ml", {})
        table = pd.DataFrame({"region": [*volumes], "volume_ml": pd.Series([*volumes.values()], dtype=float)})
        return table.assign(share=table["volume_ml"] / (table["volume_ml"].sum() or np.nan))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Doubts about the scan, one line each."""
        return self._loaded.warnings

    @property
    def seconds(self) -> dict[str, float]:
        """Duration of each step: `place` (checking and placing the scan), `prepare`, `predict` and `postprocess`."""
        seconds = {**self._loaded.seconds, **self._found.seconds}
        return {step: duration for step, duration in seconds.items() if step != "read"}

    def to_nifti(self, kind: str = "mask") -> Any:
        """A map as an image of nibabel (`Nifti1Image`) that every program overlays on the scan.

        Args:
            kind: `mask` (uint8, 0 and 1), `probability` or `uncertainty` (float32, not rounded).

        Raises:
            ConfigError: There is no such map.
        """
        if kind not in MAPS:
            raise ConfigError(f"no map {kind!r}; expected one of {', '.join(MAPS)}")
        return nifti_image(getattr(self, kind).copy(), self._loaded.image)

    def save(self, folder: Path | str, name: str = "", *, overwrite: bool = False) -> Path:
        """Write the files of `mapping segment` for this scan: maps, lesion table, pictures and stamp.

        Only the durations in the stamp differ from those of the command. Files of the same scan are replaced.

        Args:
            folder: A new folder, or one of other scans saved in this way.
            name: Name of the files, without suffix; empty for `self.name`.
            overwrite: Also replace files of another scan, or of an unknown one, with the same name.

        Returns:
            The folder.

        Raises:
            ConfigError: There is no name, or it is not the name of a file.
            RunFolderError: The folder is that of a command, or files of another scan have the same name.
            MappingError: The disk is full, or the name is too long for it.
        """
        folder, name = Path(folder), name or self.name
        _require_name(name)
        files = ScanFiles(FlatLayout(folder), name, ScanOptions())
        source = self._source()
        if is_run_folder(folder):
            raise RunFolderError(f"{folder}: holds the results of a command ({OWNER_FILE}); save into another folder")
        if files.any_exists() and not overwrite and read_object(files.path(STAMP_SUFFIX)).get("source") != source:
            raise RunFolderError(
                f"{folder}: holds files named {name} that are not of this scan; save under another name, or replace "
                "them by overwrite=True"
            )
        folder.mkdir(parents=True, exist_ok=True)
        files.require_short_names()
        require_space(folder, files.needed_bytes(self.mask.shape))
        files.remove()
        try:
            files.write(replace(self._loaded, source=source), self._found, self._segmenter)
        except SCAN_FAILURES:
            with suppress(OSError):  # the first error matters more
                files.remove()
            raise
        return folder

    def page(self, path: Path | str, *, show_head: bool = False) -> Path:
        """Write the interactive page of the scan, as `mapping segment` does, and return its path.

        Args:
            path: HTML file to write.
            show_head: Show the whole head, with its face, instead of only the brain.
        """
        from mapping_stroke.cohort.scan_content import scan_content
        from mapping_stroke.report.scan_page import render_scan_page

        path = Path(path)
        content = scan_content(self.name or path.stem, self._loaded, self._found, self._segmenter)
        shown = self._loaded.image if show_head else self._defaced
        write_text(path, render_scan_page(replace(content, scan=shown))[0])
        return path

    def view(self, height: int = VIEWER_HEIGHT_PX, *, show_head: bool = False) -> Any:
        """The interactive viewer: a widget (`ipyniivue.NiiVue`) for the last line of a cell.

        Its `volumes` are the scan, lesions, probability and uncertainty; the last two are hidden (`opacity` 0).

        Args:
            height: Height in pixels.
            show_head: Show the whole head, with its face, instead of only the brain. Notebooks may store it.

        Raises:
            ConfigError: ipyniivue, the extra `notebook`, is not installed.
        """
        from mapping_stroke.report.notebook import open_viewer

        scan = self._loaded.image if show_head else self._defaced
        maps = (self.mask, self.probability, self.uncertainty)
        return open_viewer(scan, maps, (PROBABILITY_STEP, UNCERTAINTY_STEP), height)

    def _source(self) -> dict[str, str]:
        """The entry `source` of the stamp. An image without a file is known by the hash of its voxels and place."""
        if "sha256" in self._loaded.source:
            return dict(self._loaded.source)
        image = self._loaded.image
        content = np.ascontiguousarray(image.voxels).data, np.ascontiguousarray(image.affine).data
        hashed = hashlib.sha256()
        for part in content:
            hashed.update(part)
        return {**self._loaded.source, "voxels_sha256": hashed.hexdigest()}

    @cached_property
    def _defaced(self) -> Image:
        """The scan for pictures; the scan itself if it shows no face."""
        return deface(self._loaded.image, self._loaded.model_input.placed)

    def _repr_html_(self) -> str:
        """Picture, lesion table and doubts, as Jupyter shows them. No picture shows a face."""
        from mapping_stroke.report.notebook import notebook_html

        found = (self.mask, self.probability, self._found.lesions)
        return notebook_html(self._defaced, found, self.lesions, self.warnings)

    def __repr__(self) -> str:
        from mapping_stroke.report.notebook import describe_load

        shape = " x ".join(map(str, self.mask.shape))
        title = f" of {self.name}" if self.name else ""
        return f"<Segmentation{title}: {describe_load(self._found.lesions)}, {shape} voxels>"


def _require_name(name: str) -> None:
    if not name:
        raise ConfigError("the image has no file to name its results after; give a name: save(folder, name)")
    if Path(name).name != name or name.startswith(".") or f"{name.casefold()}.json" == OWNER_FILE:
        raise ConfigError(f"name {name!r}: expected the name of a file without suffix, other than `run`; give another")
