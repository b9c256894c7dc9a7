"""Segmentation of one scan: load it, predict with every member, apply the rule, all on the scan's own grid."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.cohort.settings import Computation
from mapping_stroke.dataset.scan_checks import check_scan, doubt_placed_scan, doubt_scan, tame_outliers
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.files import describe_missing, leads_nowhere, sha256
from mapping_stroke.images.dicom_series import DicomSeries
from mapping_stroke.images.formats import Source, find_source, stored_files
from mapping_stroke.images.image import Image, Mask, Probability, read_image, read_mask_of, reorient, require_same_grid
from mapping_stroke.inference.cost import network_bytes, require_memory, scan_bytes
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Average, Ensemble, PreparedScan, predict_each
from mapping_stroke.inference.segmentation import Segmentation, choose_rule, make_ensemble, make_segmentation
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember
from mapping_stroke.rules import PostprocessConfig
from mapping_stroke.space.atlas import Atlas
from mapping_stroke.space.brain import VOLUME_ML, Brain
from mapping_stroke.space.model_input import ModelInput, load_brain_extraction, make_model_input

BATCH_VOX = 128**3
"""Small patches are computed together up to about this many voxels."""
LISTED_VALUES = 4
"""Errors list this many of the unexpected values of a mask."""


@dataclass(frozen=True, eq=False)
class LoadedScan:
    """A scan that is ready for the members of a model.

    Attributes:
        model_input: The scan as stored in its file, and the image that the members read.
        prepared: That image after each member's preprocessing.
        warnings: Doubts the user should know about, one line each.
        seconds: Duration of `read`, `place` and `prepare`.
        source: File or folder, and the SHA-256 of the content; also the number of a DICOM series.
        series: DICOM series it was read from, if any.
        reference: Its true lesions, if they are known.
        atlas: Regions of MNI152 space by which its lesions are measured, if the user gave an atlas.
    """

    model_input: ModelInput
    prepared: PreparedScan
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    source: Mapping[str, str] = field(default_factory=dict)
    series: DicomSeries | None = None
    reference: Mask | None = None
    atlas: Atlas | None = None

    @property
    def image(self) -> Image:
        """The scan as stored in its file."""
        return self.model_input.scan

    def for_results(self) -> "LoadedScan":
        """The same without the arrays that the members read, which no result needs."""
        return replace(self, prepared={}, model_input=replace(self.model_input, image=self.image))


class MemoryCheck:
    """Checks that a scan fits into memory before it is computed. Memory granted to earlier scans is available."""

    def __init__(self, ensemble: Ensemble) -> None:
        self._ensemble = ensemble
        self._granted_bytes = 0.0

    def require(self, loaded: LoadedScan) -> None:
        """Raise `ResourceError`, with the remedy, if the maps and networks of a scan do not fit into free memory."""
        needed_bytes = self._needed_bytes(loaded)
        if needed_bytes > self._granted_bytes:
            shape = " x ".join(map(str, loaded.image.shape))
            require_memory(needed_bytes - self._granted_bytes, f"a scan of {shape} voxels", self._remedy())
            self._granted_bytes = needed_bytes

    def _needed_bytes(self, loaded: LoadedScan) -> float:
        """Memory for the scan, the one read ahead, and the largest network. A GPU's own memory is not counted."""
        prepared = [each.voxels.shape for each in loaded.prepared.values()]
        shapes = [loaded.image.shape, loaded.model_input.image.shape, *prepared]
        engine = self._ensemble.engine
        if engine.on_gpu:
            return scan_bytes(shapes)
        networks = []
        for member in self._ensemble.members:  # loaded one after the other, so the largest decides
            tiling = self._ensemble.tiling(member, loaded.prepared)
            together = min(max(BATCH_VOX // math.prod(tiling.patch), 1), max(len(tiling.boxes), 1))
            networks.append(network_bytes(member.card.network, tiling.patch, together, engine.value_bytes))
        return scan_bytes(shapes) + max(networks)

    def _remedy(self) -> str:
        if self._ensemble.window.cover == "window":
            return "use --preset balanced, which computes it in patches, or close other programs"
        return "close other programs, or use a machine with more memory"


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A model on an engine with a rule: the only route from a scan to its lesions.

    Attributes:
        bundle: The model.
        ensemble: The members in use, on an engine.
        rule: Post-processing.
        computation: The settings these were chosen by; `space` decides about registration.
        memory: Memory granted so far.
    """

    bundle: Bundle
    ensemble: Ensemble
    rule: PostprocessConfig
    computation: Computation
    memory: MemoryCheck = field(init=False)

    def __post_init__(self) -> None:
        # the one mutable part of a frozen value: what the process has been granted so far
        object.__setattr__(self, "memory", MemoryCheck(self.ensemble))

    def load(self, source: Path | Image, brain: Path | Image | None = None, series: str = "") -> LoadedScan:
        """Read, check, place and prepare a scan.

        Args:
            source: File, folder with a DICOM series, or an image that has been read already.
            brain: The user's own brain mask, on the scan's grid with its axes in any order.
            series: DICOM series of a folder, see `find_source`.

        Raises:
            MappingError: The scan cannot be read, is no T1w scan of a head, or cannot be registered; or the brain mask
                does not fit it.
        """
        if isinstance(source, Image):
            return self._prepare(source, None if brain is None else read_brain(brain, source))
        start = time.perf_counter()
        if not source.exists():
            raise CaseError(describe_missing(source))
        found = find_source(source, series)
        image = read_image(found)
        origin = {"scan": str(source), "sha256": scan_sha256(found)}
        from_dicom = found if isinstance(found, DicomSeries) else None
        if from_dicom and from_dicom.facts.number is not None:  # no UID: it can identify a person
            origin["series"] = from_dicom.number
        mask = None if brain is None else read_brain(brain, image)
        if isinstance(brain, Path):
            origin |= {"brain": str(brain), "brain_sha256": scan_sha256(brain)}
        read_s = time.perf_counter() - start
        loaded = self._prepare(image, mask)
        return replace(loaded, source=origin, seconds={"read": read_s, **loaded.seconds}, series=from_dicom)

    def _prepare(self, image: Image, brain: Mask | None) -> LoadedScan:
        start, card, space = time.perf_counter(), self.bundle.card, self.computation.space
        tamed = tame_outliers(image)
        warnings = check_scan(tamed, heads=card.shows != "unknown")
        model_input = make_model_input(tamed, card, space, brain)
        warnings += _doubts(model_input, card, space)
        placed_at = time.perf_counter()
        prepared = self.ensemble.prepare(model_input.image)
        seconds = {"place": placed_at - start, "prepare": time.perf_counter() - placed_at}
        # results are written and drawn on the scan as stored, outliers included
        return LoadedScan(replace(model_input, scan=image), prepared, tuple(warnings), seconds)

    def warm_up(self, *, brain_extraction: bool) -> None:
        """Load the networks while the first scan is being read, also those of brain extraction if needed."""
        if brain_extraction:
            load_brain_extraction(self.bundle.card, self.computation.space)
        self.ensemble.warm_up()

    def predict(self, loaded: LoadedScan, advance: Callable[[float], None] = lambda share: None) -> Average:
        """The members' average on the scan's own grid.

        Args:
            loaded: The scan, from `load`.
            advance: Receives the share of the work done by each step; the shares sum to 1.

        Raises:
            ResourceError: The scan does not fit into memory.
        """
        self.memory.require(loaded)
        mean = self.ensemble.predict(loaded.prepared, advance)
        return mean.on(loaded.model_input.bring_back) if loaded.model_input.on_atlas else mean

    def predict_each(
        self, loaded: LoadedScan, advance: Callable[[float], None] = lambda share: None
    ) -> Iterator[tuple[BundleMember | None, Probability]]:
        """Yield every member with its P(lesion) on the scan's own grid, then None with the mean of `predict`."""
        self.memory.require(loaded)
        for member, probability in predict_each(self.ensemble, loaded.prepared, advance):
            yield member, loaded.model_input.bring_back(probability)

    def segment(self, loaded: LoadedScan, advance: Callable[[float], None] = lambda share: None) -> Segmentation:
        """Predict and post-process. See `predict` for arguments and errors."""
        start = time.perf_counter()
        mean = self.predict(loaded, advance)
        predicted_at = time.perf_counter()
        found = make_segmentation(loaded.image, mean, self.rule)
        seconds = {"predict": predicted_at - start, "postprocess": time.perf_counter() - predicted_at}
        return replace(found, seconds=seconds)

    def unloaded(self) -> "Segmenter":
        """The same model and settings without any network in memory, to be kept with results."""
        used = self.ensemble
        return replace(self, ensemble=Ensemble(self.bundle, used.engine, used.window, used.members))

    def facts(self) -> dict[str, Any]:
        """Model, members, engine and rule as recorded in `run.json`."""
        card = self.bundle.card
        return {
            "model": {"name": card.name, "path": str(self.bundle.path), "licence": card.licence},
            "reads": {"space": card.space, "shows": card.shows},
            "members": [member.card.name for member in self.ensemble.members],
            "engine": self.ensemble.engine.description,
            "postprocess": asdict(self.rule),
        }


def make_segmenter(computation: Computation, bundle: Bundle | None = None) -> Segmenter:
    """Choose engine, members and rule. Raises `MappingError` if one of them does not exist.

    Args:
        computation: Settings.
        bundle: The model; None to open the one that the settings name.
    """
    bundle = bundle or open_bundle(computation.model)
    engine = choose_engine(computation.device, computation.engine, computation.precision)
    ensemble = make_ensemble(bundle, computation.preset, engine)
    return Segmenter(bundle, ensemble, choose_rule(bundle, computation.rule), computation)


def with_reference(loaded: LoadedScan, reference: Path) -> LoadedScan:
    """A scan with its true lesions; raises `MappingError` if their file cannot be read or lies on another grid."""
    mask = read_mask_of(reference, loaded.image)
    origin = {"reference": str(reference), "reference_sha256": scan_sha256(reference)}
    return replace(loaded, reference=mask, source={**loaded.source, **origin})


def _doubts(model_input: ModelInput, card: BundleCard, space: str) -> list[str]:
    """Doubts about a placed scan, or about the kind and place of a scan that was not placed."""
    t1w, placed = card.contrast == "T1w", model_input.placed
    if placed is None or space == "mni":
        doubts = doubt_scan(model_input.scan, t1w=t1w, mni152=card.space == "MNI152" and space == "mni")
    else:
        doubts = doubt_placed_scan(placed.cut_out(), np.linalg.inv(placed.to_mni)) if t1w else []
    return [*doubts, *(placed.warnings if placed else ())]


def scan_sha256(scan: Source) -> str:
    """SHA-256 of an image file in hexadecimal, or of the hashes of its files if there are several."""
    hashes = [sha256(file) for file in stored_files(scan)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_brain(brain: Image | Path, scan: Image) -> Mask:
    """The user's brain mask of a scan, on the scan's grid.

    Args:
        brain: 1 in the brain and 0 elsewhere, on the scan's grid with its axes in any order: an image or its path.
        scan: The scan.

    Raises:
        MappingError: The mask cannot be read, holds other values, is empty, lies elsewhere, or has an implausible
            volume.
    """
    if isinstance(brain, Path) and (leads_nowhere(brain) or not brain.exists()):
        raise CaseError(f"{brain}: {describe_missing(brain)}")
    image = brain if isinstance(brain, Image) else read_image(brain)
    title = "the given image" if isinstance(brain, Image) else str(brain)
    reoriented = reorient(image, scan.orientation)
    remedy = "resample the mask onto the scan with nearest neighbour, or outline the brain on this scan"
    require_same_grid(reoriented, scan, (f"{title}: the brain mask", "its scan"), remedy)
    _require_mask(reoriented, title)
    mask = reoriented.voxels > 0
    found = Brain(mask, stripped=False, source="given")
    if not found.is_plausible(scan):
        raise ImageError(
            f"{title}: its brain has {found.volume_ml(scan):.4g} mL, expected {VOLUME_ML[0]:.0f} to "
            f"{VOLUME_ML[1]:.0f} mL; outline the whole brain, or correct the voxel size in the header"
        )
    return mask


def _require_mask(image: Image, title: str) -> None:
    values = np.unique(image.voxels)
    if values.tolist() == [0, 1]:
        return
    if not values.any():
        raise ImageError(f"{title}: is empty, expected 1 in the brain and 0 elsewhere; outline the brain")
    listed = ", ".join(f"{value:g}" for value in values[:LISTED_VALUES])
    more = f", ... ({len(values)} values)" if len(values) > LISTED_VALUES else ""
    raise ImageError(
        f"{title}: holds {listed}{more}, expected a mask of 1 in the brain and 0 elsewhere; save it so, for example by "
        "thresholding a stripped scan above 0"
    )
