"""What the pages show, runs: every block of every page, with smaller networks and fewer steps."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from dice import Dice
from pages import BLOCK, DOCS, PACKAGES, ROOT, blocks, page_of, run_page
from PIL import Image

from unmask.cli.main import main
from unmask.kinds.registry import demos, presets

PAGES = sorted(path.name for path in DOCS.glob("*.md"))
EXTRAS = sorted((ROOT / "tests" / "extras").glob("*.py"))
TESTS = [*sorted((ROOT / "tests").glob("*.py")), *EXTRAS]
# what a page may say, and why nobody runs it
NOT_RUN = {
    "README.md": ["they are what the tests and the demo run"],
    "start.md": ["it prepares the shell"],
    "scale.md": ["it is for Slurm"],
    "coming-from.md": ["it needs JAX and MD4's own code"],
    "hub.md": ["it downloads"],
    "speedruns.md": ["the files are not there"],
    "images.md": ["the files are not there"],
    "quality.md": ["it is for GPT-2 large, in a folder; tests do it with a small one"],
    "proteins.md": ["it needs MMseqs2"],
    "serve.md": ["it needs gradio, and a page that it serves"],
    "antibodies.md": ["it downloads weights; a slow test runs the day on a small network"] * 2,
}  # fmt: skip
# pages of servers: their own tests run the commands, and hold what they say
ELSEWHERE = {"hub.md": "extras/test_hub.py", "serve.md": "test_serve.py"}
TINY = "--minutes 0 --steps 6 --dim 32 --layers 1"
FEW = "--limit 8 --enumerate 4 --repeats 32"
SMALL = {"--minutes 5": TINY}


def text(folder, name="my.txt", size=40000):
    """A file of that name, of the bundled text."""
    content = demos()["shakespeare"].source.read_bytes()[:size]
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.fixture
def run(tmp_path):
    """A folder in which `data` and a model of two steps, `run`, are there already."""
    text(tmp_path)
    data, out = str(tmp_path / "data"), str(tmp_path / "run")
    assert main(["prepare", "text", str(tmp_path / "my.txt"), data]) == 0
    flags = "--length 32 --steps 2 --dim 32 --layers 1 --batch-size 8 --eval-windows 8"
    assert main(["train", "demo", "--data", data, "--out", out, *flags.split()]) == 0
    return tmp_path


# ---------------------------------------------------------------- all pages


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_every_block_is_run_or_says_why_not(name):
    said = [block.why for block in blocks(name) if block.mark == "not run"]
    assert said == NOT_RUN.get(name, [])
    if name in ELSEWHERE:
        assert f'"{name}"' in (ROOT / "tests" / ELSEWHERE[name]).read_text(encoding="utf-8")
        return
    call = re.compile(rf'run_page\(\s*"{re.escape(name)}"')
    for mark, where in (("", TESTS), ("with", EXTRAS)):
        if any(block.mark == mark for block in blocks(name)):
            found = (one.read_text(encoding="utf-8") for one in where)
            assert any(map(call.search, found)), f"no test runs {name}"
    assert {block.why for block in blocks(name) if block.mark == "with"} <= PACKAGES


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_a_page_has_no_block_that_is_not_seen(name):
    """Blocks are fenced, those that nobody runs have another language, and marks are above one."""
    said = page_of(name).read_text(encoding="utf-8")
    without = BLOCK.sub("", re.sub(r"(?ms)^```{toctree}$.*?^```$", "", said))
    if name == "results.md":  # tests/test_results.py holds these
        without = re.sub(r"(?m)^<!-- (table: .*|end) -->$", "", without)
    assert "```" not in without and "<!--" not in without
    assert not re.search(r"\n\n {4,}\S", re.sub(r"(?m)^- .*(\n {2,}.*)*", "", without))
    known = {"sh", "python", "", "text", "yaml", "toml", "{toctree}"}
    assert set(re.findall(r"(?m)^```(\S*)$", said)) <= known


@pytest.mark.parametrize("name", ["README.md", *PAGES])
def test_links_lead_somewhere(name):
    page = page_of(name)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


def test_a_swap_that_a_page_does_not_say_is_an_error(tmp_path):
    with pytest.raises(AssertionError, match="does not say '--minutes 7'"):
        run_page("network.md", tmp_path, {"--minutes 7": ""})


def test_a_command_that_fails_is_an_error(run):
    with pytest.raises(AssertionError, match=r"genmd4.md, line \d+: unmask train demo"):
        run_page("genmd4.md", run, {"--data data": "--data nowhere"})
    with pytest.raises(AssertionError, match=r"samplers.md, line \d+: false ended with 1"):
        run_page("samplers.md", run, {"unmask grid run --data data --steps 16": "false && true"})


# ---------------------------------------------------------------- each page


def test_rivals(run):
    swaps = SMALL | {"--steps 64": "--steps 4"}
    said = run_page("rivals.md", run, swaps)
    assert "bits per byte: the exact negative log-likelihood" in said
    assert "bits per byte: an upper bound" in said and "other estimator" in said


def test_start(tmp_path, monkeypatch):
    text(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    swaps = SMALL | {"--length 100": "--length 32", "--num 3": "--num 3 --steps 4"}
    said = run_page("start.md", tmp_path, swaps)
    assert said.count("To be, or ") == 3 and "bits a byte" in said
    read = ". ~/.bashrc; complete -p unmask"
    done = subprocess.run(["bash", "-euc", read], capture_output=True, text=True)
    assert done.stdout == "complete -o default -F _unmask unmask\n", done.stderr
    assert (tmp_path / ".config" / "fish" / "completions" / "unmask.fish").is_file()


def test_text(tmp_path):
    text(tmp_path)
    text(tmp_path, "enwik8.gz", size=30000)
    swaps = SMALL | {" --split 90000000,5000000,5000000": "", "--minutes 30 --dim 256": TINY}
    swaps |= {"--num 4": "--num 4 --steps 8"}
    said = run_page("text.md", tmp_path, swaps)
    assert said.count("bits per byte: an upper bound") == 2 and said.count("To be, or ") == 3
    assert (tmp_path / "bound.json").is_file() and (tmp_path / "unmasking.html").is_file()
    assert "name,tokens,nats,noise" in said


def test_images(tmp_path):
    """On a folder laid out like MNIST's, of the bundled digits."""
    (tmp_path / "mnist").mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        for part in ("train", "t10k"):
            source = demos()["digits"].source.with_name(f"digits-{kind}-ubyte.gz")
            shutil.copy(source, tmp_path / "mnist" / f"{part}-{kind}-ubyte.gz")
    picture = np.zeros((8, 8), np.uint8)
    Image.fromarray(picture).save(tmp_path / "in.png")
    picture[4:] = 255
    Image.fromarray(picture).save(tmp_path / "holes.png")
    small = "--out runs/digits --minutes 0 --steps 4 --widths 8,16"
    swaps = {"--out runs/digits": small, "--num 64": "--num 9 --steps 8"}
    said = run_page("images.md", tmp_path, swaps)
    assert said.count("bits per dimension: an upper bound") == 2
    assert "mean of the likelihood over 8 random orders" in said
    for name in ("samples.png", "unmasking.gif", *(f"in-filled-{i}.png" for i in (1, 2, 3, 4))):
        assert (tmp_path / name).stat().st_size > 50, name


