"""Models of the Hub: huggingface_hub itself, in processes of their own, and a Hub on loopback."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save

from unmask import checkpoint
from unmask.hub import find
from unmask.report.card import cut

pytest.importorskip("huggingface_hub")
from hub_server import TOKEN, running

DOCS = Path(__file__).parents[2] / "docs" / "hub.md"
SAMPLE = ("--num", "3", "--steps", "4", "--dtype", "float32")
SEVERAL = """
import contextlib, io, json, sys
from unmask.cli.main import main
done = []
for argv in json.load(sys.stdin):
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
    done.append([code, said.getvalue(), told.getvalue()])
print(json.dumps(done))
"""


class Machine:
    """A machine with a cache of its own, from which commands are run."""

    def __init__(self, home, endpoint):
        self.home = home
        kept = {name: v for name, v in os.environ.items() if not name.startswith(("HF_", "UNMASK"))}
        self.env = kept | {
            "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1", "UNMASK_DTYPE": "float32", "HF_HUB_DISABLE_TELEMETRY": "1",
        }  # fmt: skip

    def python(self, code, stdin="", **env):
        done = subprocess.run(
            [sys.executable, "-c", code], input=stdin, env=self.env | env, capture_output=True,
            encoding="utf-8", cwd=self.home,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    def several(self, *commands, **env):
        """[exit code, standard output, standard error] of commands that one process runs."""
        argv = [list(map(str, command)) for command in commands]
        return json.loads(self.python(SEVERAL, json.dumps(argv), **env).stdout.splitlines()[-1])

    def unmask(self, *argv, **env):
        """One command by itself, which succeeds; what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "unmask", *map(str, argv)], env=self.env | env,
            capture_output=True, encoding="utf-8", cwd=self.home,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture
def hub():
    with running() as hub:
        yield hub


@pytest.fixture
def machine(hub, tmp_path):
    (tmp_path / "home").mkdir()
    return Machine(tmp_path / "home", hub.url)


@pytest.fixture
def run(text_run, tmp_path):
    return Path(shutil.copytree(text_run, tmp_path / "run"))


