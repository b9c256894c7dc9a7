"""`mapping demo`: what is refused before minutes are spent on it."""

from pathlib import Path

import pytest

from mapping_stroke import cli


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--device", "nonsense"], "no device 'nonsense'"),
        (["--folds", "1"], "expected 2 or more folds"),
        (["--subjects", "3", "--folds", "4"], "a subject for each at least"),
        (["--unlabelled", "0"], "1 or more unlabelled scans"),
    ],
)
def test_what_cannot_end_well_is_not_begun(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", str(tmp_path / "demo"), *arguments]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
