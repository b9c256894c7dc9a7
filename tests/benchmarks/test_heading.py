"""How reports begin."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import heading
from benchmarks.agreement import Comparison, describe_agreement
from benchmarks.fine_tuning import METRICS, RULES, FineTuning, FineTuningResult, describe_fine_tuning
from benchmarks.heading import describe_head
from benchmarks.round_trip import RoundTrip, describe_round_trips
from mapping_stroke.stages.settings import TrainConfig
from small_models import write_seeing_model

MACHINE = {"processor": "Abacus", "cores": "7", "gpu": "Beads"}


def test_title_machine_versions_and_command_stand_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: MACHINE)
    title, _, facts, command, last = describe_head("Work", "python -m benchmarks work", ("numpy",), share="1 of ")
    assert title == "# Work"
    assert ", Abacus, 1 of 7 cores, " in facts
    assert ", mapping-stroke " in facts and ", numpy " in facts  # noqa: PT018 - one line of facts
    assert command == "Command: `python -m benchmarks work`."
    assert last == ""


def test_a_gpu_is_named_where_it_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: MACHINE)
    facts = describe_head("Work", "python -m benchmarks work", (), device="cuda", others="another program 2")[2]
    assert ", Beads, " in facts
    assert facts.endswith("; another program 2.")


def test_a_graphics_part_of_the_processor_is_no_gpu_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: {**MACHINE, "gpu": "none"})
    assert ", Abacus, 7 cores, " in describe_head("Work", "python -m benchmarks work", (), device="mps")[2]


@pytest.mark.parametrize(("device", "named"), [("auto", "Beads"), ("cuda:0", "Beads"), ("cpu", "Abacus, 7 cores")])
def test_reports_name_what_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, named: str) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: MACHINE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    bundle = write_seeing_model(tmp_path / "model.mapping")
    scores = {f"{rule}/{metric}": np.zeros(5) for rule in RULES for metric in METRICS}
    tuned = FineTuningResult(scores, scores, bundle, TrainConfig())
    reports = (
        describe_agreement([Comparison("tiles", 1.0, 1.0, 0.0)], "COMMAND", device),
        describe_fine_tuning(tuned, FineTuning(tmp_path, "MODEL", device=device), "COMMAND"),
        describe_round_trips([], RoundTrip(tmp_path, model=str(bundle.path), device=device), "COMMAND"),
    )
    assert [f", {named}, " in report.splitlines()[2] for report in reports] == [True] * 3
