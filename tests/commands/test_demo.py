"""`mapping demo`: what is refused before time is spent, what `make demo` hands on, the bundled model at work."""

import re
import subprocess
from pathlib import Path

import pytest

from mapping_stroke import cli
from mapping_stroke.networks.bundle import bundled_models

ROOT = Path(__file__).resolve().parents[2]
HAS_DEFAULT = "default" in {path.stem for path in bundled_models()}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--device", "nonsense"], "no device 'nonsense'"),
        (["--model", "nowhere"], "nowhere: no such model"),
        (["--folds", "3"], "need --experiment; add it"),
        (["--seed", "1"], "need --experiment; add it"),
        (["--experiment", "--scan", "a.nii.gz"], "do not apply to the experiment"),
        (["--experiment", "--model", "mine"], "do not apply to the experiment"),
        (["--experiment", "--device", "nonsense"], "no device 'nonsense'"),
        (["--experiment", "--folds", "1"], "expected at least 2 folds"),
        (["--experiment", "--subjects", "3", "--folds", "4"], "one subject for each"),
        (["--experiment", "--unlabelled", "0"], "1 unlabelled scan for self-training"),
    ],
)
def test_what_cannot_end_well_is_not_begun(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", str(tmp_path / "demo"), *arguments]) == 2
    told = capsys.readouterr()
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ([], ["demo"]),
        (["SCAN=my scans/it's $$1.nii.gz"], ["demo", "--scan", "my scans/it's $1.nii.gz"]),
    ],
)
def test_make_demo_hands_any_path_on(given: list[str], handed_on: list[str], tmp_path: Path) -> None:
    command = tmp_path / "mapping"
    command.write_text('#!/bin/sh\nprintf "<%s>\\n" "$@"\n')
    command.chmod(0o755)
    clean = ["env", "-u", "SCAN", "-u", "MAKEFLAGS", "-u", "MAKELEVEL"]  # the tests may run under make themselves
    call = [*clean, "make", "--silent", "--old-file", "setup", "demo", f"BIN={tmp_path}", *given]
    made = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert re.findall(r"<(.*)>", made.stdout) == handed_on


@pytest.mark.slow
@pytest.mark.skipif(not HAS_DEFAULT, reason="the bundled model, models/default.mapping, is not in this checkout")
def test_the_bundled_model_finds_the_simulated_stroke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", str(tmp_path / "demo"), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    found = re.search(r"truth +[\d.]+ +Dice ([\d.]+)", told)
    assert found is not None
    assert float(found.group(1)) > 0.5
