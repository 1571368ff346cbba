"""What the verbs share: device and precision, the record of a result, checks before the work."""

import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from unmask import __version__
from unmask.cli.flags import Machine, Sampler


class Runtime:
    """The device and precision that a command's flags name, and its record for --json."""

    def __init__(self, args: Machine):
        import torch

        from unmask.device import keep_freed_memory, pick_device, pick_dtype, precision

        keep_freed_memory()

        if args.threads < 0:
            raise ValueError(f"--threads must not be negative, not {args.threads}")
        if args.threads:
            torch.set_num_threads(args.threads)
        self.device = pick_device(args.device)
        self.dtype = pick_dtype(args.dtype, self.device)
        self.precision = precision(self.dtype, self.device)
        self.generator = torch.Generator().manual_seed(args.seed)
        self.args, self.began = args, time.monotonic()
        check_out(args.json)

    def load(self, path: Path):
        """The model, its tokenizer and its folder."""
        from unmask.checkpoint import resolve
        from unmask.data import load_tokenizer
        from unmask.diffusion import MaskedDiffusion

        folder = resolve(path)
        model = MaskedDiffusion.from_pretrained(folder).to(self.device)
        if "tokenizer" not in model.meta.get("data", {}):
            raise ValueError(f"{folder} does not say which tokens it was trained on: use it from Python (MaskedDiffusion.from_pretrained)")
        return model, load_tokenizer(model.meta["data"]["tokenizer"], folder), folder

    def record(self, folder: Path | None = None, **values) -> None:
        """Write --json, if asked for."""
        if not self.args.json:
            return
        from unmask.checkpoint import digest

        made = {
            "seed": self.args.seed,
            "precision": self.dtype,
            "device": str(self.device),
            "seconds": round(time.monotonic() - self.began, 3),
        }
        if folder is not None:
            made |= {"model_sha256": digest(folder / "model.safetensors"), "weights": "ema"}
        write_record(self.args.json, **(made | values))


def write_record(path: str, **values) -> None:
    """A result and what made it, as JSON, if a path was given."""
    if not path:
        return
    record = {"command": ["unmask", *sys.argv[1:]], "version": __version__, **values}
    record = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in record.items()}
    Path(path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)


def report_checks(runtime: Runtime, folder: Path | None, header: str, rows: Iterable, **made) -> int:
    """Print the rows of an audit as they come, and record them; 1 if one failed."""
    print(header)
    done = []
    for row in rows:
        print(row, flush=True)
        values = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row._asdict().items()}
        done.append({**values, "passed": row.passed})
    failed = sum(not row["passed"] for row in done)
    print(f"{failed} of {len(done)} FAILED" if failed else f"all {len(done)} passed")
    runtime.record(folder, **made, failed=failed, rows=done)
    return int(failed > 0)


def estimator_name(learned: bool, steps: int = 0) -> str:
    """How a bound was drawn, for a schedule with one curve per value or with one for all."""
    return f"discrete time, {steps} steps" if steps else f"continuous time, {'sampled times' if learned else 'exact count'}"


def check_positive(args, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}")


