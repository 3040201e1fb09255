"""Mutation testing: make small changes in emotify, and count the changes that no test notices.

`python tests/mutation.py` or `just mutants` samples changes of the files below, which protect the files of users. Each
change is made in a copy of the repository. There the tests of that file run until one of them fails.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

REPO: Final = Path(__file__).parent.parent
_OUTPUTS: Final = [
    *("tests/prediction/test_outputs.py", "tests/prediction/test_broken_outputs.py"),
    "-k not export and not explanations and not written_files_are_reported",  # without slow tests
]
_RUNS: Final = [f"tests/training/test_{name}.py" for name in ("crowd", "foreign_runs", "device", "loop")]
_MODELS: Final = ["tests/onnx_runtime/test_cost.py", "tests/onnx_runtime/test_safety.py"]
# The tests of each file, the quickest first.
TARGETS: Final = {
    "emotify/files.py": ["tests/test_files.py", *_OUTPUTS],
    "emotify/pictures/reading.py": ["tests/pictures/test_reading.py", "tests/pictures/test_hostile.py"],
    "emotify/pictures/decoding.py": ["tests/pictures"],
    "emotify/prediction/outputs/lines.py": _OUTPUTS,
    "emotify/prediction/outputs/table.py": _OUTPUTS,
    "emotify/prediction/outputs/parquet.py": _OUTPUTS,
    "emotify/prediction/outputs/copies.py": ["tests/prediction/test_annotated.py"],
    "emotify/prediction/outputs/clips.py": ["tests/prediction/test_video.py"],
    "emotify/onnx_runtime/safety.py": _MODELS[::-1],
    "emotify/onnx_runtime/cost.py": _MODELS,
    "emotify/training/checkpoint.py": _RUNS,
    "emotify/training/run_folder.py": [
        *_RUNS,
        "tests/networks/test_pretrained.py::test_a_run_records_its_weights_and_resumes_without_the_package",
    ],
}
_SWAPS: Final[dict[type[ast.AST], tuple[type[ast.AST], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Add,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.BitOr: (ast.BitAnd,), ast.BitAnd: (ast.BitOr,),
    ast.Break: (ast.Continue,), ast.Continue: (ast.Break,),
}  # fmt: skip
_NO_CODE: Final = {"annotation", "returns", "decorator_list"}
_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "EMOTIFY_FUZZ": "20", "EMOTIFY_LOAD": "200"}


class Mutant(NamedTuple):
    """A file with one change, with the line and a description of the change."""

    line: int
    change: str
    source: str


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield syntax nodes that can replace a node and change its meaning."""
    for other in _SWAPS.get(type(node), ()):
        yield other()
    match node:
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value) if value and " " not in value:  # a key, a mode or a status
            yield ast.Constant("")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Raise():
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and not value.value):
            yield ast.Return(ast.Constant(None))
        case ast.If() | ast.While() | ast.IfExp() if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            negated = {**dict(ast.iter_fields(node)), "test": ast.UnaryOp(ast.Not(), node.test)}
            yield type(node)(**negated)


def _is_skipped(node: ast.AST) -> bool:
    """Return whether a node is skipped: code for other systems, imports of types, and messages."""
    if isinstance(node, ast.If):
        return any(word in ast.unparse(node.test) for word in ("win32", "TYPE_CHECKING"))
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) == "Literal"
    return isinstance(node, ast.JoinedStr) or "__all__" in ast.unparse(node)[:7]


def mutants(tree: ast.Module) -> list[Mutant]:
    """Return every changed version of a module."""
    found: list[Mutant] = []

    def walk(parent: ast.AST, line: int) -> None:
        for field, value in ast.iter_fields(parent):
            if field in _NO_CODE:
                continue
            for place, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST) or _is_skipped(child):
                    continue
                here = getattr(child, "lineno", line)
                for new in changed(child):
                    _put(parent, field, place, new)
                    change = f"{_shown(child)} -> {_shown(new)}"
                    found.append(Mutant(here, change, ast.unparse(ast.fix_missing_locations(tree))))
                    _put(parent, field, place, child)
                walk(child, here)

    walk(tree, 1)
    return found


def _put(parent: ast.AST, field: str, place: int, node: ast.AST) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[place] = node
    else:
        setattr(parent, field, node)


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node).partition("\n")[0] if isinstance(node, ast.stmt | ast.expr) else type(node).__name__
    return text if len(text) < 60 else f"{text[:57]}..."


def run_tests(copy: Path, tests: Sequence[str], limit: float | None = None) -> tuple[str, float]:
    """Run tests in a copy of the repository; return the outcome, such as `passed`, and the seconds."""
    words = ["-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    environment = {"EMOTIFY_SHARED": str(REPO.parent / "shared"), **os.environ, **_ENVIRONMENT, "PYTHONPATH": str(copy)}
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=copy,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return "took too long", time.monotonic() - begun
    return {0: "passed", 1: "failed", 2: "failed"}.get(code, f"ended with {code}"), time.monotonic() - begun


def measure(copy: Path, name: str, sample: Sequence[Mutant]) -> list[Mutant]:
    """Return the mutants of a file that no test notices."""
    how, seconds = run_tests(copy, TARGETS[name])
    if how != "passed":
        sys.exit(f"the tests of {name} end with '{how}' before any change; fix them first")
    path, lived = copy / name, []
    source = path.read_bytes()
    for mutant in sample:
        path.write_text(mutant.source, encoding="utf-8")
        if run_tests(copy, TARGETS[name], limit=2 * seconds + 30)[0] == "passed":
            lived.append(mutant)
            print(f"  lives: {name}:{mutant.line}: {mutant.change}", flush=True)
    path.write_bytes(source)
    return lived


def _row(name: str, there: int, tried: int, killed: int) -> str:
    return f"{name:40} {there:8} {tried:6} {killed:6} {killed / tried:6.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="files to change, from the list above; default: all")
    parser.add_argument("--number", type=int, default=12, help="mutants per file; 0 for all; default: 12")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the sample; default: 0")
    options = parser.parse_args()
    os.nice(10)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core, also for the tests
    rows: list[tuple[int, int, int]] = []
    print(f"{'file':40} {'mutants':>8} {'tried':>6} {'killed':>6} {'score':>6}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=REPO, stdout=-1, check=True)
        subprocess.run(["cp", "--parents", *files.stdout.decode().split("\0")[:-1], str(copy)], cwd=REPO, check=True)
        for name in options.files or TARGETS:
            everything = mutants(ast.parse((copy / name).read_text(encoding="utf-8")))
            number = min(options.number or len(everything), len(everything))
            lived = measure(copy, name, random.Random(f"{options.seed} {name}").sample(everything, number))
            rows.append((len(everything), number, number - len(lived)))
            print(_row(name, *rows[-1]), flush=True)
    print(_row("all", sum(row[0] for row in rows), sum(row[1] for row in rows), sum(row[2] for row in rows)))


if __name__ == "__main__":
    main()
