"""Processes that fill one folder: locks, claims, who may replace or remove what, and what each says at the end."""

import errno
import fcntl
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cohort_runs import BROKEN, compare_ways
from mapping_stroke.cli import main
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.shared_folder import SharedFolder, shared
from mapping_stroke.errors import CaseError, RunFolderError
from mapping_stroke.images.image import write_image
from mapping_stroke.processes import try_lock
from mapping_stroke.run_folder import SHARING, read_identity
from phantoms import AFFINE, phantom
from small_models import write_seeing_model

IDENTITY = {"kind": "segment", "model_sha256": "a"}


def leave_behind(path: Path, begin: str) -> None:
    """Have another process run code with `path`, and be killed."""
    code = f"""
        import os, signal
        from pathlib import Path
        from mapping_stroke.processes import try_lock
        from mapping_stroke.cohort.shared_folder import SharedFolder
        path = Path({str(path)!r})
        {begin}
        os.kill(os.getpid(), signal.SIGKILL)
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)


def test_a_lock_is_had_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    lock = try_lock(tmp_path / "deep" / "a.lock")
    assert lock is not None
    assert lock.known
    assert try_lock(tmp_path / "deep" / "a.lock") is None
    other = try_lock(tmp_path / "deep" / "b.lock")
    assert other is not None
    lock.release()
    other.release()
    assert list((tmp_path / "deep").iterdir()) == []
    again = try_lock(tmp_path / "deep" / "a.lock")
    assert again is not None
    again.release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    leave_behind(tmp_path / "a.lock", "lock = try_lock(path)")
    assert (tmp_path / "a.lock").exists()
    lock = try_lock(tmp_path / "a.lock")
    assert lock is not None
    lock.release()


def test_a_lock_whose_file_was_just_removed_is_not_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock

    def remove_first(file: Any, how: int) -> None:
        (tmp_path / "a.lock").unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    assert try_lock(tmp_path / "a.lock") is None


def test_on_a_disk_without_locks_everybody_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch)
    one, other = SharedFolder(tmp_path), SharedFolder(tmp_path)
    for folder in (one, other):
        with folder.exclusive():
            folder.join()
        assert not folder.knows_locks
        assert folder.has_others() == (folder is other)
        assert folder.claim("a")
    assert one.has_others()
    one.leave()
    other.leave()
    assert not (tmp_path / SHARING).exists()


def test_a_lock_s_file_may_stay_where_another_process_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "The process cannot access the file")

    without_locks(monkeypatch)
    lock = try_lock(tmp_path / "a.lock")
    assert lock is not None
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        lock.release()
    assert lock.file.closed
    again = try_lock(tmp_path / "a.lock")
    assert again is not None
    again.release()
    assert list(tmp_path.iterdir()) == []


def test_a_case_is_in_one_hand_and_free_when_that_is_killed(tmp_path: Path) -> None:
    one, other = SharedFolder(tmp_path), SharedFolder(tmp_path)
    assert one.claim("a")
    assert not other.claim("a")
    assert other.claim("b")
    one.release("a")
    one.release("never taken")
    assert other.claim("a")
    one.leave()
    other.leave()
    leave_behind(tmp_path, 'folder = SharedFolder(path); folder.join(); folder.claim("a")')
    assert not one.has_others()
    assert one.claim("a")
    one.leave()
    assert not (tmp_path / SHARING).exists()


def test_work_that_others_are_at_is_joined_but_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with shared(out, IDENTITY, ("*_mask.nii.gz",)) as first:
        (out / "a_mask.nii.gz").touch()
        with shared(out, IDENTITY, ("*_mask.nii.gz",)):
            assert first.has_others()
        assert not first.has_others()
        with (
            pytest.raises(RunFolderError, match="another process is working there; wait until it has finished"),
            shared(out, {**IDENTITY, "model_sha256": "b"}, ("*_mask.nii.gz",), overwrite=True),
        ):
            pass
        assert (out / "a_mask.nii.gz").exists()
    with shared(out, {**IDENTITY, "model_sha256": "b"}, ("*_mask.nii.gz",), overwrite=True):
        assert not (out / "a_mask.nii.gz").exists()
    assert read_identity(out)["model_sha256"] == "b"
    assert [path.name for path in out.iterdir()] == ["run.json"]


def test_a_failure_removes_what_was_begun_unless_others_are_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    other = SharedFolder(out)

    def fail() -> None:
        (out / "a_mask.nii.gz").touch()
        raise CaseError("the only scan is damaged")

    def fail_beside_another() -> None:
        other.join()
        fail()

    for work, stays in ((fail, set()), (fail_beside_another, {"a_mask.nii.gz", "run.json", SHARING})):
        with pytest.raises(CaseError), shared(out, IDENTITY, ("*_mask.nii.gz",)):
            work()
        assert {path.name for path in out.glob("*")} == stays
    other.leave()


def test_a_folder_of_other_files_is_refused_and_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis_mask.nii.gz").touch()
    with pytest.raises(RunFolderError, match="holds files that no run"), shared(tmp_path, IDENTITY, ("*_mask.nii.gz",)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis_mask.nii.gz"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for number in range(3):
        write_image(tmp_path / "scans" / f"p{number}.nii", phantom(number)[0], AFFINE)
    return tmp_path / "scans"


def segment(model: Path, scans: Path, out: Path) -> int:
    return main(["segment", str(scans), "-o", str(out), "--model", str(model), "--device", "cpu", "--no-picture"])


def record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "run.json").read_text())["record"])


def test_scans_in_other_hands_are_left_to_them(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    other = SharedFolder(out)
    other.join()
    for name in ("p0", "p2"):
        other.claim(name)
    assert segment(model, scans, out) == 0
    assert {name: entry["status"] for name, entry in record(out)["scans"].items()} == {
        "p0": "skipped",
        "p1": "done",
        "p2": "skipped",
    }
    assert record(out)["scans"]["p0"] == {"status": "skipped", "why": "being processed by another process"}
    assert (record(out)["status"], record(out)["computed"], record(out)["skipped"]) == ("running", 1, 2)
    assert "2 scans are being processed elsewhere (p0, p2); rerun this command to see" in capsys.readouterr().out
    other.release("p0")
    assert segment(model, scans, out) == 0
    other.leave()
    assert segment(model, scans, out) == 0
    assert (record(out)["status"], record(out)["done"], record(out)["skipped"]) == ("done", 3, 0)
    assert not (out / SHARING).exists()


def test_what_another_process_does_meanwhile_is_not_done_again(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    assert segment(model, scans, elsewhere) == 0
    real = SharedFolder.claim

    def claim(self: SharedFolder, name: str) -> bool:
        if name == "p1":
            for file in elsewhere.glob("p1*"):
                file.rename(out / file.name)
        if name == "p2" and not Notes(FlatLayout(out)).failures():
            Notes(FlatLayout(out)).note_failure("p2", scans / "p2.nii", "the disk was unplugged")
        return real(self, name)

    monkeypatch.setattr(SharedFolder, "claim", claim)
    assert segment(model, scans, out) == 3
    told = record(out)
    assert (told["computed"], told["done"], told["failed"]) == (1, 2, 1)
    assert told["scans"]["p2"]["error"] == "the disk was unplugged"
    assert "1 scan was done by other processes in the meantime" in capsys.readouterr().out
    assert segment(model, scans, out) == 0  # a failure of before is tried again
    assert record(out)["failed"] == 0


def test_on_a_disk_without_locks_others_are_told_of(
    model: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_locks(monkeypatch)
    out = tmp_path / "out"
    assert segment(model, scans, out) == 0
    assert "has no file locks" not in capsys.readouterr().err
    other = SharedFolder(out)
    other.join()
    assert segment(model, scans, out) == 0
    other.leave()
    assert "this disk has no file locks" in " ".join(capsys.readouterr().err.split())
    assert record(out)["done"] == 3


@pytest.mark.slow
def test_a_cohort_killed_and_shared_is_the_same_as_undisturbed(tmp_path: Path) -> None:
    """200 scans, 10 of them broken: in one go; killed and started again twice; by two processes; both."""
    outcomes = compare_ways(tmp_path, 200)
    for outcome in outcomes:
        assert outcome.files == 4 * (200 - len(BROKEN)) + 1, outcome  # and the table of the cohort
        assert outcome.same, outcome
        assert outcome.told_same, outcome
        assert outcome.leftovers == (), outcome
    assert [outcome.by_survivors for outcome in outcomes if not outcome.way.kills] == [190, 190]
