"""Counts of a source tree: modules, lines, functions, comments. Run by `make stats`."""

import ast
import statistics
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import say


def describe_tree(folder: Path) -> str:
    """A row of a Markdown table with the counts of all Python modules below a folder, or `-` if there is none."""
    paths = sorted(path for path in folder.rglob("*.py") if not path.name.startswith("."))
    if not paths:
        return f"| {folder} | - | - | - | - | - |"
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]
    functions = [length for path in paths for length in _function_lengths(path)] or [0]
    comments = sum(_count_comments(path) for path in paths)
    return (
        f"| {folder} | {len(paths)} | {sum(lines)} | {_quantiles(lines)} | {_quantiles(functions)} | "
        f"{100 * comments / max(sum(lines), 1):.1f} |"
    )


def _function_lengths(path: Path) -> list[int]:
    """Lines of the body of each function, without its docstring."""
    lengths = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lengths.append((node.end_lineno or 0) - body[0].lineno + 1 if body else 0)
    return lengths


def _count_comments(path: Path) -> int:
    with path.open("rb") as file:
        return sum(token.type == tokenize.COMMENT for token in tokenize.tokenize(file.readline))


def _quantiles(values: Sequence[int]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):g} / {ordered[int(0.9 * (len(ordered) - 1))]} / {ordered[-1]}"


if __name__ == "__main__":
    say("| folder | modules | lines | module: median / 90 % / longest | function: the same | comments per 100 lines |")
    say("|---|---:|---:|---|---|---:|")
    for name in sys.argv[1:] or ("src", "benchmarks", "tests"):
        say(describe_tree(Path(name)))