def examples_at_a_time(asked: int, length: int) -> int:
    """--batch-size, whose 0 leaves it to the length of an example."""
    if asked < 0:
        raise ValueError(f"--batch-size must not be negative, not {asked}")
    return asked or max(64, 16384 // length)


def check_out(path: str, suffix: str = "") -> None:
    """An output file that cannot be written is an error before the work, not after."""
    if path and not Path(path).resolve().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {Path(path).parent}")
    if path and Path(path).is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if path:
        new = not Path(path).exists()
        with open(path, "a"):  # an OSError names the file and the reason
            pass
        if new:
            Path(path).unlink()
    if path and suffix and not path.endswith(suffix):
        raise ValueError(f"{path} must end in {suffix}")


def same_tokens(model, data, path: Path) -> None:
    """ValueError unless the data's ids mean what the model's do."""
    ours, theirs = model.meta["data"]["tokenizer"], data.meta["tokenizer"]
    fix = f"prepare the text again with --tokenizer {path}"
    if {"pixels", "residues"} & {ours["name"], theirs["name"]}:
        if ours != theirs:
            raise ValueError(f"{data.folder} has {describe_tokens(theirs)}, and the model was trained on {describe_tokens(ours)}")
        classes = [(meta.get("classes"), meta.get("class_names")) for meta in (model.meta["data"], data.meta)]
        if model.meta.get("labels") and classes[0] != classes[1]:
            said = [f"{n} classes{': ' if names else ''}{', '.join((names or [])[:10])}" for n, names in classes]
            raise ValueError(f"{data.folder} has {said[1]}, and the model was trained on {said[0]}")
        return
    if "table" in (ours["name"], theirs["name"]):
        if ours != theirs:
            raise ValueError(f"{data.folder} has other columns, categories or bins than the model's: prepare the table with --like {path}")
        return
    if data.vocab_size != model.subtokenizer.vocab_size:
        raise ValueError(f"{data.folder} has {data.vocab_size} values and the model {model.subtokenizer.vocab_size}: {fix}")
    if ours != theirs and "ids" not in (ours["name"], theirs["name"]):
        raise ValueError(f"{data.folder} was prepared with another tokenizer or alphabet than the model's: {fix}")


def describe_tokens(spec: dict) -> str:
    """A tokenizer's spec in words."""
    if spec["name"] == "pixels":
        return f"pictures of {' x '.join(map(str, spec['shape']))} with {spec['vocab_size']} values"
    return f"proteins ({spec['vocab_size']} residues)" if spec["name"] == "residues" else f"text ({spec['name']})"


def run_sampler(args: Sampler, runtime: Runtime, model, z, frames: int = 0, cond=None, valid=None, holes=None):
    """Token ids (B, S) from z (B, S*L), in batches, and the states of the first `frames` rows; `valid`, `holes` as in `sample`."""
    import torch
    from tqdm import tqdm

    from unmask.sampling import to_tokens, trajectory

    if not math.isfinite(args.guidance):
        raise ValueError(f"--guidance must be a finite number, not {args.guidance}")
    if args.guidance and cond is not None and not model.meta.get("label_dropout"):
        raise ValueError("--guidance needs a network that learned to do without the class, too: train with --label-dropout above 0")
    if args.guidance and cond is None:
        raise ValueError(f"--guidance {args.guidance:g} strengthens what a class says, and there is none here: leave it out")
    if args.guidance_schedule != "constant" and not args.guidance:
        raise ValueError(f"--guidance-schedule {args.guidance_schedule} is of a weight, and there is none: give --guidance")
    share = {"constant": torch.ones_like, "rising": lambda t: 1 - t, "falling": lambda t: t}[args.guidance_schedule]
    guidance = (lambda t: args.guidance * share(t)) if args.guidance else None
    batch = examples_at_a_time(args.batch_size, z.shape[1])
    steps = 1 if args.sampler == "first_hitting" and not frames else args.steps
    rows, kept = z.split(batch), [z[:frames]]
    labels = [None] * len(rows) if cond is None else cond.to(runtime.device).split(batch)
    there = [None] * len(rows) if valid is None else valid.to(runtime.device).split(batch)
    open_ = [None] * len(rows) if holes is None else holes.to(runtime.device).split(batch)
    done = []
    with tqdm(total=steps * len(rows), unit="step", disable=None, dynamic_ncols=True) as bar, runtime.precision:
        for part, label, real, hole in zip(rows, labels, there, open_, strict=True):
            states = trajectory(model, part.to(runtime.device), sampler=args.sampler, steps=steps, grid=args.grid, cond=label, valid=real,
                                holes=hole, generator=runtime.generator, temperature=args.temperature, guidance=guidance)  # fmt: skip
            for state in states:
                bar.update()
                if frames and not done:
                    kept.append(state[:frames].cpu())
            done.append(to_tokens(model, state, real, hole).cpu())
    return torch.cat(done), kept


def fill_window(args: Sampler, runtime: Runtime, model, z, part: slice, fill, valid=None) -> None:
    """Fill z (B, S*L) in place where `fill` (B, W) says so in the tokens `part`, seeing nothing but these; `valid` (B, S)."""
    length = model.subtokenizer.length
    units = slice(part.start * length, part.stop * length)
    real = None if valid is None or bool(valid[:, part].all()) else valid[:, part]
    x, _ = run_sampler(args, runtime, model, z[:, units], valid=real, holes=fill)
    z[:, units] = model.subtokenizer.encode(x.clamp(min=0)).where(fill.repeat_interleave(length, 1), z[:, units])


def how(args: Sampler) -> dict:
    grid = {"steps": args.steps, "grid": args.grid} if args.sampler == "ancestral" else {}
    guidance = {"guidance": args.guidance, "guidance_schedule": args.guidance_schedule} if args.guidance else {}
    return {"sampler": args.sampler, **grid, "temperature": args.temperature, **guidance}


def write_texts(out: str, texts: list[str]) -> None:
    """To the terminal, or to a file: one text as it is, several under headings, or JSON lines."""
    if out.endswith(".jsonl"):
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    elif len(texts) == 1:
        content = texts[0] if out else texts[0] + "\n" * (not texts[0].endswith("\n"))
    else:
        content = "".join(f"--- {i}\n{text}\n" for i, text in enumerate(texts, 1))
    if out:
        Path(out).write_text(content, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    else:
        sys.stdout.write(content)
