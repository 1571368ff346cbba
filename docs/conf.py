"""The site: `make docs` writes it to build/docs, from these pages and docs/reference.py."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference  # noqa: E402

import unmask  # noqa: E402

project, version = "unmask", unmask.__version__
extensions = ["myst_parser"]
exclude_patterns = ["*.py"]
html_theme = "furo"
html_title = f"unmask {version}"
html_show_copyright = html_show_sphinx = html_copy_source = False
myst_heading_anchors = 4
smartquotes = False  # of flags and code in words
nitpicky = True  # a link inside the site that leads nowhere is a warning, and those are errors


def name_files(app, page, source):
    """Of a link to what lies beside docs/, the words and the path: the site has no such file."""
    beside = re.compile(r"\[([^\]]*)\]\(\.\./([^)]*)\)")
    if not page.startswith("reference/"):
        source[0] = beside.sub(r"\1 (`\2`)", source[0])


def keep_places(app, page, source):
    """Of the index, without the places that are left for pages that there are not."""
    if page == "index":
        lines = source[0].splitlines()
        kept = (line for line in lines if line[-1:] != "*" or any(HERE.glob(f"{line}.md")))
        source[0] = "\n".join(kept)


def setup(app):
    app.connect("builder-inited", lambda app: reference.write(HERE / "reference"))
    app.connect("source-read", name_files)
    app.connect("source-read", keep_places)
