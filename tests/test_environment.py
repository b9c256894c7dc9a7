"""What a result was computed with."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mapping_stroke import environment


def test_every_package_that_can_move_a_result_is_named_with_its_version() -> None:
    facts = environment.describe_environment()
    assert set(environment.PACKAGES) < set(facts)
    assert facts["torch"].startswith("2.")
    assert facts["mapping-stroke"] != "not installed"
    assert int(facts["cores"]) >= 1
    assert all(isinstance(value, str) and value for value in facts.values())


def test_a_package_that_is_absent_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-package",))
    assert environment.describe_environment()["no-such-package"] == "not installed"


def test_gpus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(environment, "may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    assert environment.describe_environment()["gpu"] == "card 0, card 1"


def test_no_gpu_is_looked_for_where_none_is_used() -> None:
    assert "gpu" not in environment.describe_environment(gpu=False)


def git(folder: Path, *arguments: str) -> None:
    owner = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *owner, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a program in it."""
    monkeypatch.setattr(environment, "PROGRAM", tmp_path)
    environment.find_commit.cache_clear()
    (tmp_path / "environment.py").write_text("1\n")
    git(tmp_path, "init")
    git(tmp_path, "add", "environment.py")
    git(tmp_path, "commit", "-m", "Begin")
    yield tmp_path
    environment.find_commit.cache_clear()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_a_program_in_a_checkout_tells_its_commit(checkout: Path) -> None:
    commit = environment.find_commit()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (checkout / "environment.py").write_text("2\n")
    environment.find_commit.cache_clear()
    assert environment.find_commit() == f"{commit} (modified)"


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_an_installed_program_tells_no_commit_of_the_repository_around_it(checkout: Path) -> None:
    git(checkout, "rm", "--cached", "environment.py")
    assert environment.find_commit() == "none"


def test_no_git_means_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    environment.find_commit.cache_clear()
    try:
        assert environment.find_commit() == "none"
    finally:
        environment.find_commit.cache_clear()


def test_peak_memory_is_told_in_bytes() -> None:
    code = (
        "from mapping_stroke.environment import peak_memory_bytes\n"
        "before = peak_memory_bytes()\n"
        "held = bytearray(before + 300_000_000)\n"
        "del held\n"
        "assert 300_000_000 < peak_memory_bytes() - before < 450_000_000"
    )
    # a process starts with the peak of its parent, which is small for a program that only starts another
    start = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
    subprocess.run([sys.executable, "-c", start, code], check=True)
