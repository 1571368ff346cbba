"""The site: `make docs` writes it to build/docs, from these pages and docs/reference.py."""

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
nitpicky = True  # a link inside the site that leads nowhere is a warning, and those are errors
suppress_warnings = ["toc.empty_glob"]  # places are left for pages that do not exist yet


def setup(app):
    app.connect("builder-inited", lambda app: reference.write(HERE / "reference"))
