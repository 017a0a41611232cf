"""Run the notebooks from top to bottom and keep what they show: `python recipes/notebooks.py [NAME ...]`."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SECONDS_A_CELL = 300


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, run in a kernel of its own that sees the folder it is in.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    # Coalesced: how a text is cut into pieces on its way here is a matter of timing.
    options = {"timeout": SECONDS_A_CELL, "resources": resources, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, **options).execute()
    for cell in notebook.cells:
        # Warnings of libraries name folders of the machine that ran it.
        cell["outputs"] = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
        if cell.cell_type != "code":
            del cell["outputs"]
    return notebook


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            nbformat.write(execute(path), path)
            print(path.name, f"{path.stat().st_size // 1000} kB", flush=True)
