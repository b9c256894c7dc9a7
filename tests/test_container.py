"""The challenge container: what its Dockerfile says, and the program run as a container will run it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from isolation import ROOT, Isolation, require_isolation
from mapping_stroke.commands.segment import MASKS, SCANS, Isles2026
from mapping_stroke.images.image import read_image, write_image
from phantoms import AFFINE, phantom
from small_models import write_seeing_model

PROBE = """
import os, socket, sys
from pathlib import Path
assert os.getuid() == 1000, os.getuid()
for place in sys.argv[1:]:
    try:
        (Path(place) / "written").touch()
        print("wrote", place)
    except OSError as error:
        print(error.strerror, place)
try:
    socket.create_connection(("192.0.2.1", 80), 2)
    print("a network")
except OSError as error:
    print(error.strerror)
room = os.statvfs("/tmp")
print(room.f_blocks * room.f_frsize // 2**20, "MB")
"""
THEN_LIST_TMP = """
import os, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(sorted(os.listdir("/tmp")))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "container" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def isolation(tmp_path: Path) -> Isolation:
    """With a model, a `.mha` and a `.nii.gz` scan, and one that was cut off."""
    made = require_isolation(tmp_path)
    write_seeing_model(made.case / "model" / "uploaded.mapping")
    scans = made.case / "scans"
    scans.mkdir()
    image = sitk.GetImageFromArray(phantom(0)[0].T)
    image.SetSpacing((3.0, 3.0, 3.0))
    sitk.WriteImage(image, str(scans / "a.mha"))
    write_image(scans / "b.nii.gz", phantom(1)[0], AFFINE)
    (scans / "cut.nii.gz").write_bytes((scans / "b.nii.gz").read_bytes()[:-500])
    for path in sorted(made.case.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return made


def test_the_image_runs_both_contracts_without_rights(dockerfile: str) -> None:
    base, atlas, isles = re.split(r"^FROM base AS \w+\n", dockerfile, flags=re.MULTILINE)
    assert re.search(r"^USER user$", base, re.MULTILINE)
    assert "USER" not in atlas + isles
    assert 'ENTRYPOINT ["mapping", "grand-challenge", "atlas2022"]' in atlas
    assert 'ENTRYPOINT ["mapping", "grand-challenge", "isles2026"]' in isles
    assert 'LABEL org.grand-challenge.api-method="invoke"' in isles
    assert "api-method" not in base + atlas
    assert f"EXPOSE {Isles2026().port}\n" in isles


def test_the_image_installs_all_in_one_call_at_the_pinned_versions(dockerfile: str) -> None:
    assert dockerfile.count("pip install") == 1
    assert "-c /build/constraints.txt /build" in dockerfile
    assert f"FROM python:{_least_python()}-slim" in dockerfile
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for name in copied.split():
            assert (ROOT / name).exists()
            assert f"!{name}\n" in (ROOT / "container" / "Dockerfile.dockerignore").read_text(encoding="utf-8")


def check_of_the_build(dockerfile: str, folder: Path, *, tools: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run in a folder what the build runs at its end, with stand-ins for some programs: shell scripts."""
    (command,) = re.findall(r"^RUN (mapping info(?:.*\\\n)+.*)$", dockerfile, re.MULTILINE)
    stand_ins, here = folder / "bin", folder / "here"
    for made in (stand_ins, here):
        made.mkdir()
    for name, script in tools.items():
        (stand_ins / name).write_text(f"#!/bin/sh\n{script}\n")
        (stand_ins / name).chmod(0o755)
    path = os.pathsep.join((str(stand_ins), str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    return subprocess.run(["sh", "-c", command], cwd=here, env={"PATH": path}, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
@pytest.mark.parametrize(
    ("told", "status"), [("0 lesions (2 s)", 0), ("FAILED, an empty mask (2 s)", 1), ("FAILED, no mask (0 s)", 1)]
)
def test_the_build_fails_where_a_scan_cannot_be_segmented(
    dockerfile: str, tmp_path: Path, told: str, status: int
) -> None:
    tools = {"python": "exit 0", "mapping": f"echo 'template.mha: {told}'"}
    done = check_of_the_build(dockerfile, tmp_path, tools=tools)
    assert done.returncode == status, done.stderr
    assert done.stdout.endswith(f"template.mha: {told}\n")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of Unix")
def test_the_build_segments_the_template(dockerfile: str, tmp_path: Path) -> None:
    done = check_of_the_build(dockerfile, tmp_path, tools={})
    assert done.returncode == 0, done.stderr
    assert "template.mha: " in done.stdout
    assert list((tmp_path / "here").iterdir()) == []


def test_the_folders_are_those_of_the_platform() -> None:
    assert (SCANS.parts[1], MASKS.parts[1], Isles2026().probabilities.parts[1]) == ("input", "output", "output")
    assert Isles2026().computation.weights == Path("/opt/ml/model")


def test_the_isolation_isolates(isolation: Isolation) -> None:
    places = ("/", str(ROOT), "/tmp/case/scans", "/tmp", "/tmp/output")
    told = isolation.python("-c", PROBE, *places)
    assert told.stdout.splitlines() == [
        "Read-only file system /",
        f"Read-only file system {ROOT}",
        "Read-only file system /tmp/case/scans",
        "wrote /tmp",
        "wrote /tmp/output",
        "Network is unreachable",
        "16 MB",
    ]
    assert [path.name for path in isolation.output.iterdir()] == ["written"]


def test_2022_works_as_the_platform_runs_it(isolation: Isolation) -> None:
    folders = ("--scans", "/tmp/case/scans", "--masks", "/tmp/output/masks", "--weights", "/tmp/case/model")
    command = (sys.executable, "-m", "mapping_stroke.cli", "grand-challenge", "atlas2022", *folders)
    done = isolation.python("-c", THEN_LIST_TMP, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['case', 'output']"
    masks = {path.name: read_image(path).voxels for path in (isolation.output / "masks").iterdir()}
    assert {name: bool(mask.any()) for name, mask in masks.items()} == {
        "a.mha": True,
        "b.nii.gz": True,
        "cut.nii.gz": False,
    }
    assert done.stderr.count("its mask is empty") == 1


def test_2026_works_as_the_platform_runs_it(isolation: Isolation) -> None:
    folders = ("--scans", "/tmp/case/scans", "--masks", "/tmp/output/masks", "--probabilities", "/tmp/output/maps")
    service = ("-m", "mapping_stroke.cli", "grand-challenge", "isles2026", *folders, "--weights", "/tmp/case/model")
    done = isolation.python(str(ROOT / "tests" / "helpers" / "invoked_service.py"), sys.executable, *service)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"health": 200, "invoke": [201, 201], "end": 0}
    for folder in ("masks", "maps"):
        assert {path.name for path in (isolation.output / folder).iterdir()} == {"a.mha", "b.nii.gz", "cut.nii.gz"}


def _least_python() -> str:
    (least,) = re.findall(r'^requires-python = ">=([\d.]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return str(least)