def test_proteins(tmp_path):
    shutil.copy(demos()["protein"].source, tmp_path / "uniprot.fasta.gz")
    small = "--out runs/proteins --minutes 0 --steps 3 --dim 16 --layers 1 --heads 2"
    swaps = {
        "proteins       #": "proteins --split 3600,390,10 #",
        "--out runs/proteins\n": f"{small} --eval-windows 8\n",
        "--num 8": "--num 8 --steps 8",
    }
    said = run_page("proteins.md", tmp_path, swaps)
    assert "bits per residue: an upper bound" in said and "longer than 256" in said
    assert (tmp_path / "new.fasta").read_text(encoding="utf-8").count(">sample-") == 8
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8").count("\n") == 9
    filled = re.findall(
        r">a candidate=\d filled=23 nats=[\d.]+\+-[\d.]+\n([A-Y]+)\n",
        (tmp_path / "filled.fasta").read_text(encoding="utf-8"),
    )
    assert len(filled) == 3
    assert all(re.fullmatch("MKVL[A-Y]{3}AG[A-Y]{20}GSK", letters) for letters in filled)


def tables(folder):
    """What the page on tables reads: the bundled census, films and a clinic that are made up."""
    rows = gzip.decompress(demos()["table"].source.read_bytes()).decode().splitlines()
    holes = [row for row in rows[1:400] if "?" in row]
    # what is to be predicted is the last column; missing cells elsewhere are missing
    ends = [row.rpartition(",")[0] + "," for row in rows[1:20]]
    films = ["Title,US Gross,US DVD Sales,Running Time min,Major Genre,Release Date"]
    for i in range(200):
        sales, minutes = (str(1000 * i) if i % 3 else ""), (str(80 + i % 70) if i % 4 else "")
        films.append(f"T{i},{i * i},{sales},{minutes},{('Horror', 'Drama')[i % 2]},{i}")
    clinic = ["arm,lab", *(f"{'AB'[i % 2]},{('pos', 'neg', '')[i % 3]}" for i in range(200))]
    files = {
        "my.csv": rows[:400], "holes.csv": [rows[0], *holes], "new.csv": [rows[0], *ends],
        "movies.csv": films, "four.csv": films[:5], "clinic.csv": clinic,
    }  # fmt: skip
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    data, out = str(folder / "clinic"), str(folder / "runs" / "clinic")
    assert main(["prepare", "tables", str(folder / "clinic.csv"), data]) == 0
    assert main(["train", "table", "--data", data, "--out", out, *TINY.split()]) == 0
    (folder / "arms.csv").write_text("arm,lab\n,\n,pos\n", encoding="utf-8")


