"""What the README shows, runs, and what it says of the demo and the tree is true."""

import re

from pages import ROOT, page_of, run_page
from test_pages import SMALL, text

from unmask.kinds.registry import presets

README = ROOT / "README.md"


def test_what_it_shows_runs_and_learns(tmp_path):
    text(tmp_path)
    said = run_page("README.md", tmp_path, SMALL | {"run --num 2": "run --num 2 --steps 8"})
    value, noise = (
        float(v) for v in re.search(r"at most ([\d.]+) \+- ([\d.]+) nats", said).groups()
    )
    assert 3.29 - 6 * noise < value < 10  # the untrained network pays 32 log 27 = 105 nats
    assert "tensor(" in said and "bits per byte: an upper bound" in said and "To be, or " in said


def test_the_tree_names_files_that_exist():
    tree = re.findall(r"(\w+\.py)", page_of("inside.md").read_text(encoding="utf-8"))
    assert len(tree) > 50
    there = {
        path.name for folder in ("src", "runs", "tests") for path in (ROOT / folder).rglob("*")
    }
    assert not set(tree) - there


def test_its_picture_is_a_small_one():
    picture = (ROOT / "docs" / "sample.svg").read_text(encoding="utf-8")
    assert len(picture) < 300_000 and "animation:" in picture and "<script" not in picture


def test_the_demo_takes_the_minutes_that_the_readme_says():
    said = f"{presets()['demo'].config.minutes:g} minutes"
    assert (
        f"for {said} on two CPU cores" in README.read_text(encoding="utf-8")
        and f"Cost: {said} on two CPU cores" in presets()["demo"].about
    )
