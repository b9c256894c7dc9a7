"""`python -m benchmarks`: what it prints and writes; how fast it is, nobody asks here."""

from pathlib import Path

import pytest

from benchmarks import postprocess, score
from benchmarks.__main__ import BENCHMARKS
from benchmarks.phantom import PhantomConfig
from mapping_stroke import cli

SMALL = PhantomConfig((40, 36, 38), lesions=6, largest_vox=300)


@pytest.mark.parametrize("stage", ["postprocess", "score"])
def test_both_ways_are_timed_and_the_result_is_written(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    race_postprocess, race_score = postprocess.race_postprocess, score.race_score
    monkeypatch.setattr(postprocess, "race_postprocess", lambda repeats: race_postprocess(repeats, SMALL))
    monkeypatch.setattr(score, "race_score", lambda repeats: race_score(repeats, SMALL))
    assert cli.main([stage, "--repeats", "2", "-o", str(tmp_path / "result.md")], BENCHMARKS) == 0
    text = (tmp_path / "result.md").read_text()
    assert "40x36x38" in text
    assert f"Command: `python -m benchmarks {stage} --repeats 2`." in text
    assert "Ratio of the medians: **" in text
    assert text in capsys.readouterr().out


def test_a_bench_without_repeats_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["score", "--repeats", "0"], BENCHMARKS) == 2
    assert "--repeats must be 1 or more" in capsys.readouterr().err
