"""unmask push: a model of this machine becomes a repository of the Hub."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask import __version__
from unmask.cli.flags import parse
from unmask.documents import Test, misfit, read_json, whole

NUMBER = Test(lambda v: type(v) in (int, float) and abs(v) < 1e100, "a number")
MAYBE = Test(lambda v: v is None or NUMBER.holds(v), "a number, or null")
OF_EVAL = {
    "command": [str], "value": NUMBER, "stderr": MAYBE, "noise": MAYBE, "unit": str, "what": str,
    "split": str, "n": whole(1), "data_sha256": {str: str}, "error_over": str,
    "protocol_sha256": str,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Push:
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder, of which the newest checkpoint is pushed, or a model's.  Records that
    `unmask eval --json` and `unmask train --json` wrote into it are told on the model's page."""
    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """user/name, which is made if it is not there."""
    license: str
    """What others may do with the weights, as the Hub calls it: apache-2.0, mit, cc-by-4.0, ...,
    or other."""
    private: bool = False
    """You alone can read it."""
    public: bool = False
    """Everybody can read it."""
    dry_run: bool = False
    """Push nothing, and use no network: print the model's page and the list of files."""


def push(argv: list[str]) -> None:
    """Share a model on the Hugging Face Hub: weights, config, tokenizer and a page about it."""
    args = parse(Push, "push", argv, push.__doc__)
    from unmask import hub

    if args.private == args.public:
        raise ValueError("say who can read it: either --private or --public")
    name = hub.NAME.fullmatch(args.repository)
    if name is None or name[2] is not None:
        raise ValueError(f"{args.repository[:200]} is no name of a repository: give user/name")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", args.license):
        raise ValueError(
            f"--license {args.license[:200]!r} is no licence of the Hub: give its name in lower "
            "case, such as apache-2.0"
        )
    hub.library("to push")  # which writes the page, too
    if not args.dry_run:
        hub.check_login(args.repository)
    page, files = made_of(args)
    if args.dry_run:
        print(page)
        for file, content in files.items():
            size = content.stat().st_size if isinstance(content, Path) else len(content)
            print(f"would push {file}: {size:,} bytes", file=sys.stderr)
        return
    commit, where = hub.push(args.repository, page, files, private=args.private)
    print(f"{where}\nby name: {args.repository}@{commit}")


def made_of(args: Push) -> tuple[str, dict[str, Any]]:
    """The page of the repository, and its other files: where they are, or what they hold.

    ValueError for a folder that is not whole, or that the verbs could not read.
    """
    from unmask import checkpoint, hub
    from unmask.diffusion import MaskedDiffusion
    from unmask.report.card import Facts, card
    from unmask.train.run import read_training

    folder = checkpoint.resolve(args.run)
    config = checkpoint.read_config(folder)
    digests = config["sha256"]
    checkpoint.verify(folder, digests, digests)
    model = MaskedDiffusion.from_pretrained(folder)
    if "training" in config:
        read_training(folder)  # ValueError where that is damaged
    # the state of a training is of use to its run alone
    tensors = {file for file in digests if file.endswith(".safetensors")}
    left_out = {checkpoint.CONFIG, *tensors} - {hub.WEIGHTS}
    kept = {file: sha for file, sha in digests.items() if file not in left_out}
    hub.check_names(kept, str(folder))
    results, training = records(args.run, folder, digests[hub.WEIGHTS])
    facts = Facts(
        repository=args.repository, license=args.license, config=config,
        parameters=sum(p.numel() for p in model.parameters()), made_with=version(),
        results=results, training=training,
    )  # fmt: skip
    own = {name: v for name, v in config.items() if name not in ("format", "sha256", "training")}
    files = {checkpoint.CONFIG: checkpoint.sealed(own, kept)}
    return card(facts), files | {file: folder / file for file in kept}


def records(run: Path, folder: Path, weights: str) -> tuple[list[dict], list[dict]]:
    """What `unmask eval --json` and `unmask train --json` wrote into the folder of a run or model,
    of the weights with this SHA-256; of others is said that they are left out.

    ValueError for a record that was changed.
    """
    from unmask.evaluation.protocol import of_record

    results, training = [], []
    for path in sorted({*run.glob("*.json"), *folder.glob("*.json")}):
        try:
            record = read_json(path, {"command": [str], "model_sha256": str})
        except ValueError:
            continue  # something else
        if record["model_sha256"] != weights:
            print(f"{path} is left out: it is of other weights", file=sys.stderr)
        elif of_record(record, str(path)) is not None and "what" in record:  # of a report, not
            if wrong := misfit(record, OF_EVAL):
                raise ValueError(f"{path}: {wrong}: write it again with unmask eval --json")
            results.append(record)
        elif "preset" in record:
            training.append(record)
    return results, training


def version() -> str:
    """Of this package, with its commit where it was installed from one."""
    import importlib.metadata
    import json

    try:
        origin = importlib.metadata.distribution("unmask").read_text("direct_url.json")
        commit = json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        commit = None
    return f"unmask {__version__}" + (f", commit {commit}" if commit else "")
