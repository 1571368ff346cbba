"""unmask train."""

import textwrap
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import flag, write_record
from unmask.config import OF_MODEL, TrainConfig
from unmask.kinds.output import check_apart, check_out
from unmask.kinds.registry import presets


@dataclass(frozen=True, kw_only=True)
class Train(TrainConfig):
    data: Path
    """A folder that `unmask prepare` made."""
    out: Path
    """The run's folder; if the run is there already, it continues."""
    start: Annotated[str, tyro.conf.arg(name="from")] = ""
    """The folder of a model, or of a run, or user/name[@revision] of the Hugging Face Hub, to go on
    from: its network, its tokens, its schedule and what it masks; flags of these are then left out,
    and the preset's are not used."""
    dry_run: bool = False
    """Train nothing: say what the run takes in memory, work and time, here and on GPUs."""
    gpu: Literal["", "a100", "h100", "h200", "b200"] = ""
    """With --dry-run: the kind of GPU to reckon with; empty: h100."""
    json: str = ""
    """Also write the run's end, with what made it, to this file."""


def train(argv: list[str]) -> None:
    """Train a preset on prepared data, or continue a run."""
    if argv[:1] in (["-h"], ["--help"]):
        print_presets()
        return
    known = presets()
    if not argv or argv[0].startswith("-"):
        raise ValueError(
            f"name a preset first: {', '.join(known)}; unmask train --help says what they are"
        )
    if argv[0] not in known:
        raise ValueError(f"there is no preset {argv[0]!r}; choose one of {', '.join(known)}")
    preset = known[argv[0]]
    default = Train(**asdict(preset.config), data=tyro.MISSING, out=tyro.MISSING)
    args = parse(Train, f"train {argv[0]}", argv[1:], preset.about, default=default)
    values = asdict(args)
    if args.steps == preset.config.steps and args.minutes != preset.config.minutes:
        # --minutes on the command line replaces the preset's steps, and the other way round
        values["steps"] = 0
    elif args.minutes == preset.config.minutes and args.steps != preset.config.steps:
        values["minutes"] = 0.0
    data, out, record = values.pop("data"), values.pop("out"), values.pop("json")
    dry_run, gpu = values.pop("dry_run"), values.pop("gpu")
    start = values.pop("start") or None
    check_out(record)
    check_apart([record], [data, *filter(None, [start])])
    if start is not None:
        refuse_network(args, preset.config)
    if args.optimizer != "muon" and args.muon_learning_rate != preset.config.muon_learning_rate:
        raise ValueError(
            f"--muon-learning-rate {args.muon_learning_rate} is of --optimizer muon: give that, or "
            "leave it out"
        )
    if gpu and not dry_run:
        raise ValueError(f"--gpu {gpu} is what --dry-run reckons with: give that, or leave it out")
    from unmask.checkpoint import checkpoints, digest
    from unmask.data import open_data
    from unmask.device import pick_device, pick_dtype, tune_process
    from unmask.likelihood import own_estimator
    from unmask.processes import own_device
    from unmask.rivals import open_model
    from unmask.train import last_row
    from unmask.train import train as run
    from unmask.train.run import known_run

    tune_process()
    if dry_run:
        print_plan(TrainConfig(**values), data, start, out, gpu or "h100", record)
        return
    before = {done.name for done in checkpoints(out)}
    folder = run(TrainConfig(**values), data, out, start)
    print(folder)
    last = last_row(out, folder)
    trained_on, model = open_data(data), open_model(folder)
    if start is not None:  # these are in the model, and are not the preset's
        values = {name: value for name, value in values.items() if name not in OF_MODEL}
    identity = (known_run(out) or {})["identity"]
    values |= {name: identity[name] for name in values if name in identity}  # what was left open
    made = {
        "seed": args.seed, "preset": argv[0], "data_sha256": trained_on.meta["sha256"],
        "weights": "ema", "model_sha256": digest(folder / "model.safetensors"),
        "value": last.get("bits"), "stderr": last.get("stderr"),
        "unit": f"bits per {trained_on.unit}", "noise": last.get("noise"),
        "n": last.get("windows"), "estimator": own_estimator(model).name(model),
        "repeats": args.eval_repeats, "given": "classes" if model.meta.get("labels") else None,
        "steps": last["step"], "seconds": last["seconds"], "config": values,
        "from": model.meta.get("from_hub", start),
    }  # fmt: skip
    if folder.name not in before:  # of a run that was finished nobody knows the machine
        device = pick_device(own_device(args.device))
        made |= {"precision": pick_dtype(args.dtype, device), "device": str(device)}
    write_record(record, **made)


def refuse_network(args: Train, plain: TrainConfig) -> None:
    """ValueError for a flag that is about the model, beside --from, which says all of that."""
    for name in OF_MODEL:
        value = getattr(args, name)
        if value != getattr(plain, name):
            raise ValueError(
                f"{flag(name)} {value}: with --from it is as in that model: leave it out"
            )


def print_plan(
    config: TrainConfig, folder: Path, start: str | None, out: Path, gpu: str, record: str
) -> None:
    """What the run takes, in words and as a record."""
    from unmask.train import State
    from unmask.train.loop import untrained
    from unmask.train.plan import described, plan

    # pieces are arithmetic here
    config, data, model = untrained(replace(config, shard=False), folder, start, out)
    made = plan(config, data, State(model, config))
    for line in described(made, config, data.unit, gpu):
        print(line)
    write_record(record, **made._asdict(), precision=config.dtype, device=config.device)


def print_presets() -> None:
    """What `unmask train --help` says before a preset is named."""
    print("usage: unmask train PRESET --data DIR --out DIR [flags]\n")
    print("unmask train PRESET --help shows a preset's values\n")
    print("presets:")
    for name, preset in presets().items():
        lead = {"initial_indent": f"  {name:16}  ", "subsequent_indent": " " * 20}
        print(textwrap.fill(preset.about, 100, **lead))
