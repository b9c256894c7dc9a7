"""Audit of a model on simulated strokes: visibility of the lesions, overfitting, and confidence.

Every case is drawn with its healthy twin: the same brain, person and scanner without the lesion. No network is trained.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mapping_stroke.console import name_files, progress
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.evaluation.audit import CURVE_LEVELS, AuditedCase, lesion_contrasts
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.files import write_csv, write_json, write_text
from mapping_stroke.images.image import Image, Probability
from mapping_stroke.inference.engines import choose_device, choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import make_ensemble
from mapping_stroke.models.settings import AuditConfig
from mapping_stroke.names import Part
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.report.model_pages import audit_page, audit_values
from mapping_stroke.run_folder import claimed
from mapping_stroke.simulation.bank import COMPARISON_MIX, SimulationBank, draw_twins, load_bank
from mapping_stroke.simulation.cohort import Sources

SPACING_MM = 1.0
AUDIT_SEED = 5
PAGE_FILE, VALUES_FILE, CASES_FILE, LESIONS_FILE = "audit.md", "audit.json", "cases.csv", "lesions.csv"
CONTENTS = (PAGE_FILE, VALUES_FILE, CASES_FILE, LESIONS_FILE)
CACHE = "sources"


def audit_model(
    model: str | Path, sources: Sources, output: Path, config: AuditConfig, *, overwrite: bool = False
) -> list[AuditedCase]:
    """Draw cases, segment them and their twins at P > 0.5, and write tables.

    Args:
        model: See `open_bundle`.
        sources: Brains and masks; people and masks are dealt into the same splits as for every training.
        output: New folder, or one of the same call.
        config: Number of cases, preset and device.
        overwrite: Replace results of another model or other settings.

    Returns:
        All cases.

    Raises:
        MappingError: There is no such model or device, or a split of the sources is empty.
    """
    bundle, preset = open_bundle(model), config.prediction.preset
    ensemble = make_ensemble(bundle, preset, choose_engine(config.prediction.device))
    identity = {
        **{"kind": "audit-model", "model_sha256": bundle.sha256, "cases": config.cases, "known": config.known},
        **{"seed": config.seed, "preset": preset, "brains": sources.brains_fingerprint},
        "masks": sources.masks_fingerprint,
    }
    counts: dict[Part, int] = {"test": config.cases, "training": config.known}
    device = choose_device(config.prediction.device)
    with claimed(output, identity, (*CONTENTS, CACHE), overwrite=overwrite):
        audited: list[AuditedCase] = []
        with progress("Auditing", sum(counts.values())) as show:
            for part, count in counts.items():
                if count == 0:
                    continue
                bank = load_bank(sources, part, SPACING_MM, output / CACHE, device, COMPARISON_MIX)
                for case in _audit_part(ensemble, bank, part, count, config.seed):
                    audited.append(case)
                    show(len(audited), case.case_id)
        facts = {"model": bundle.card.name, "model_sha256": bundle.sha256, "preset": preset}
        _write(output, audited, {**facts, "precision": ensemble.engine.precision, "seed": config.seed})
    return audited


def _audit_part(ensemble: Ensemble, bank: SimulationBank, part: Part, count: int, seed: int) -> Iterator[AuditedCase]:
    for number in range(count):
        # a generator per case, so that the first cases of a longer audit are those of a shorter one
        with_lesion, without = draw_twins(bank, np.random.default_rng([seed, AUDIT_SEED, number]))
        yield audit_case(f"{part}-{number:03d}", part, (with_lesion, without), lambda scan: _predict(ensemble, scan))


def audit_case(
    case_id: str, part: Part, twins: tuple[CaseArrays, CaseArrays], predict: Callable[[Image], Probability]
) -> AuditedCase:
    """Compare a model's predictions for a case and its healthy twin.

    Args:
        case_id: Name of the case.
        part: Split of its people and masks.
        twins: The case, and the same without its lesion.
        predict: P(lesion) of a scan.
    """
    scan, twin = map(_image, twins)
    mask = twins[0].mask.cpu().numpy() > 0
    probability, healthy = predict(scan), predict(twin)
    marked = probability > np.float32(0.5)  # no rule: the audit is about the networks
    inside = probability[mask]
    to_ml = scan.voxel_volume_mm3 / 1000
    return AuditedCase(
        case_id=case_id,
        part=part,
        load_ml=float(mask.sum()) * to_ml,
        dice=dice(marked, mask),
        missed_ml=float((mask & ~marked).sum()) * to_ml,
        false_ml=float((marked & ~mask).sum()) * to_ml,
        probability=float(np.median(inside)) if inside.size else float("nan"),
        curve_dice=tuple(dice(probability > level, mask) for level in CURVE_LEVELS),
        twin_ml=tuple(float((healthy > level).sum()) * to_ml for level in CURVE_LEVELS),
        lesions=lesion_contrasts(scan, mask, twin),
    )


def _image(case: CaseArrays) -> Image:
    """The z-scores of a case as an image, 0 outside its brain."""
    return Image(case.scan.float().cpu().numpy(), np.diag([SPACING_MM] * 3 + [1.0]))


def _predict(ensemble: Ensemble, scan: Image) -> Probability:
    return ensemble.predict(ensemble.prepare(scan)).probability


def _write(output: Path, audited: list[AuditedCase], facts: dict[str, object]) -> None:
    rows = [
        {key: value for key, value in asdict(case).items() if key not in ("lesions", "curve_dice", "twin_ml")}
        | {"twin_ml": case.twin_ml_at_half, "cnr": case.cnr}
        for case in audited
    ]
    lesions = [{"case_id": case.case_id, **asdict(lesion)} for case in audited for lesion in case.lesions]
    write_csv(output / CASES_FILE, tuple(rows[0]), rows)
    write_csv(output / LESIONS_FILE, ("case_id", "volume_ml", "cnr", "change"), lesions)
    write_json(output / VALUES_FILE, audit_values(audited, facts))
    write_text(output / PAGE_FILE, audit_page(audited, facts))
    name_files("Audit", *(output / name for name in CONTENTS))
