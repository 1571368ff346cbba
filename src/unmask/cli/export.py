"""unmask export: the denoiser of a model, for programs without this package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from unmask.cli.flags import Model, parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_apart, check_out


@dataclass(frozen=True, kw_only=True)
class Export:
    model: Model
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
    from unmask.checkpoint import read_config
    from unmask.diffusion import MaskedDiffusion
    from unmask.export import check, export
    from unmask.hub import find
    from unmask.kinds.registry import kind_of

    check(args.out)
    check_out(str(args.out))
    check_apart([args.out, args.json], [])
    found = find(args.model)
    folder = found.folder
    model = MaskedDiffusion.from_pretrained(folder).float()
    sha256 = read_config(folder)["sha256"]["model.safetensors"]  # just verified
    trained_on, files = model.meta.get("data", {}), {}
    if "tokenizer" in trained_on:
        files = kind_of(trained_on, folder).tokenizer.files()
    said = {
        "model_sha256": sha256,
        "files": {name: content.decode() for name, content in files.items()},
    }
    known, difference = export(model, args.out, said)
    print(f"wrote {args.out}: log-probabilities of tokens, from")
    for name, shape in known["inputs"].items():
        print(f"  {name} ({', '.join(map(str, shape))})")
    print(f"the largest difference to PyTorch is {difference:.1e} nats")
    made = {name: known[name] for name in ("inputs", "model_sha256")}
    made |= {"model": found.name} if found.name else {}
    write_record(args.json, **made, difference=difference)
