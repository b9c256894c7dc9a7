"""How reports begin."""

import pytest

from mapping_stroke.benchmarks import heading
from mapping_stroke.benchmarks.heading import describe_head

MACHINE = {"processor": "Abacus", "cores": "7", "gpu": "Beads"}


def test_title_machine_versions_and_command_stand_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: MACHINE)
    title, _, facts, command, last = describe_head("Work", "mapping bench work", ("numpy",), share="1 of ")
    assert title == "# Work"
    assert ", Abacus, 1 of 7 cores, " in facts
    assert ", mapping-stroke " in facts and ", numpy " in facts  # noqa: PT018 - one line of facts
    assert command == "Command: `mapping bench work`."
    assert last == ""


def test_a_gpu_is_named_where_it_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heading, "describe_environment", lambda: MACHINE)
    facts = describe_head("Work", "mapping bench work", (), device="cuda", others="another program 2")[2]
    assert ", Beads, " in facts
    assert facts.endswith("; another program 2.")