def files_of(run):
    """What a push of it would make of config.json and the weights."""
    folder = checkpoint.resolve(run)
    config = checkpoint.read_config(folder)
    weights = (folder / "model.safetensors").read_bytes()
    own = {name: v for name, v in config.items() if name not in ("format", "sha256", "training")}
    digests = {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    return {"config.json": checkpoint.sealed(own, digests), "model.safetensors": weights}


def fetched(hub):
    return {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}


def test_a_run_goes_to_the_hub_and_comes_back(hub, machine, run, data, tmp_path):
    hub.large.add("model.safetensors")  # as the Hub keeps it
    evaluation = ("--data", data, "--repeats", "4", "--json")
    machine.unmask("eval", run, *evaluation, run / "eval.json")
    stale = json.loads((run / "eval.json").read_text()) | {"model_sha256": "0" * 64}
    (run / "before.json").write_text(json.dumps(stale))
    push = ("push", run, "me/tiny", "--private", "--license", "mit")
    pushed = machine.unmask(*push, HF_TOKEN=TOKEN)
    assert "before.json is left out: it is of other weights" in pushed.stderr
    repo = hub.repos["me/tiny"]
    sha = repo["refs"]["main"]
    assert f"me/tiny@{sha}" in pushed.stdout and repo["private"]
    there = repo["commits"][sha]
    assert set(there) == {"README.md", "config.json", "model.safetensors"}
    assert there["model.safetensors"] == files_of(run)["model.safetensors"]
    assert list(hub.objects) == [hashlib.sha256(there["model.safetensors"]).hexdigest()]
    card = there["README.md"].decode()
    record = json.loads((run / "eval.json").read_text())
    for fact in (
        "license: mit", "library_name: unmask", record["protocol_sha256"], record["unit"],
        f"value: {record['value']}", f"{record['value']:.4f} +- {record['stderr']:.4f}",
        record["protocol"]["data_sha256"], "text.txt", "unmask eval run --data data",
    ):  # fmt: skip
        assert fact in card, fact
    assert str(tmp_path) not in card and "before" not in card

    machine.unmask("eval", "me/tiny", *evaluation, tmp_path / "b.json", HF_TOKEN=TOKEN)
    again = json.loads((tmp_path / "b.json").read_text())
    assert again["value"] == record["value"] and again["model"] == f"me/tiny@{sha}"
    assert again["model_sha256"] == record["model_sha256"] and "model" not in record
    # what was fetched needs no connection; a commit does not even ask
    local = machine.unmask("sample", run, *SAMPLE)
    hub.asked.clear()
    for name, env in (
        (f"me/tiny@{sha}", {}),
        ("me/tiny", {"HF_HUB_OFFLINE": "1"}),
        ("me/tiny", {"HF_ENDPOINT": "http://127.0.0.1:9"}),
    ):
        done = machine.unmask("sample", name, *SAMPLE, **env)
        assert done.stdout == local.stdout
        assert ("taking the copy that is kept" in done.stderr) is bool(env)
    assert hub.asked == []
    # nobody else can read it, and the token is nowhere
    ((code, _, said),) = machine.several(["sample", "me/tiny"], HF_HOME=str(tmp_path / "other"))
    assert code == 2 and "you may read" in said and "log in" in said
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in pushed.stdout + pushed.stderr + said + card


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_what_the_docs_and_the_card_show_runs(hub, machine, run, data):
    docs = DOCS.read_text(encoding="utf-8")
    share, use = (
        next(block for block in blocks(docs, "sh") if word in block) for word in ("push", "--from")
    )
    shutil.copytree(run, machine.home / "run")
    shutil.copytree(data, machine.home / "data")
    small = "--out tuned --steps 1 --minutes 0 --batch-size 4 --eval-windows 8 --json r.json"
    for said, ours in {
        "unmask ": f"{sys.executable} -m unmask ",
        "--num 4": "--num 4 --steps 4",
        "--out tuned": small,
        "user/name --data data\n": "user/name --data data --repeats 2\n",
    }.items():
        assert said in share + use
        share, use = share.replace(said, ours), use.replace(said, ours)
    env = machine.env | {"HF_TOKEN": TOKEN}
    how = {"cwd": machine.home, "env": env, "capture_output": True, "encoding": "utf-8"}
    done = subprocess.run(["bash", "-euc", share], **how)
    assert done.returncode == 0, done.stderr
    repo = hub.repos["user/name"]
    sha = repo["refs"]["v1"] = repo["refs"]["main"]
    there = repo["commits"][sha]
    card = there["README.md"].decode()
    assert f"user/name@{sha}" in done.stdout.partition(card)[2]  # shown first, without a network
    assert there["model.safetensors"] == files_of(run)["model.safetensors"] and not hub.objects
    assert repo["private"] and done.stderr.count("would push") == 2
    done = subprocess.run(["bash", "-euc", use], **how)
    assert done.returncode == 0, done.stderr
    assert f"averaged weights of user/name@{sha}" in done.stdout
    code = "\n".join(["import unmask", *blocks(docs, "python"), *blocks(card, "python")])
    assert "tensor(" in machine.python(code, HF_TOKEN=TOKEN).stdout

    record = json.loads((machine.home / "r.json").read_text())
    assert record["from"] == f"user/name@{sha}"
    meta = checkpoint.read_config(checkpoint.resolve(machine.home / "tuned"))["meta"]
    assert meta["from_hub"] == f"user/name@{sha}"
    assert meta["from"] == hashlib.sha256(there["model.safetensors"]).hexdigest()
    hub.asked.clear()
    command = ["push", "tuned", "me/tuned", "--public", "--license", "mit", "--dry-run"]
    ((code, card, _),) = machine.several(command)
    assert code == 0 and "base_model: user/name\n" in card and f"`user/name@{sha}`" in card
    assert '"dim"' not in card and '"learning_rate": 0.0001' in card
    assert hub.asked == []


def test_a_card_says_that_a_run_began_with_other_weights(hub, machine, run, data):
    flags = [
        "--data",
        data,
        "--out",
        "tuned",
        "--steps",
        "1",
        "--minutes",
        "0",
        "--batch-size",
        "4",
    ]
    push = ["push", "tuned", "me/tuned", "--public", "--license", "mit", "--dry-run"]
    *_, (code, card, said) = machine.several(["train", "demo", "--from", run, *flags], push)
    weights = hashlib.sha256(files_of(run)["model.safetensors"]).hexdigest()
    assert code == 0, said
    assert f"It went on from other weights, whose SHA-256 is `{weights}`" in card
    assert "base_model" not in card


def test_only_what_belongs_to_the_model_is_fetched(hub, machine, run):
    others = {name: b"x" for name in ("a.py", "a.bin", "a.pt", "other.json", "sub/config.json")}
    hub.commit("me/tiny", others)
    hub.commit("me/tiny", files_of(run))
    machine.unmask("sample", "me/tiny", *SAMPLE)
    assert fetched(hub) == {"config.json", "model.safetensors"}
    kept = {path.name for path in machine.home.rglob("snapshots/*/*")}
    assert kept == {"config.json", "model.safetensors"}


def test_revisions(hub, machine, run):
    first = hub.commit("me/tiny", files_of(run))
    hub.commit("me/tiny", {"config.json": b"{}"})
    hub.repos["me/tiny"]["refs"]["v1"] = first
    done = machine.several(
        ["sample", "me/tiny@v1", *SAMPLE],
        ["sample", f"me/tiny@{first}", *SAMPLE],
        ["sample", "me/tiny", *SAMPLE],
        ["sample", "me/tiny@v2", *SAMPLE],
        ["sample", f"me/tiny@{'0' * 40}", *SAMPLE],
    )
    assert [code for code, _, _ in done] == [0, 0, 2, 2, 2]
    assert done[0][1] == done[1][1] and "fetching" in done[0][2] and done[1][2] == ""
    assert "me/tiny has no revision v2" in done[3][2]


def test_what_arrives_altered_is_refused(hub, machine, run):
    """In one byte, in a way that the server does not state, or states."""
    files = files_of(run)
    altered = bytearray(files["model.safetensors"])
    altered[-1] ^= 1
    hub.large.add("model.safetensors")
    config = files["config.json"].replace(b'"linear"', b'"cosine"')
    hub.commit("me/tiny", files)
    hub.commit("me/weights", files | {"model.safetensors": bytes(altered)})
    hub.commit("me/config", files | {"config.json": config})
    # what has arrived well is not asked for again, so it comes last
    for path, content in (("config.json", config), ("model.safetensors", bytes(altered))):
        hub.served = {path: content}
        ((code, out, said),) = machine.several(["sample", "me/tiny", *SAMPLE])
        assert code == 2 and out == "" and f"{path} of me/tiny@" in said, said
        assert "arrived altered" in said
    hub.served = {}
    hub.asked.clear()
    done = machine.several(*(["sample", f"me/{n}", *SAMPLE] for n in ("weights", "config")))
    assert [code for code, _, _ in done] == [2, 2]
    for (_, _, said), file in zip(done, ("model.safetensors of me/weights@", "config.json")):
        assert file in said and "damaged or altered" in said
    assert fetched(hub) == {"config.json"}
    hub.large.clear()  # so that the Hub states another digest
    ((code, _, said),) = machine.several(["sample", "me/weights", *SAMPLE])
    assert code == 2 and "model.safetensors of me/weights@" in said
    # what is damaged where it is kept is fetched again
    for env in ({}, {"HF_HUB_OFFLINE": "1"}):
        machine.unmask("sample", "me/tiny", *SAMPLE)
        (weights,) = machine.home.rglob("models--me--tiny/snapshots/*/model.safetensors")
        weights.resolve().write_bytes(bytes(altered))
        ((code, _, said),) = machine.several(["sample", "me/tiny", *SAMPLE], **env)
        assert code == 2 and "model.safetensors of me/tiny@" in said
    machine.unmask("sample", "me/tiny", *SAMPLE)


def with_files(files, **more):
    """config.json that lists more files."""
    config = json.loads(files["config.json"])
    digests = {name: sha for name, sha in config["sha256"].items() if name != "config.json"}
    own = {name: v for name, v in config.items() if name not in ("format", "sha256")}
    return files | {"config.json": checkpoint.sealed(own, digests | more)}


def test_a_run_from_a_branch_goes_on_though_the_branch_has_moved(hub, machine, run, data, tmp_path):
    """Other weights are still others."""
    first = hub.commit("me/tiny", files_of(run))
    small = "--steps=1 --minutes=0 --length=8 --batch-size=4 --eval-windows=8"
    command = ["train", "tune-text", *small.split(), "--data", data, "--json", tmp_path / "r.json"]
    began = {}
    for name in ("me/tiny@main", f"me/tiny@{first}"):
        began[name] = [*command, "--out", tmp_path / str(len(began)), "--from"]
    done = machine.several(*([*start, name] for name, start in began.items()))
    assert [code for code, _, _ in done] == [0, 0], done
    weights = checkpoint.resolve(run) / "model.safetensors"
    moved = {name: t + 1 if t.is_floating_point() else t for name, t in load_file(weights).items()}
    content = save(moved)
    sha = hashlib.sha256(content).hexdigest()
    files = files_of(run) | {"model.safetensors": content}
    second = hub.commit("me/tiny", with_files(files, **{"model.safetensors": sha}))
    done = machine.several(*([*start, name] for name, start in began.items()))
    assert [code for code, _, _ in done] == [0, 0], done
    assert all("this run is finished: 1 steps" in said for _, _, said in done)
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert record["from"] == f"me/tiny@{first}"
    # by the commit that the branch was, too; not by one that it was not
    same, other = (f"me/tiny@{sha}" for sha in (first, second))
    done = machine.several(
        [*began["me/tiny@main"], same],
        [*began["me/tiny@main"], other],
        [*began[same], "me/tiny"],  # what older versions kept of this name is the commit
    )
    assert [code for code, _, _ in done] == [0, 2, 0]
    assert f"began with other weights (--from), those of me/tiny@{first}: " in done[1][2]


def test_an_update_that_fails_leaves_the_copy_that_is_kept(hub, machine, run):
    """One that is not whole, and one whose weights are not those of its configuration."""
    files = files_of(run)
    altered = bytearray(files["model.safetensors"])
    altered[-1] ^= 1
    updates = {
        "me/half": with_files(files, **{"tokenizer.json": "0"}),
        "me/weights": files | {"model.safetensors": bytes(altered)},
    }
    commands = [["sample", name, *SAMPLE] for name in updates]
    for name in updates:
        hub.commit(name, files)
    before = machine.several(*commands)
    for name, update in updates.items():
        hub.commit(name, update)
    half, weights = machine.several(*commands)
    assert half[0] == weights[0] == 2
    assert "lacks tokenizer.json" in half[2] and "is damaged or altered" in weights[2]
    kept = machine.several(*commands, HF_HUB_OFFLINE="1")
    assert [(code, out) for code, out, _ in kept] == [(0, out) for _, out, _ in before]


def test_a_branch_that_moves_while_it_is_fetched(hub, machine, run):
    """What was fetched is whole, and has the name of its commit."""
    files = files_of(run)
    sha = hub.commit("me/moving", files)
    half = with_files(files, **{"tokenizer.json": "0"})
    hub.then["model.safetensors"] = lambda: hub.commit("me/moving", half)
    record = str(machine.home / "moving.json")
    ((code, out, said),) = machine.several(["sample", "me/moving", *SAMPLE, "--json", record])
    assert code == 0 and out and not hub.then, said
    assert json.loads(Path(record).read_text(encoding="utf-8"))["model"] == f"me/moving@{sha}"


def test_what_is_no_model_of_the_hub(hub, machine, run):
    files = files_of(run)
    hub.commit("me/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"})
    hub.commit("me/empty", {"README.md": b"x"})
    hub.commit("me/half", with_files(files, **{"tokenizer.json": "0"}))
    tricks = ["../../x.json", "/tmp/x.json", "a.py", ".x.json", "sub/x.json"]
    for i, name in enumerate(tricks):
        hub.commit(f"me/trick{i}", with_files(files, **{name: "0"}) | {name: b"x"})
    hub.commit("me/tiny", files)
    expected = {
        "me/bert": "is not a model of unmask; one of transformers becomes one by",
        "me/empty": "unmask import huggingface FOLDER OUT",
        "me/half": "lacks tokenizer.json, which its config.json lists",
        **{f"me/trick{i}": repr(name) for i, name in enumerate(tricks)},
        "me/none": "has no model me/none that you may read",
        "me/-x@y": "there is no folder",
        "me/tiny@v1/../v2": "there is no folder",
        "me/a--b": "there is no folder",
        "home/x": "there is no folder home/x; the model of the Hub is called home/x@main",
    }
    (machine.home / "home").mkdir()
    done = machine.several(*(["sample", name] for name in expected))
    for (name, words), (code, out, said) in zip(expected.items(), done):
        assert code == 2 and out == "" and words in said, (name, said)
        assert said.splitlines()[-1].startswith("unmask sample: "), said
        assert len(said.splitlines()) <= 3
    assert fetched(hub) == {"config.json"}
    for size, words in ((2**41, "at most 1,099,511,627,776 are fetched"), (2**40, "make room")):
        hub.sizes["model.safetensors"] = size
        ((code, _, said),) = machine.several(["sample", "me/tiny"])
        assert code == 2 and words in said


