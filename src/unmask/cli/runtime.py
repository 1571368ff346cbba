"""What the verbs share: device and precision, the record of a result, checks before the work."""

import json
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from unmask import __version__
from unmask.cli.flags import Machine, Sampler
from unmask.kinds.output import check_out


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
        """The model, the kind of its data, and its folder."""
        from unmask.checkpoint import resolve
        from unmask.diffusion import MaskedDiffusion
        from unmask.kinds.registry import kind_of

        folder = resolve(path)
        model = MaskedDiffusion.from_pretrained(folder).to(self.device)
        if "tokenizer" not in model.meta.get("data", {}):
            raise ValueError(
                f"{folder} does not say which tokens it was trained on: use it from Python (MaskedDiffusion.from_pretrained)"
            )
        return model, kind_of(model.meta["data"], folder), folder

    def filling(self) -> dict:
        """What a `Filler` takes of a sampler's flags."""
        names = (
            "sampler",
            "steps",
            "grid",
            "temperature",
            "guidance",
            "guidance_schedule",
            "batch_size",
            "seed",
        )
        flags = {name: getattr(self.args, name) for name in names}
        return flags | {"generator": self.generator, "precision": self.precision, "progress": True}

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
    record = {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in record.items()
    }
    Path(path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)


def report_checks(
    runtime: Runtime, folder: Path | None, header: str, rows: Iterable, **made
) -> int:
    """Print the rows of an audit as they come, and record them; 1 if one failed."""
    print(header)
    done = []
    for row in rows:
        print(row, flush=True)
        values = {
            name: None if isinstance(v, float) and not math.isfinite(v) else v
            for name, v in row._asdict().items()
        }
        done.append({**values, "passed": row.passed})
    failed = sum(not row["passed"] for row in done)
    print(f"{failed} of {len(done)} FAILED" if failed else f"all {len(done)} passed")
    runtime.record(folder, **made, failed=failed, rows=done)
    return int(failed > 0)


def estimator_name(learned: bool, steps: int = 0) -> str:
    """How a bound was drawn, for a schedule with one curve per value or with one for all."""
    return (
        f"discrete time, {steps} steps"
        if steps
        else f"continuous time, {'sampled times' if learned else 'exact count'}"
    )


def check_positive(args, *names: str) -> None:
    for name in names:
        if getattr(args, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')} must be at least 1, not {getattr(args, name)}"
            )


def how(args: Sampler) -> dict:
    grid = {"steps": args.steps, "grid": args.grid} if args.sampler == "ancestral" else {}
    guidance = (
        {"guidance": args.guidance, "guidance_schedule": args.guidance_schedule}
        if args.guidance
        else {}
    )
    return {"sampler": args.sampler, **grid, "temperature": args.temperature, **guidance}


def labels_of(label: int, num: int, model) -> list[int] | None:
    """Classes for `num` samples of a network that was given classes, or None."""
    classes = model.meta["data"].get("classes", 0) if model.meta.get("labels") else 0
    if label != -1 and not 0 <= label < classes:
        raise ValueError(
            f"--label {label}: "
            + (f"the classes are 0 to {classes - 1}" if classes else "the model knows no classes")
        )
    if not classes:
        return None
    return [i % classes for i in range(num)] if label == -1 else [label] * num


def same_data(model, kind, data, path: Path) -> None:
    """ValueError unless the data's tokens, and the classes that the model was given, mean what the
    model's do."""
    from unmask.kinds.registry import kind_of

    why = kind.differs(kind_of(data.meta, data.folder), path)
    if why:
        raise ValueError(f"{data.folder} {why}")
    classes = [
        (meta.get("classes"), meta.get("class_names")) for meta in (model.meta["data"], data.meta)
    ]
    if model.meta.get("labels") and classes[0] != classes[1]:
        said = [
            f"{n} classes{': ' if names else ''}{', '.join((names or [])[:10])}"
            for n, names in classes
        ]
        raise ValueError(f"{data.folder} has {said[1]}, and the model was trained on {said[0]}")
