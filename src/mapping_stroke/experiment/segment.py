"""Segment new scans: one set of files for each, failures recorded, nothing computed twice."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mapping_stroke.console import say, track, warn
from mapping_stroke.environment import describe_environment
from mapping_stroke.errors import CaseError, MappingError
from mapping_stroke.files import read_object, sha256, write_csv, write_json
from mapping_stroke.image import image_stem, read_image, write_image
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import (
    LesionRow,
    Segmentation,
    choose_rule,
    find_preset,
    lesion_table,
    make_ensemble,
    segment_scan,
)
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.postprocess import PostprocessConfig, find_rule
from mapping_stroke.report.figures import draw_segmentation
from mapping_stroke.run_folder import MASK_SUFFIX, OWNER_FILE, PROBABILITY_SUFFIX, claimed

COLUMNS = tuple(LesionRow.__dataclass_fields__)
UNCERTAINTY_SUFFIX = "_uncertainty.nii.gz"
LESIONS_SUFFIX = "_lesions.tsv"
SUFFIXES = (MASK_SUFFIX, PROBABILITY_SUFFIX, UNCERTAINTY_SUFFIX, LESIONS_SUFFIX, ".png", ".json")
"""What a scan's outputs add to its name; the last is written last, so a scan that has it is done."""
CONTENTS = tuple(f"*{suffix}" for suffix in SUFFIXES)
OWN_FILES = (OWNER_FILE, "environment.json", "failures.json")
"""What the output folder holds besides."""


@dataclass(frozen=True)
class SegmentConfig:
    """How `mapping segment` segments."""

    preset: str = "balanced"
    rule: str = "mapping"
    device: str = "auto"

    def __post_init__(self) -> None:
        find_preset(self.preset)
        find_rule(self.rule)


def segment_scans(
    scans: Sequence[Path], output: Path, model: str | Path, config: SegmentConfig, *, overwrite: bool = False
) -> list[str]:
    """Segment scans into a folder: mask, probability, uncertainty, lesions and a picture for each.

    Args:
        scans: T1w scans; their names without suffix must differ, since the outputs are named after them.
        output: New folder, or one that the same model and settings wrote: finished scans are then left alone.
        model: See `open_bundle`.
        config: Preset, rule, device.
        overwrite: Replace what another model or other settings wrote there.

    Returns:
        The names of scans that failed; `failures.json` tells why.

    Raises:
        MappingError: There is no scan, model or device, the folder holds something else, or the only scan failed.
    """
    names = _names(scans)
    bundle = open_bundle(model)
    ensemble = make_ensemble(bundle, config.preset, choose_engine(config.device))
    settings = asdict(config) | {"device": None, "precision": ensemble.engine.precision}
    identity = {"kind": "segment", "model_sha256": bundle.sha256, "settings": settings}
    with claimed(output, identity, (*CONTENTS, *OWN_FILES), overwrite=overwrite):
        write_json(output / "environment.json", describe_environment())
        say(
            f"Segmenting {len(scans)} scans with {len(ensemble.members)} of {len(bundle.card.members)} members "
            f"(preset {config.preset}, rule {config.rule}) on {ensemble.engine.description}"
        )
        failures = _segment_all(names, output, ensemble, choose_rule(bundle, config.rule))
        write_json(output / "failures.json", failures)
    return list(failures)


def show_lesions(output: Path, scans: Sequence[Path]) -> None:
    """Print one line per scan that was segmented: number of lesions and load."""
    for scan in scans:
        found = read_object(output / f"{image_stem(scan)}.json")
        if "lesions" in found:
            say(f"{image_stem(scan)}: {found['lesions']} lesions, {found['load_ml']:.2f} mL")


def _segment_all(
    names: Mapping[str, Path], output: Path, ensemble: Ensemble, rule: PostprocessConfig
) -> dict[str, str]:
    """Segment every scan; why each failed that did, by name. The error of a single scan is raised."""
    failures: dict[str, str] = {}
    for name, scan in track(names.items(), "Segmenting", len(names)):
        try:
            _segment_one(scan, output / name, ensemble, rule)
        except (MappingError, MemoryError) as error:
            failures[name] = str(error).removeprefix(f"{scan}: ") or "out of memory"
            if len(names) == 1:
                raise CaseError(f"{scan}: {failures[name]}") from error
            warn(f"{scan}: {failures[name]}")
    return failures


def _segment_one(scan: Path, stem: Path, ensemble: Ensemble, rule: PostprocessConfig) -> None:
    mask, probability, uncertainty, lesions, picture, stamp = (
        stem.with_name(f"{stem.name}{suffix}") for suffix in SUFFIXES
    )
    if not scan.is_file():
        what = "is a folder, expected a file" if scan.is_dir() else "no such file"
        raise CaseError(f"{scan}: {what}; check the path")
    source = {"scan": str(scan), "sha256": sha256(scan)}
    if mask.is_file() and read_object(stamp).get("source") == source:
        return
    stamp.unlink(missing_ok=True)
    image = read_image(scan)
    found = segment_scan(image, ensemble, rule)
    write_image(mask, found.mask, image.affine)
    write_image(probability, found.probability, image.affine)
    write_image(uncertainty, found.uncertainty, image.affine)
    write_csv(lesions, COLUMNS, lesion_table(found.lesions), delimiter="\t")
    draw_segmentation(image, found.mask, found.probability, found.lesions, picture)
    write_json(stamp, {"source": source, **_summary(found)})


def _summary(found: Segmentation) -> dict[str, Any]:
    return {
        "lesions": len(found.lesions),
        "load_ml": round(sum(lesion.volume_ml for lesion in found.lesions), 3),
        "largest_probability": round(float(found.probability.max()), 4),
    }


def _names(scans: Sequence[Path]) -> dict[str, Path]:
    if not scans:
        raise CaseError("no scan is given, expected one or more; name their files")
    names: dict[str, Path] = {}
    for scan in scans:
        name = image_stem(scan)
        if f"{name}.json" in OWN_FILES:
            raise CaseError(f"{scan}: the name {name} is taken by a file of the output folder; rename the scan")
        if name in names:
            raise CaseError(f"{scan}: {names[name]} has the same name, and outputs are named after it; rename one")
        names[name] = scan
    return names
