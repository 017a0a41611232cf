"""The notebooks run from top to bottom, show what they say they show, and use what anybody may use."""

import ast
import importlib
from pathlib import Path

import nbformat
import pytest

from recipes.notebooks import execute

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows: names of streams and types of data."""
    return [output.get("name") or sorted(output.data) for output in cell.outputs]


def test_there_are_five():
    assert [path.stem for path in NOTEBOOKS] == [
        "1-learn-an-edit",
        "2-combine-edits",
        "3-how-it-works",
        "4-bring-your-own-editor",
        "5-edit-by-example",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_was_kept_with(path):
    kept, fresh = nbformat.read(path, as_version=4), execute(path)
    assert [cell.execution_count for cell in code_cells(kept)] == list(range(1, len(code_cells(kept)) + 1))
    assert any("text/html" in kind for cell in code_cells(kept) for kind in kinds(cell))
    for before, after in zip(code_cells(kept), code_cells(fresh), strict=True):
        assert kinds(before) == kinds(after), "run python recipes/notebooks.py\n" + before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_uses_public_names_only(path):
    tree = ast.parse("\n".join(cell.source for cell in code_cells(nbformat.read(path, as_version=4))))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "vii":
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert not alias.name.startswith("_")
                assert alias.name in getattr(module, "__all__", dir(module)), f"{node.module}.{alias.name}"
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__"), node.attr
            if isinstance(node.value, ast.Name) and node.value.id == "vii":
                assert node.attr == "__file__" or node.attr in importlib.import_module("vii").__all__
