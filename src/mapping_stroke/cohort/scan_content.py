"""What the page of a segmented scan shows, from the scan, its lesions and the model."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mapping_stroke.cohort.measures import find_to_mni, measure_regions, shown_scores
from mapping_stroke.cohort.methods import describe_methods
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter
from mapping_stroke.console import counted_of
from mapping_stroke.images.nifti import in_mm
from mapping_stroke.inference.segmentation import Segmentation
from mapping_stroke.report.scan_page import RegionTable, ScanContent
from mapping_stroke.space.brain import BrainSource

BRAINS: dict[BrainSource, str] = {
    "network": "brain extraction",
    "shown": "already skull-stripped",
    "template": "from the template, as brain extraction failed",
    "given": "your own mask",
}


def scan_content(
    name: str,
    loaded: LoadedScan,
    found: Segmentation,
    segmenter: Segmenter,
    scores: Mapping[str, float | None] = MappingProxyType({}),
) -> ScanContent:
    """The page of a scan, still without picture and links, with the whole head."""
    placed, methods = loaded.model_input.placed, describe_methods(segmenter)
    return ScanContent(
        name=name,
        scan=loaded.image,
        mask=found.mask,
        probability=found.probability,
        uncertainty=found.uncertainty if segmenter.ensemble.voters > 1 else None,
        lesions=found.lesions,
        brain=None if placed is None else placed.brain.mask,
        reference=loaded.reference,
        scores=shown_scores(scores),
        to_mni=find_to_mni(loaded, segmenter),
        warnings=loaded.warnings,
        facts=_facts(loaded, segmenter),
        methods=(methods.text,),
        citations=methods.citations,
        regions=_regions(loaded, found, segmenter),
    )


def _regions(loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> RegionTable | None:
    measured = measure_regions(loaded, found, segmenter)
    return RegionTable(Path(measured["atlas"]).name, measured["volumes_ml"], measured["lesions"]) if measured else None


def _facts(loaded: LoadedScan, segmenter: Segmenter) -> list[tuple[str, str]]:
    scan, placed, computation = loaded.image, loaded.model_input.placed, segmenter.computation
    shape, edges = " x ".join(map(str, scan.shape)), in_mm(scan.spacing_mm)
    source = Path(loaded.source["scan"]).name if "scan" in loaded.source else "image in memory"
    members = counted_of(len(segmenter.ensemble.members), len(segmenter.bundle.card.members), "member")
    facts = [
        ("Scan", f"{source}, {shape} voxels of {edges}"),
        ("Model", f"{segmenter.bundle.card.name}, preset {computation.preset} ({members}), rule {computation.rule}"),
        ("Model SHA-256", segmenter.bundle.sha256),
    ]
    if placed is not None:
        volume_ml = placed.brain.volume_ml(placed.scan)
        facts.append(("Brain", f"{BRAINS[placed.brain.source]}, {volume_ml:.0f} mL"))
        fit = f"similarity {placed.quality.similarity:.2f}, overlap {placed.quality.overlap:.2f}"
        facts.append(("Place in MNI152", f"kept as stored; {fit}" if placed.left_alone else f"registered; {fit}"))
    return [*facts, ("Engine", segmenter.ensemble.engine.description)]
