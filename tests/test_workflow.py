"""The Snakemake workflow calls commands that exist, in the right order; where Snakemake is installed, it runs."""

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from mapping_stroke import cli
from mapping_stroke.training.schemes import SCHEMES
from phantoms import write_phantoms

WORKFLOW = Path(__file__).resolve().parents[1] / "workflow"
SNAKEFILE = (WORKFLOW / "Snakefile").read_text(encoding="utf-8")
CONFIG = yaml.safe_load((WORKFLOW / "config.yaml").read_text(encoding="utf-8"))
STAGES = ["prepare", "folds", "train", "train", "predict", "postprocess", "evaluate", "report"]


def filled_in(command: str) -> list[str]:
    """The arguments of a rule's `mapping` command, with settings and wildcards in their places."""
    values = {name: str(value) for name, value in CONFIG.items()} | {"data": "data", "number": "5"}
    values |= {flag.replace("-", "_"): f"--{flag}" for flag in re.findall(r'=flag\("([a-z-]+)"\)', SNAKEFILE)}
    options = re.findall(r'=option\("([a-z-]+)"\)', SNAKEFILE)
    values |= {name.replace("-", "_"): f"--{name} 0.75" for name in options}
    command = re.sub(r"\{params\.([a-z_]+)(?::q)?\}", lambda found: values[found[1]], command.partition("&>")[0])
    command = (
        command.replace("{RUN:q}", "run").replace("{wildcards.scheme}", "default").replace("{wildcards.fold}", "0")
    )
    return shlex.split(command.removeprefix("{MAPPING} "))


COMMANDS = [
    filled_in("".join(re.findall(r'"(.*)"', block))) for block in re.findall(r'shell:\n((?:\s+".*"\n)+)', SNAKEFILE)
]


def test_every_stage_has_its_rule_in_order() -> None:
    assert [arguments[0] for arguments in COMMANDS] == STAGES


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_are_understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for command in cli.COMMANDS:
        monkeypatch.setattr(command, "run", lambda _: 0)
    assert cli.main(arguments) == 0


def test_the_settings_name_every_scheme_in_its_list() -> None:
    assert CONFIG["schemes"] == [scheme.name for scheme in SCHEMES if not scheme.pseudo_labels]
    assert CONFIG["pseudo_label_schemes"] == [scheme.name for scheme in SCHEMES if scheme.pseudo_labels]


@pytest.fixture
def snakemake() -> str:
    found = shutil.which("snakemake") or shutil.which("snakemake", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("Snakemake is not installed (pip install 'mapping-stroke[workflow]')")
    return found


def call(snakemake: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow on phantoms, with a space in the names of their folder and of the run's."""
    write_phantoms(folder / "the data", labelled=4)
    settings = [f"data={folder / 'the data'}", "run=the run", "size=tiny", "folds=2", "gpus=0", "train_threads=1"]
    command = [snakemake, "--snakefile", str(WORKFLOW / "Snakefile"), "--cores", "2", *arguments]
    mapping = Path(sys.executable).with_name("mapping")
    whole = [*command, "--config", *settings, f"mapping={mapping}"]
    return subprocess.run(whole, cwd=folder, capture_output=True, text=True, check=False)


def test_each_member_is_a_job(snakemake: str, tmp_path: Path) -> None:
    planned = call(snakemake, tmp_path, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    rules = Counter(re.findall(r"^(?:local)?rule (\w+):", planned.stdout + planned.stderr, re.MULTILINE))
    assert rules == Counter({"train": 8, "all": 1} | dict.fromkeys({*STAGES, "arrays"} - {"train"}, 1))


@pytest.mark.slow
def test_the_workflow_runs_and_has_nothing_left_to_do(snakemake: str, tmp_path: Path) -> None:
    done = call(snakemake, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "the run" / "report" / "index.html").is_file()
    assert len(list((tmp_path / "the run" / "train").glob("*/fold_*/weights.safetensors"))) == 8
    assert "Nothing to be done" in call(snakemake, tmp_path, "--dry-run").stderr
