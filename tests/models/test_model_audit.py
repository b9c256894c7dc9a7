"""The audit of a model: on a case and its twin that can be counted by hand, and by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.cli import main
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.evaluation.audit import CURVE_LEVELS, AuditedCase, terciles
from mapping_stroke.images.image import Image
from mapping_stroke.models import audit
from mapping_stroke.models.audit import audit_case
from mapping_stroke.report.model_pages import audit_page
from small_models import member_card, write_model

EDGE = 20


def case(*, lesion: bool) -> CaseArrays:
    rng = np.random.default_rng(0)
    scan = torch.from_numpy(1 + 0.1 * rng.standard_normal((EDGE,) * 3))
    mask = torch.zeros((EDGE,) * 3, dtype=torch.uint8)
    if lesion:
        mask[5:10, 5:10, 5:10] = 1
        scan[5:10, 5:10, 5:10] = -1
    return CaseArrays("one", scan.half(), mask, mask.nonzero().to(torch.int16).numpy())


def half_found(scan: Image) -> np.ndarray:
    """Sure of the lower half of what is dark, unsure elsewhere; and of one voxel that is none."""
    probability = np.where(scan.voxels < 0, 0.3, 0.0).astype(np.float32)
    probability[:, :, :7] *= 3
    probability[0, 0, 0] = 0.6
    return probability


def audited(**changes: float) -> AuditedCase:
    found = audit_case("case", "test", (case(lesion=True), case(lesion=False)), half_found)
    return AuditedCase(**{**{name: getattr(found, name) for name in found.__dataclass_fields__}, **changes})


def test_a_case_is_counted_with_its_twin() -> None:
    found = audited()
    assert found.load_ml == pytest.approx(0.125)
    assert found.missed_ml == pytest.approx(0.075), "3 of 5 planes"
    assert found.false_ml == pytest.approx(0.001)
    assert found.probability == pytest.approx(0.3)
    assert found.twin_ml_at_half == pytest.approx(0.001)
    assert found.dice == pytest.approx(2 * 50 / (125 + 51))
    assert found.curve_dice[CURVE_LEVELS.index(0.2)] == pytest.approx(2 * 125 / (125 + 126))
    assert found.cnr == pytest.approx(20, rel=0.15)


def test_terciles_are_ranked_by_what_can_be_seen() -> None:
    found = audited()
    ranked = terciles([found] * 7)
    assert [len(group) for group in ranked] == [3, 2, 2]
    assert terciles([]) == [[], [], []]


def test_the_page_shows_every_table() -> None:
    page = audit_page([audited()], {"model": "m", "model_sha256": "0", "preset": "fast", "precision": "float32"})
    for head in (
        "Visibility of lesions",
        "Training cases",
        "By load",
        "Dice against false volume",
        "| 0.1 to 1 mL | 1 |",
    ):
        assert head in page


def test_the_command_draws_twins_and_writes_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "SPACING_MM", 4.0)
    write_model(tmp_path / "m.mapping", member_card("default", 0, preprocess=PreprocessSpec(6.0), patch=(24, 24, 24)))
    out = tmp_path / "audit"
    asked = ["models", "audit", str(tmp_path / "m.mapping"), "-o", str(out), "--cases", "3", "--known", "1"]
    assert main([*asked, "--device", "cpu"]) == 0
    values = json.loads((out / "audit.json").read_text())
    assert [one["case_id"] for one in values["cases"]] == ["test-000", "test-001", "test-002", "training-000"]
    assert (out / "cases.csv").read_text().count("\n") == 5
    assert str(out / "audit.md") in "".join(capsys.readouterr().out.split("\n"))
    assert main([*asked[:-3], "1"]) == 2
    assert "--cases 1 --known 30, expected 3 or more" in capsys.readouterr().err
