"""The same command on the same scan leaves the same bytes, in every process and on any number of processors."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mapping_stroke.images.image import write_image
from moved_heads import move, moved_scan

ON_CPUS = """
import sys
import psutil
from mapping_stroke.cli import main

psutil.Process().cpu_affinity([int(cpu) for cpu in sys.argv[1].split(",")])
sys.exit(main(sys.argv[2:]))
"""
TIMED = {".json"}
"""Suffixes of files that tell how long it took."""


def segment(scan: Path, output: Path, cpus: list[int]) -> dict[str, bytes]:
    """What `mapping segment` leaves of a scan, by file name, computed on some of the processors."""
    arguments = ["segment", str(scan), "-o", str(output), "--preset", "fast", "--probability", "float32"]
    named = ",".join(map(str, cpus))
    ran = subprocess.run(
        [sys.executable, "-c", ON_CPUS, named, *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return {path.name: path.read_bytes() for path in output.iterdir() if path.suffix not in TIMED and path.is_file()}


@pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="this system does not bind processes to cores")
def test_a_head_in_its_own_space_is_segmented_to_the_same_bytes(tmp_path: Path) -> None:
    head = moved_scan(move((10, -8, 15), (30, -20, 25)), stripped=False, axes="LAS")
    scan = tmp_path / "head.nii.gz"
    write_image(scan, head.voxels, head.affine)
    cpus = psutil.Process().cpu_affinity()
    first = segment(scan, tmp_path / "first", cpus)
    assert {"head_mask.nii.gz", "head_probability.nii.gz", "head_to-MNI152.txt"} <= set(first)
    assert segment(scan, tmp_path / "again", cpus) == first
    assert segment(scan, tmp_path / "on one", cpus[:1]) == first
