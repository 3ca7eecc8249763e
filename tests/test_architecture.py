"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support import ROOT

PACKAGE = ROOT / "lenspipe"
SOURCES = sorted(PACKAGE.rglob("*.py"))
#: Lowest first; folders of one line are siblings that do not import each other.
LAYERS = [
    {"core"},
    {"config", "io", "imaging", "lensing"},
    {"simulate", "networks"},
    {"training", "report", "catalog", "refine"},
    {"stages"},
    {"pipeline"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(tree: ast.AST) -> set[str]:
    modules = []
    for node in ast.walk(tree):  # also imports inside functions
        if isinstance(node, ast.ImportFrom) and node.module:
            modules += (
                [node.module] if node.module != "lenspipe" else [f"lenspipe.{n.name}" for n in node.names]
            )
        elif isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
    parts = {module.split(".")[1] for module in modules if module.startswith("lenspipe.")}
    return parts & set(LEVEL)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_source_file_keeps_the_rules(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400, "one subject a file"
    assert ast.get_docstring(tree), "a file says what it is for"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} needs a docstring"
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec"}, "never on anyone's text"
    mine = part_of(path)
    if mine in LEVEL:
        for other in imported_parts(tree) - {mine}:
            assert LEVEL[other] < LEVEL[mine], f"{mine} must not import {other}: imports go downwards"


def test_no_two_files_import_each_other():
    modules = {
        "lenspipe." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in SOURCES
    }
    modules |= {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imports = {}
    for path in SOURCES:
        names = set()
        for node in ast.walk(ast.parse(path.read_text())):  # also imports inside functions
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= inner if inner <= set(modules) else {node.module}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        imports[path] = {modules[name] for name in names & set(modules)}
    TopologicalSorter(imports).prepare()  # CycleError names the files


def test_every_module_has_its_test():
    tests = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    covered_elsewhere = {
        "core/types.py": "data only",
        "config/base.py": "test_config",
        "config/recipe.py": "test_config",
        "config/sections.py": "test_config",
        "config/simulation.py": "test_config",
        "config/slip.py": "test_config",
        "cli/about.py": "test_cli",
        "cli/options.py": "test_cli",
        "cli/science.py": "test_cli",
        "cli/search.py": "test_cli",
        "cli/figure.py": "test_end_to_end",
        "cli/grading.py": "test_end_to_end",
        "stages/figures.py": "test_end_to_end",
        "report/data.py": "data only",
        "stages/catalog.py": "test_end_to_end",
        "stages/report.py": "test_end_to_end and test_cli",
        "stages/simulate.py": "test_cli and test_end_to_end",
        "stages/train.py": "test_cli and test_end_to_end",
        "stages/evaluate.py": "test_cli",
        "stages/predict.py": "test_cli",
        "stages/stamps.py": "test_cli and test_realdata",
        "stages/search.py": "test_pieces and test_ingest",
        "pipeline/record.py": "test_runner",
        "simulate/make_colours.py": "run by hand; its table is tested in test_colours",
        "training/worker.py": "test_fit",
        "training/checkpoint.py": "test_fit",
        "networks/assemble.py": "test_classifier",
        "lensing/coordinates.py": "test_sie",
        "io/formats.py": "test_tables",
        "report/views.py": "test_html",
        "report/stamps.py": "test_figures",
    }
    names = {path.relative_to(PACKAGE).as_posix() for path in SOURCES}
    assert set(covered_elsewhere) <= names, "an exemption whose file is gone"
    for path in SOURCES:
        name = path.relative_to(PACKAGE).as_posix()
        if path.name == "__init__.py" or name in covered_elsewhere:
            continue
        folder, _, file = name.rpartition("/")
        assert f"{folder}/test_{file}".lstrip("/") in tests, f"{name} has no test of its own"


def test_no_address_and_no_path_of_a_machine_is_committed():
    # spelt so that this file does not match itself
    forbidden = re.compile(
        r"(^|[^.\w])/(wor[k]|far[m]|tm[p])/|://[a-z.]*(p[y]pi|python[h]osted)\.", re.MULTILINE
    )
    for pattern in ("*.toml", "*.txt", "*.md", "Makefile", ".ci/run", "lenspipe/**/*.py", "tests/**/*.py"):
        for path in ROOT.glob(pattern):
            assert not forbidden.search(path.read_text()), path


def test_constraints_are_plain():
    line = re.compile(r'[A-Za-z0-9_.\-]+==[A-Za-z0-9_.+\-]+(; python_version (<|>=) "3\.\d+")?')
    for text in (ROOT / "constraints.txt").read_text().splitlines():
        assert text.startswith("#") or line.fullmatch(text), text
