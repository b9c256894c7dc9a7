"""What the documentation says exists: links, commands, make targets; and its Python runs."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from benchmarks.__main__ import BENCHMARKS
from mapping_stroke import cli
from mapping_stroke.training.schemes import CONTAINER_SCHEMES, SCHEMES, SIZES

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND_NAMES = {cli.command_name(command) for command in cli.COMMANDS}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines(page: Path) -> list[list[str]]:
    """The arguments of every `mapping ...` line in the page's shell blocks."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0] in ("mapping", ".venv/bin/mapping")]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    ("page", "arguments"),
    [pytest.param(page, line, id=f"{name(page)}: {' '.join(line)}") for page in PAGES for line in command_lines(page)],
)
def test_commands_in_shell_blocks_are_understood(
    page: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--help" in arguments:
        assert set(arguments[:-1]) <= COMMAND_NAMES
        return
    for command in cli.COMMANDS:
        monkeypatch.setattr(command, "run", lambda _: 0)
    assert cli.main(arguments) == 0, f"{page}: mapping {shlex.join(arguments)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_targets_named_in_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert set(re.findall(r"`mapping ([a-z][a-z-]*)", text)) <= COMMAND_NAMES
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_blocks_run_one_after_the_other(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, name(page), "exec"), names)


def test_every_command_has_its_section_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^## `mapping ([a-z-]+)`", text, re.MULTILINE) == [
        cli.command_name(command) for command in cli.COMMANDS
    ]


def described_calls() -> dict[str, type]:
    """Every command, and every action of a command that has several, by what one types."""
    calls: dict[str, type] = {}
    for command in cli.COMMANDS:
        name, hints = f"mapping {cli.command_name(command)}", get_type_hints(command)
        calls |= {f"{name} {cli.command_name(action)}": action for action in get_args(hints.get("action"))}
        if "action" not in hints:
            calls[name] = command
    return calls | {f"{BENCHMARKS.name} {cli.command_name(stage)}": stage for stage in BENCHMARKS.commands or ()}


def argument_names(command: type) -> set[str]:
    """The arguments, with those of settings inside settings."""
    names: set[str] = set()
    for name, hint in get_type_hints(command).items():
        names |= argument_names(hint) if dataclasses.is_dataclass(hint) else {name}
    return names


@pytest.mark.parametrize(("call", "command"), described_calls().items(), ids=described_calls())
def test_the_reference_names_every_argument_and_no_other(call: str, command: type) -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    section = re.split(r"^##", text.partition(f"## `{call}`\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = set(re.findall(r"^\| (`--[a-z-]+`|[A-Z_]+)", section, re.MULTILINE))
    options = {f"`--{name.rstrip('_').replace('_', '-')}`" for name in argument_names(command)}
    positional = {name.upper() for name in argument_names(command)}
    assert len(rows) == len(options)
    assert rows <= options | positional


def test_the_tables_of_schemes_and_sizes_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "reference" / "schemes.md").read_text(encoding="utf-8")
    container = {scheme.name: scheme for scheme in CONTAINER_SCHEMES}
    for scheme in SCHEMES:
        assert re.search(
            rf"^\| `{scheme.name}` \| {scheme.encoder} \|.*\| {scheme.full_epochs}\b.*\|$", text, re.MULTILINE
        )
        if container[scheme.name].full_epochs != scheme.full_epochs:
            assert f"{scheme.full_epochs} (container: {container[scheme.name].full_epochs})" in text
    sizes = [SIZES[name] for name in SIZES]
    for name, cells in {
        "voxels": [f"{size.preprocess.spacing_mm:g} mm" for size in sizes],
        "patch, voxels": [" x ".join(map(str, size.patch)) for size in sizes],
        "features, plain": [" ".join(map(str, size.plain.features)) for size in sizes],
        "features, residual": [" ".join(map(str, size.residual.features)) for size in sizes],
        "residual blocks": [" ".join(map(str, size.residual.depths)) for size in sizes],
        "epochs": ["the scheme's own" if size.epochs is None else str(size.epochs) for size in sizes],
        "steps per epoch": [str(size.steps_per_epoch) for size in sizes],
        "validation steps per epoch": [str(size.validation_steps) for size in sizes],
        "learning rate": [str(size.learning_rate) for size in sizes],
        "hardest voxels of `dice+topk10`": [f"{size.topk_share:.0%}".replace("%", " %") for size in sizes],
    }.items():
        assert f"| {name} | {' | '.join(cells)} |" in text