def test_what_is_not_pushed(hub, machine, run, tmp_path):
    """Each in one sentence, and nothing is written to the Hub."""
    hub.commit("me/theirs", {"README.md": b"x"})
    broken = Path(shutil.copytree(run, tmp_path / "broken"))
    newest = checkpoint.resolve(broken)
    (newest / "model.safetensors").write_bytes(b"x")
    changed = Path(shutil.copytree(run, tmp_path / "changed"))
    protocol = {"protocol": {"name": "x"}, "protocol_sha256": "0", "command": ["unmask"]}
    of = {"model_sha256": checkpoint.digest(checkpoint.resolve(run) / "model.safetensors")}
    (changed / "eval.json").write_text(json.dumps(protocol | of))
    licence, private = ("--license", "mit"), "--private"
    expected = [
        ((run, "me/a", private), "license", ""),
        ((run, "me/a", *licence), "say who can read it", ""),
        ((run, "me/a", *licence, private, "--public"), "say who can read it", ""),
        ((run, "me", *licence, private), "me is no name of a repository", ""),
        ((run, "me/a@main", *licence, private), "is no name of a repository", ""),
        ((run, "me/a", "--license", "My Own", private), "--license 'My Own'", ""),
        ((tmp_path / "no", "me/a", *licence, private, "--dry-run"), "there is no folder", ""),
        ((broken, "me/a", *licence, private), "is damaged or altered", TOKEN),
        ((changed, "me/a", *licence, private, "--dry-run"), "write the record again", ""),
        ((run, "me/a", *licence, private), "to push to me/a, log in", None),
        ((run, "me/a", *licence, private), "refuses access to me/a (401)", "hf_wrong"),
        ((run, "others/a", *licence, private), "refuses access to others/a (403)", TOKEN),
        ((run, "me/theirs", *licence, private), "is there already and public", TOKEN),
        ((run, "me/a", "--license", "nonsense", private), "must be one of a list", TOKEN),
    ]
    for token in ("", None, "hf_wrong", TOKEN):
        mine = [(argv, words) for argv, words, of in expected if of == token]
        env = {"HF_TOKEN": token} if token else {}
        done = machine.several(*(["push", *argv] for argv, _ in mine), **env)
        for (argv, words), (code, out, said) in zip(mine, done):
            assert code == 2 and out == "" and words in said, (argv, said)
            assert not (token and token in said)
    assert set(hub.repos) == {"me/theirs"}
    hub.large, hub.full = {"model.safetensors"}, True
    ((code, _, said),) = machine.several(["push", run, "me/b", *licence, private], HF_TOKEN=TOKEN)
    assert code == 2 and "Error while uploading 'model.safetensors'" in said
    offline = {"HF_HUB_OFFLINE": "1", "HF_TOKEN": TOKEN}
    for env in (offline, {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": TOKEN}):
        commands = (["push", run, "me/a", *licence, private], ["sample", "me/a"])
        of_push, of_sample = machine.several(*commands, **env)
        assert of_push[0] == of_sample[0] == 2
        assert "cannot be asked for me/a" in of_push[2]
        assert "no copy of me/a@main is kept here" in of_sample[2]


def test_without_the_extra(hub, machine, run):
    without = f"import sys; sys.modules['huggingface_hub'] = None\n{SEVERAL}"
    commands = [
        ["sample", "me/tiny"],
        ["push", str(run), "me/tiny", "--private", "--license", "mit"],
        ["sample", str(run), *SAMPLE],
    ]
    done = json.loads(machine.python(without, json.dumps(commands)).stdout)
    assert [code for code, _, _ in done] == [2, 2, 0]
    assert all("pip install 'unmask[hub]'" in said for _, _, said in done[:2])
    assert hub.asked == []


def test_paths_that_tell_of_a_machine_are_cut_from_commands():
    told = {
        "/home/alice/lr=0.1/run": "run", "~/x": "x", "../../secret/x": "x", "data": "data",
        "file:///home/alice/x": "x", "--json=/home/alice/lr=1/e.json": "--json=e.json",
        "C:\\Users\\alice\\run": "run", "user/name@v1": "user/name@v1",
        "--error=0.1": "--error=0.1",
    }  # fmt: skip
    assert {word: cut(word) for word in told} == told


@pytest.mark.parametrize("name", ["a--b/c", "a/b..c", "a/b--c", "user/name@a..b", "a/b/c", "./a"])
def test_what_is_no_name_of_the_hub(name):
    with pytest.raises(ValueError, match="there is no folder"):
        find(name)
