"""The same command on the same scan leaves the same bytes, in every process and on any number of processors."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mapping_stroke.cli import main
from mapping_stroke.images.image import write_image
from moved_heads import NEAR, moved_scan

ON_ONE_CPU = """
import sys
import psutil
from mapping_stroke.cli import main

psutil.Process().cpu_affinity(psutil.Process().cpu_affinity()[:1])
sys.exit(main(sys.argv[1:]))
"""
TIMED = {".json"}
"""Suffixes of files that tell how long it took."""


def arguments(scan: Path, output: Path) -> list[str]:
    return ["segment", str(scan), "-o", str(output), "--preset", "fast", "--probability", "float32"]


def results(output: Path) -> dict[str, bytes]:
    """What `mapping segment` leaves of a scan, by file name."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.suffix not in TIMED and path.is_file()}


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="this system does not bind processes to cores")
def test_a_head_in_its_own_space_is_segmented_to_the_same_bytes(tmp_path: Path) -> None:
    head = moved_scan(NEAR, stripped=False, axes="LAS")
    scan = tmp_path / "head.nii.gz"
    write_image(scan, head.voxels, head.affine)
    assert main(arguments(scan, tmp_path / "here")) == 0
    here = results(tmp_path / "here")
    assert {"head_mask.nii.gz", "head_probability.nii.gz", "head_to-MNI152.txt"} <= set(here)
    command = [sys.executable, "-c", ON_ONE_CPU, *arguments(scan, tmp_path / "on one")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert results(tmp_path / "on one") == here