TABLES = {
    "--minutes 5": TINY,
    "--steps 500 --dim 64 --dropout 0.1": TINY,
    "--num 1000": "--num 12 --steps 8",
    "fill runs/clinic new.csv": "fill runs/clinic arms.csv",
}


def test_tables(tmp_path):
    tables(tmp_path)
    said = run_page("tables.md", tmp_path, TABLES)
    assert "nats a row" in said and "closer to training" in said
    assert (tmp_path / "synthetic.csv").read_text(encoding="utf-8").count("\n") == 13
    assert "?" not in (tmp_path / "holes-filled-3.csv").read_text(encoding="utf-8")
    listed = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert {line.split(",")[1] for line in listed} == {"arm"}  # of its last command


def judged(folder):
    """What the page on quality reads: data of each kind, and models of them of a few steps."""
    text(folder, "my.txt", size=20_000)
    rows = gzip.decompress(demos()["table"].source.read_bytes()).decode().splitlines()[:300]
    cells = [row.split(",") for row in rows]
    some = "".join(f"{row[0]},{row[3]},{row[14]}\n" for row in cells)
    (folder / "table.csv").write_text(some, encoding="utf-8")
    sequences = gzip.decompress(demos()["protein"].source.read_bytes()).decode().split(">")[1:201]
    (folder / "p.fasta").write_text("".join(f">{one}" for one in sequences), encoding="utf-8")
    random = np.random.default_rng(0)
    np.savez(folder / "p.npz", data=random.integers(0, 256, (80, 8, 8), np.uint8))
    how = {
        "text": ["my.txt", "text", "demo", "--length 32 --batch-size 8 --eval-windows 8"],
        "images": ["p.npz", "pictures", "digits", "--widths 8 --blocks 1"],
        "proteins": ["p.fasta", "proteins", "protein", "--batch-size 4 --eval-windows 8"],
        "tables": ["table.csv", "table", "table", ""],
    }
    for kind, (source, name, preset, flags) in how.items():
        data, out = str(folder / name), str(folder / "runs" / name)
        cut = ["--split", "0.6,0.1,0.3"]
        assert main(["prepare", kind, str(folder / source), data, *cut]) == 0
        command = ["train", preset, "--data", data, "--out", out, *TINY.split(), *flags.split()]
        assert main(command) == 0


QUALITY = {
    "--num 8000": "--num 20 --steps 4",
    "--num 200": "--num 6 --steps 4",
    " --out pictures.html": "",  # other tests draw these pages
    " --out proteins.html": "",
    "python runs/frontier.py": f"{sys.executable} {ROOT}/runs/frontier.py",
    "ancestral,confidence --temperatures 0.7,1": "ancestral",
    "--steps 16,64 --num 100": "--steps 4 --num 4",
}


def test_quality(tmp_path):
    judged(tmp_path)
    said = run_page("quality.md", tmp_path, QUALITY)
    for words in ("pair trends", "generative perplexity", "low complexity", "spread image"):
        assert words in said
    for name in ("texts", "quality"):
        assert (tmp_path / f"{name}.html").is_file()
    assert "temperature 1.0, top-p 1.0" in said
    assert (tmp_path / "frontier" / "frontier.png").is_file()


def test_numbers(run):
    swaps = {"--error 0.01": "--error 0.3", "audit run": f"audit run {FEW}"}
    said = run_page("numbers.md", run, swaps)
    assert "in order of confidence" in said and "passed" in said
    value, error, entropy = map(
        float, re.search(r"([\d.]+) \+- ([\d.]+) nats a sequence; .* ([\d.]+)\n", said).groups()
    )
    assert abs(value - entropy) < 6 * error
    half = float(re.search(r"([\d.]+) nats of the second half", said)[1])
    assert abs(half - entropy / 2) < 6 * error


