"""Segmentation from Python: a model that stays loaded from scan to scan, for any kind of image."""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from mapping_stroke.cohort import segmenter
from mapping_stroke.cohort.group import COHORT_COLUMNS
from mapping_stroke.cohort.inputs import scan_name
from mapping_stroke.cohort.regions import choose_atlas
from mapping_stroke.cohort.segmented import Segmentation
from mapping_stroke.cohort.settings import Computation, RegionOptions, Space
from mapping_stroke.errors import MappingError, describe_failure
from mapping_stroke.images.image import Image
from mapping_stroke.images.in_memory import GivenImage, file_of, name_of, read_given
from mapping_stroke.names import EngineName, PrecisionName, PresetName, RuleName
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.space.atlas import Atlas

Progress = Callable[[float, str], None]
"""Called with the share that is done, from 0 to 1, and the current step in a few words."""
UNNAMED_MASK = "the given image"
"""What errors call a brain mask without a file."""
PREDICTED_FROM, PREDICTED_TO = 0.2, 0.95
"""Shares of a scan at which its networks begin and end. The other steps take more for `fast`, less without placing."""


def _ignore(share: float, step: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Segmenter:
    """A model that stays loaded, for many scans; `segmenter(scan)` is short for `segmenter.segment(scan)`.

    Attributes:
        model: A `.mapping` file, a model folder, a run folder, or the name of a model of this installation.
        preset: `fast` (one member), `balanced` (all members) or `paper` (all members, each with the mirroring of its
            training).
        device: `auto`, `cpu`, `cuda` or `mps`.
        space: `auto` registers a scan to MNI152 if the model is for that space and the scan lies elsewhere, `native`
            registers every scan, and `mni` none.
        rule: Post-processing: `mapping`, `challenge`, `paper` or `none`.
        engine: `auto`, `openvino` or `torch`.
        precision: Precision of the convolutions; `auto` takes the fastest that the processor or GPU supports well.
        atlas: Label image of regions in MNI152 space, by which lesions are measured; None for no regions.
        atlas_labels: Table of its regions, with columns `index` and `name`.
        route: The model on its engine, as the commands use it.
        regions: The atlas, if one is given.

    Raises:
        MappingError: There is no such model, preset, device, space, rule, engine, precision or atlas.
    """

    model: Path | str = "default"
    preset: PresetName = "balanced"
    device: str = "auto"
    space: Space = "auto"
    rule: RuleName = "mapping"
    engine: EngineName = "auto"
    precision: PrecisionName = "auto"
    atlas: Path | str | None = None
    atlas_labels: Path | str | None = None
    route: segmenter.Segmenter = field(init=False, repr=False, compare=False)
    regions: Atlas | None = field(init=False, repr=False, compare=False)
    _one_at_a_time: Lock = field(init=False, repr=False, compare=False, default_factory=Lock)

    def __post_init__(self) -> None:
        computation = Computation(
            str(self.model), self.preset, self.rule, self.space, self.device, self.engine, self.precision
        )
        given = (None if path is None else Path(path) for path in (self.atlas, self.atlas_labels))
        object.__setattr__(self, "regions", choose_atlas(RegionOptions(*given), COHORT_COLUMNS))
        object.__setattr__(self, "route", segmenter.make_segmenter(computation, open_bundle(self.model)))

    def segment(
        self, scan: GivenImage, brain: GivenImage | None = None, *, series: str = "", progress: Progress = _ignore
    ) -> Segmentation:
        """Segment one T1w scan.

        Args:
            scan: The path of an image or of a folder with a DICOM series; or an image of nibabel, of SimpleITK or of
                this package, which gives the same result as its file.
            brain: Your own brain mask, 1 inside and 0 elsewhere, on the scan's grid with its axes in any order.
            series: Number, UID or description of the DICOM series in a folder.
            progress: Called between the steps and after each part of the prediction. An exception that it raises ends
                the segmentation.

        Raises:
            MappingError: The scan cannot be read or registered, or shows no brain; or the mask does not fit the scan or
                is of no use to the model.

        Doubts about the scan are issued as Python warnings, and kept in the result. Threads that share a segmenter wait
        for one another.
        """
        with self._one_at_a_time:
            found = segment_given(self.route, scan, brain, series, progress, self.regions)
        warn_of(found)
        return found

    __call__ = segment


def segment_given(
    route: segmenter.Segmenter,
    scan: GivenImage,
    brain: GivenImage | None = None,
    series: str = "",
    progress: Progress = _ignore,
    atlas: Atlas | None = None,
) -> Segmentation:
    """Segment one scan without a warning. See `Segmenter.segment` for arguments and errors."""
    progress(0.0, "reading and placing the scan")
    done = PREDICTED_FROM

    def advance(share: float) -> None:
        nonlocal done
        done += share * (PREDICTED_TO - PREDICTED_FROM)
        progress(min(done, PREDICTED_TO), "predicting")

    try:
        loaded, name = _load(route, scan, brain, series)
        progress(PREDICTED_FROM, "predicting")
        found = route.segment(loaded, advance)
    except MappingError as error:
        raise _named(error, name_of(scan), brain) from error
    progress(1.0, "done")
    return Segmentation(replace(loaded.for_results(), atlas=atlas), found, route.unloaded(), name)


def warn_of(found: Segmentation) -> None:
    """Issue the doubts about a scan as warnings, at the line that called the public function."""
    for doubt in found.warnings:
        warnings.warn(doubt, stacklevel=3)


def _load(
    route: segmenter.Segmenter, scan: GivenImage, brain: GivenImage | None, series: str
) -> tuple[segmenter.LoadedScan, str]:
    """Read and place a scan, and name it after its file, if there is one."""
    mask = None if brain is None else read_given(brain, UNNAMED_MASK)
    start = time.perf_counter()
    source = read_given(scan)
    if not isinstance(source, Image):
        return route.load(source, mask, series), scan_name(source, series)
    read_s = time.perf_counter() - start
    loaded, file = route.load(source, mask), file_of(scan)
    loaded = replace(loaded, seconds={"read": read_s, **loaded.seconds}, source={"scan": str(file)} if file else {})
    return loaded, scan_name(file) if file else ""


def _named(error: MappingError, title: str, brain: GivenImage | None) -> MappingError:
    """The same error with the scan's name in front, unless it already names the scan or the mask."""
    named = (f"{title}: ", f"{name_of(brain, UNNAMED_MASK)}: ")
    return error if str(error).startswith(named) else type(error)(f"{title}: {describe_failure(error)}")
