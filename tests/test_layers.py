"""The import order of the packages: each imports only packages before it in this list."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import emotify

PACKAGE = Path(emotify.__file__).parent
ORDER = (
    "errors", "stopping", "waiting", "emotions", "palette", "arrays", "files", "paths", "choices", "settings",
    "machine", "runs", "opening", "words", "stderr", "pictures", "data", "evaluation", "ensembling",
    "onnx_runtime", "networks", "exporting", "training", "detection", "prediction", "engines", "reports", "cli",
    "__init__", "__main__",
)  # fmt: skip


def imported_by(path: Path) -> set[str]:
    """Return the parts of emotify that a file imports, including imports inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emotify."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("emotify.")}
    return found


def part_of(path: Path) -> str:
    """Return the part of emotify that a file belongs to: its top folder or module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_part_imports_only_parts_before_it():
    """There are no import cycles, and no part imports a later one."""
    for path in sorted(PACKAGE.rglob("*.py")):
        place = ORDER.index(part_of(path))
        above = {name for name in imported_by(path) - {part_of(path)} if ORDER.index(name) >= place}
        assert not above, (path.relative_to(PACKAGE).as_posix(), above)


def module_of(path: Path) -> str:
    """Return the name of the module in a file, such as `emotify.prediction.results`."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_no_modules_import_each_other():
    """This includes imports inside functions, imports for types alone, and circles of several modules."""
    files = {module_of(path): path for path in PACKAGE.rglob("*.py")}
    imports: dict[str, set[str]] = {}
    for module, path in files.items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom):
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in files else str(node.module) for name in members}
        imports[module] = names & files.keys()
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules of a circle


def test_the_list_has_every_part():
    """Every package and module is in the list."""
    assert {part_of(path) for path in PACKAGE.rglob("*.py")} == set(ORDER)


def test_the_documented_table_of_packages_equals_the_list():
    """The table in docs/development.md has the same parts in the same order."""
    page = (PACKAGE.parent / "docs" / "development.md").read_text(encoding="utf-8")
    table = page[page.index("| folder | what it does |") :].partition("\n\n")[0]
    cells = [row.split("|")[1].strip() for row in table.splitlines()[2:]]
    assert tuple(name for cell in cells for name in cell.strip("`").split()) == ORDER[:-2]
