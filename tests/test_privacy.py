"""Nothing leaves the machine, and nothing of a scan's header reaches an output."""

import gzip
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know
from scipy import ndimage

from dicom_files import PERSON, write_series
from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.report import pictures as figures
from mapping_stroke.report.pictures import draw_segmentation
from mapping_stroke.rules import RULES
from moved_heads import NEAR, brain_of, moved_scan
from phantoms import phantom
from small_models import member_card, write_model

PLANTED = ("planted", "quirina", "4711", *(value.lower() for value in PERSON.values()))
"""In every header below, and nowhere else; compared in lower case."""
FARTHEST_MM = 12.0
"""From the brain; the scalp ends at 15 mm, and a place that is not known is found to about a centimetre."""
SCALP = 300
"""Its voxels are brighter."""
PLACED = np.diag([-3.0, -3.0, 3.0, 1.0])
VOXELS = np.rint(phantom(0)[0] * 100).astype(np.int16)

OFFLINE = """
    import sys

    def forbid(event, arguments):
        if event.startswith("socket.") and event != "socket.gethostname":
            code = sys._getframe(2).f_code
            if code.co_name != "_has_ipv6":  # urllib3 asks for a socket when it is imported, and is content with none
                print("forbidden:", event, code.co_filename, file=sys.stderr, flush=True)
            raise PermissionError(event)

    sys.addaudithook(forbid)
    from mapping_stroke.cli import main
    sys.exit(main(sys.argv[1:]))
"""
"""Runs the command line where nothing may so much as make a socket or look up a name."""


def write_nifti(path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, PLACED)
    for field in ("descrip", "db_name", "intent_name", "aux_file"):
        image.header[field] = f"Planted {field}"[: image.header[field].dtype.itemsize]
    for code in (2, 4, 6):  # DICOM, AFNI, comment
        image.header.extensions.append(nib.nifti1.Nifti1Extension(code, b"Planted^Quirina, born 19310203"))
    nib.save(image, path)


def write_nifti_pair_fields(path: Path) -> None:
    image = nib.Nifti2Image(VOXELS, PLACED)
    image.header["descrip"] = "Planted^Quirina"
    nib.save(image, path)


def write_mgh(path: Path) -> None:
    plain = path.with_suffix(".mgh")
    nib.save(nib.MGHImage(VOXELS, PLACED), plain)
    tag = b"\x00\x00\x00\x03" + (40).to_bytes(8, "big") + b"mri_convert /data/Planted^Quirina".ljust(40, b"\x00")
    path.write_bytes(gzip.compress(plain.read_bytes() + tag))
    plain.unlink()


def write_itk(path: Path) -> None:
    image = sitk.GetImageFromArray(VOXELS.T)
    image.SetSpacing([3.0, 3.0, 3.0])
    image.SetDirection([1, 0, 0, 0, 1, 0, 0, 0, 1])
    for name in ("PatientName", "Comment", "0010|0010", "content"):
        image.SetMetaData(name, "Planted^Quirina")
    sitk.WriteImage(image, str(path))


def write_dicom(path: Path) -> None:
    write_series(path, VOXELS, PLACED)


FORMATS: dict[str, Callable[[Path], None]] = {
    "a.nii.gz": write_nifti,
    "b.nii": write_nifti_pair_fields,
    "c.mgz": write_mgh,
    "d.mha": write_itk,
    "e.nrrd": write_itk,
    "f": write_dicom,
}


def contents(path: Path) -> bytes:
    """All that a file says, unpacked: what is packed within a picture, too."""
    stored = path.read_bytes()
    if path.name.endswith((".gz", ".mgz")):
        return stored + gzip.decompress(stored)
    if path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            return stored + repr(picture.info).encode()
    return stored


