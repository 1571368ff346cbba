"""unmask export: the denoiser of a model, for programs without this package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_out


@dataclass(frozen=True, kw_only=True)
class Export:
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a run's."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The file to write: .onnx (ONNX) or .pt2 (torch.export)."""
    json: str = ""
    """Also write what was made to this file."""


def export_model(argv: list[str]) -> None:
    """Write the denoiser, which makes log-probabilities of every token from masked examples.

    In float32, for any number of examples, and of positions where the network allows it.  What was
    written is run once, and held against PyTorch.
    """
    args = parse(Export, "export", argv, export_model.__doc__)
    check_out(args.json)
    from unmask.checkpoint import read_config, resolve
    from unmask.diffusion import MaskedDiffusion
    from unmask.export import check, export

    check(args.out)
    check_out(str(args.out))
    folder = resolve(args.model)
    model = MaskedDiffusion.from_pretrained(folder).float()
    digest = read_config(folder)["sha256"]["model.safetensors"]
    made = export(model, args.out, {"model_sha256": digest})
    print(f"wrote {args.out}: log-probabilities (B, S, V) of")
    for name, shape in made["inputs"].items():
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        print(f"  {name} ({sizes})")
    print(f"the largest difference to PyTorch is {made['difference']:.1e} nats")
    write_record(args.json, **made, model_sha256=digest)
