"""The notebooks in docs/notebooks run from their first cell to their last, and hold no outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from unmask.kinds.registry import KINDS

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_every_kind_has_one():
    own = {name for name, kind in KINDS.items() if kind.__module__.startswith("unmask.")}
    assert {path.stem for path in BOOKS} == own  # other tests may add kinds of theirs


@pytest.mark.parametrize("path", BOOKS, ids=[path.stem for path in BOOKS])
def test_they_run_and_show_what_they_say(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert path.stat().st_size < 10_000
    where = {"resources": {"metadata": {"path": str(tmp_path)}}}
    NotebookClient(book, timeout=120, kernel_name="python3", **where).execute()
    pages = [
        output.data.get("text/html", "")
        for cell in code
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(pages) >= 4  # what was prepared, the bound, samples, what was filled in
    assert any("nats per example" in page for page in pages)
    assert sum("<pre>" in page or "<img" in page or "<td>" in page for page in pages) >= 3