def leaks(folder: Path) -> list[str]:
    """The files that hold something planted, and what."""
    codes = ("utf-8", "utf-16-le", "utf-16-be")
    files = {path: contents(path).lower() for path in sorted(folder.rglob("*")) if path.is_file()}
    return [
        f"{path.name}: {word}"
        for path, text in files.items()
        for word in PLANTED
        if any(word.encode(code) in text for code in codes)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, rule = tmp_path_factory.mktemp("model") / "one.mapping", RULES["challenge"]
    write_model(path, member_card("default", 0, preprocess=PreprocessSpec(3.0), patch=(24, 24, 24)), postprocess=rule)
    return path


def write_scans(folder: Path, *names: str) -> list[str]:
    folder.mkdir()
    for name in names:
        FORMATS[name](folder / name)
    return [str(folder / name) for name in names]


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_planted_is_found_where_it_is(tmp_path: Path, name: str) -> None:
    """The search itself works: each scan holds what is looked for in the outputs."""
    FORMATS[name](tmp_path / name)
    assert leaks(tmp_path)


def test_segment_needs_no_socket_and_tells_nothing_of_the_headers(model: Path, tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "scans", "a.nii.gz", "f")
    arguments = ["segment", *scans, "-o", "out", "--model", str(model), "--device", "cpu"]
    command = [sys.executable, "-c", textwrap.dedent(OFFLINE), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    assert "forbidden" not in done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"a.png", "f.png"}
    assert leaks(tmp_path / "out") == []
    assert not any(word in (done.stdout + done.stderr).lower() for word in PLANTED)


def test_no_format_tells_of_its_header(model: Path, tmp_path: Path) -> None:
    scans, out = write_scans(tmp_path / "scans", *FORMATS), tmp_path / "out"
    assert main(["segment", *scans, "-o", str(out), "--model", str(model), "--device", "cpu", "--no-picture"]) == 0
    assert json.loads((out / "run.json").read_text())["record"]["done"] == len(FORMATS)
    assert leaks(out) == []


def test_the_hook_that_forbids_sockets_does(tmp_path: Path) -> None:
    hook = textwrap.dedent(OFFLINE).partition("from mapping_stroke")[0]
    attempt = f"{hook}\nimport socket\nsocket.create_connection(('localhost', 9))"
    done = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert "forbidden: socket.getaddrinfo" in done.stderr


def test_a_dicom_mask_alone_carries_the_patients_name(model: Path, tmp_path: Path) -> None:
    write_dicom(tmp_path / "f")
    call = ["segment", str(tmp_path / "f"), "-o", str(tmp_path / "out"), "--model", str(model), "--device", "cpu"]
    assert main([*call, "--dicom-seg", "--no-picture"]) == 0
    assert {leak.partition(":")[0] for leak in leaks(tmp_path / "out")} == {"f_mask.dcm"}
    (tmp_path / "out" / "f_mask.dcm").unlink()
    assert leaks(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["a.nii.gz", "d.mha"])
def test_a_challenge_tells_nothing_of_the_headers(name: str, model: Path, tmp_path: Path) -> None:
    for folder in ("case", "masks", "probabilities"):
        (tmp_path / folder).mkdir()
    FORMATS[name](tmp_path / "case" / name)
    call = ["grand-challenge", "atlas2022", "--scans", str(tmp_path / "case"), "--masks", str(tmp_path / "masks")]
    assert main([*call, "--model", str(model), "--weights", str(tmp_path / "none"), "--device", "cpu"]) == 0
    assert [path.name for path in (tmp_path / "masks").iterdir() if path.suffix != ".json"] == [name]
    assert leaks(tmp_path / "masks") == []


def test_a_bids_derivative_tells_nothing_of_the_headers(model: Path, tmp_path: Path) -> None:
    anat, out = tmp_path / "bids" / "sub-01" / "anat", tmp_path / "out"
    anat.mkdir(parents=True)
    write_nifti(anat / "sub-01_T1w.nii.gz")
    (anat / "sub-01_T1w.json").write_text(json.dumps(PERSON))
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "study 5", "BIDSVersion": "1.8.0"}')
    call = ["bids", str(tmp_path / "bids"), str(out)]
    assert main([*call, "participant", "--model", str(model), "--device", "cpu"]) == 0
    assert main([*call, "group"]) == 0
    assert (out / "group.html").is_file()
    assert leaks(out) == []


@pytest.mark.parametrize(("space", "left"), [("auto", 0.01), pytest.param("native", 0, marks=pytest.mark.slow)])
def test_no_face_is_seen_in_the_pictures_of_a_head(
    space: str, left: float, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn is dark outside of the brain; where its place is known roughly, but for 1 % of the scalp."""
    head = moved_scan(NEAR, stripped=False, axes="LAS")
    write_image(tmp_path / "head.nii.gz", head.voxels, head.affine)
    shown = []

    def draw(scan: Image, *others: object) -> None:
        shown.append(scan)
        draw_segmentation(scan, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "draw_segmentation", draw)
    call = ["segment", str(tmp_path / "head.nii.gz"), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert main([*call, "--device", "cpu", "--space", space]) == 0
    brain = brain_of(head, NEAR).voxels > 0.5
    near = ndimage.binary_dilation(brain, iterations=round(FARTHEST_MM / min(head.spacing_mm)))
    bright = ~near & (head.voxels > SCALP)
    assert bright.sum() > 10_000
    assert (shown[0].voxels[bright] > 0).mean() <= left
    assert (shown[0].voxels[brain] > 0).mean() > 0.9