def test_samplers(run):
    said = run_page("samplers.md", run)
    shares = dict(re.findall(r"(\d+) steps: ([\d.]+) of the samples", said))
    for steps, share in shares.items():
        assert float(share) == pytest.approx(1 / (2 * int(steps)), abs=1e-4)
    assert len(shares) == 4 and "continuous time: 0.0000" in said
    counts = json.loads((run / "grid.json").read_text(encoding="utf-8"))["counts"]
    assert len(counts) == 17


def test_genmd4(run):
    said = run_page("genmd4.md", run, SMALL)
    powers = said[said.rindex("tensor(") :]
    assert "1.0000" not in powers and (run / "schedule.png").stat().st_size > 10000


def test_mdm_prime(tmp_path):
    text(tmp_path)
    assert main(["prepare", "text", str(tmp_path / "my.txt"), str(tmp_path / "data")]) == 0
    said = run_page("mdm-prime.md", tmp_path, SMALL | {"audit prime": f"audit prime {FEW}"})
    assert "passed" in said and "base=6" in said and "prime.json" in said


def test_network(tmp_path):
    said = run_page("network.md", tmp_path)
    assert "Estimate(mean=" in said and (tmp_path / "convolutions" / "config.json").is_file()


def test_scores(tmp_path):
    """Tiny models in the places of a protein's, a text's and a census's."""
    tables(tmp_path)
    text(tmp_path)
    shutil.copy(demos()["protein"].source, tmp_path / "p.fasta.gz")
    made = {
        "tuned": ("proteins", "p.fasta.gz", "protein"), "play": ("text", "my.txt", "demo"),
        "people": ("tables", "my.csv", "table"),
    }  # fmt: skip
    flags = "--minutes 0 --steps 1 --dim 16 --layers 1 --heads 2 --batch-size 8 --eval-windows 4"
    for out, (kind, source, preset) in made.items():
        data, out = str(tmp_path / f"{out}-data"), str(tmp_path / out)
        assert main(["prepare", kind, str(tmp_path / source), data]) == 0
        assert main(["train", preset, "--data", data, "--out", out, *flags.split()]) == 0
    (tmp_path / "rows.csv").write_bytes(
        (tmp_path / "my.csv").read_bytes()[:1000].rpartition(b"\n")[0]
    )
    files = {
        "wild": "MKVLAAGS",
        "mutants": "MKVLAAGT",
        "d102n": "MKVNAAGS",
        "site": "MKV[MASK:3]GS",
    }
    for name, letters in files.items():
        (tmp_path / f"{name}.fasta").write_text(f">one\n{letters}\n")
    said = run_page("scores.md", tmp_path)
    assert "resolved" in said and (tmp_path / "cells.csv").is_file()


def test_inside(run):
    (run / "demo").mkdir()
    (run / "run").rename(run / "demo" / "run")
    swaps = {"python runs/": f"{sys.executable} {ROOT}/runs/", "docs/sample.svg": "sample.svg"}
    run_page("inside.md", run, swaps)
    said = (run / "sample.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(said)
    letters = re.findall(r"<text [^>]*>(.*?)</text>", said)
    assert 0 < len(letters) <= 32 and said.count("M") >= len(letters)


def test_report(run):
    few = "--steps 4 --limit 4 --repeats 2"
    run_page("report.md", run, {"unmask report run": f"unmask report run {few}"})
    for name, head in (("report.html", "Filling in"), ("model.html", "Is its number a bound?")):
        assert f"<h2>{head}</h2>" in (run / name).read_text(encoding="utf-8")


def test_a_kind_of_your_own(tmp_path):
    run_page("a-kind-of-your-own.md", tmp_path, Dice=Dice)


def test_the_page_of_many_processes_names_the_presets_that_share_out_a_step():
    said = page_of("scale.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"unless its preset has more \((.*?)\)", said)
    named = {}
    for names, number in re.findall(r"([^,]+) (\d+)", listed):
        named |= dict.fromkeys(re.findall(r"`([^`]+)`", names), int(number))
    shared = {name: preset.config.accumulate for name, preset in presets().items()}
    assert named == {name: number for name, number in shared.items() if number > 1}


@pytest.mark.slow
def test_scale(run):
    """Two processes in the place of eight, which go on with what one began."""
    shutil.rmtree(run / "run")
    small = "demo --length 32 --minutes 0 --steps 2 --dim 32 --layers 1 --batch-size 8"
    small += " --eval-windows 8"
    swaps = {"--nproc-per-node 8": "--nproc-per-node 2", "--shard --compile": "--shard"}
    swaps |= {"train text8": f"train {small}", "train owt-medium": f"train {small}"}
    said = run_page("scale.md", run, swaps)
    assert "33,168" in said and said.count("bits per byte: an upper bound") == 1
