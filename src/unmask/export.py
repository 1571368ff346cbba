"""The denoiser of a model for programs without this package: torch.export (.pt2) and ONNX (.onnx).

What is written is `MaskedDiffusion.predict`: z (B, S*L) int64 of ids, `mask_id` where masked, and,
where the network takes them, t (B,) float32, cond (B,) int64 and valid (B, S) bool -> (B, S, V)
float32 log-probabilities of every token, nats; -inf for what cannot be.  What is given to it is
never left out: cond of no label is the number of classes, valid of whole examples is all True.
Examples are whole sequences, no pieces of longer ones.
"""

import importlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask import __version__
from unmask.diffusion import MaskedDiffusion, accepts, evaluating
from unmask.files import write_whole

SUFFIXES = (".onnx", ".pt2")
INSTALL = "pip install 'unmask[export]'"
CLOSE = 1e-3  # nats, between PyTorch and what was written: sums in another order are 100 times less
MOST_ONNX = 2**31 - 2**24  # bytes of weights: a protocol buffer has 2^31, and the graph needs some
TRACED, TRIED = 2, 3  # examples in a batch; what runs with one number and another runs with any


class Denoiser(nn.Module):
    """`MaskedDiffusion.predict` as a module."""

    def __init__(self, model: MaskedDiffusion):
        super().__init__()
        self.model = model

    def forward(
        self,
        z: Tensor,
        t: Tensor | None = None,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        return self.model.predict(z, t, cond=cond, valid=valid)


def check(out: Path) -> None:
    """ValueError for a file of another kind, or one that needs packages that are not there."""
    if out.suffix not in SUFFIXES:
        raise ValueError(f"{out} must end in .onnx (ONNX) or .pt2 (torch.export)")
    if out.suffix == ".onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            try:
                importlib.import_module(name)
            except ImportError:
                raise ValueError(f"an .onnx file needs {name}: {INSTALL}") from None


@torch.no_grad()
def export(model: MaskedDiffusion, out: Path, said: dict[str, str]) -> dict[str, Any]:
    """Write the denoiser of a model on the CPU to `out`, with `facts` and `said` beside it.

    Returns the inputs, as names and shapes in which a dimension is None if it may be any, and the
    largest difference to PyTorch of a batch with random masks, in nats.  ValueError for a model
    that is not float32 on the CPU, that has no `length` in its meta, or that cannot be exported.
    """
    check(out)
    wrong = [p for p in model.parameters() if p.dtype != torch.float32 or p.device.type != "cpu"]
    if wrong:
        raise ValueError(
            f"weights are {wrong[0].dtype} on {wrong[0].device}: export model.float().cpu()"
        )
    if "length" not in model.meta:
        raise ValueError("the model does not say its length: set model.meta['length']")
    denoiser, length = Denoiser(model), model.meta["length"]
    with evaluating(model), quiet():
        program = traced(denoiser, example(model, TRACED, length))
        shapes = inputs_of(program)
        short = length
        if shapes["z"][1] is None:
            short = min(length, 64) - (length > 2)
        tried = example(model, TRIED, short)
        expected = denoiser(**tried)
        if out.suffix == ".onnx":
            content = as_onnx(program, facts(model) | said)
            found = run_onnx(content, tried)
        else:
            buffer = io.BytesIO()
            torch.export.save(program, buffer, extra_files=facts(model) | said)
            content = buffer.getvalue()
            found = torch.export.load(io.BytesIO(content)).module()(**tried)
    if not torch.allclose(found, expected, rtol=0, atol=CLOSE, equal_nan=True):
        raise ValueError(
            f"what was exported says other than PyTorch, by more than {CLOSE} nats: nothing is "
            "written; please report it, with the versions of torch and onnxruntime"
        )
    write_whole(out, content)
    there = expected.isfinite()
    return {"inputs": shapes, "difference": float((found - expected)[there].abs().max())}


def facts(model: MaskedDiffusion) -> dict[str, str]:
    """What who runs the file has to know; texts, those of more than a number in JSON."""
    units, trained_on = model.subtokenizer, model.meta.get("data", {})
    known = {
        "unmask": __version__,
        "output": "log-probabilities (B, S, V) of tokens, in nats; -inf: impossible",
        "mask_id": str(model.mask_id),
        "vocab_size": str(units.vocab_size),
        "digits": str(units.length),
        "base": str(units.base),
        "length": str(model.meta["length"]),
        "schedule": json.dumps(model.schedule.config()),
        "tokenizer": json.dumps(trained_on.get("tokenizer")),
    }
    if model.codes is not None:
        known["codes"] = json.dumps(model.codes.tolist())
    if classes_of(model):
        known["classes"] = str(classes_of(model))
    return known


def classes_of(model: MaskedDiffusion) -> int:
    """How many labels the network was given; 0: it takes none."""
    label: Any = getattr(model.backbone, "label", None)
    return 0 if label is None else label.num_embeddings - 1


def example(model: MaskedDiffusion, batch: int, length: int) -> dict[str, Tensor]:
    """Inputs with every second unit masked, or so, always the same: possible values, all labels."""
    generator = torch.Generator().manual_seed(0)
    units = model.subtokenizer
    allowed = torch.ones(units.vocab_size) if model.allowed is None else model.allowed.float()
    each = allowed.expand(length, -1)
    x = torch.multinomial(each, batch, replacement=True, generator=generator).T.contiguous()
    digits = units.encode(x)
    masked = torch.rand(digits.shape, generator=generator) < 0.5
    given = {"z": digits.masked_fill(masked, model.mask_id)}
    if model.uses_time:
        given["t"] = torch.rand(batch, generator=generator)
    if classes_of(model):
        given["cond"] = torch.arange(batch) % (classes_of(model) + 1)
    if accepts(model.backbone.forward, "valid"):
        given["valid"] = torch.arange(length) <= torch.arange(length, length + batch)[:, None] // 2
    return given


def traced(denoiser: Denoiser, given: dict[str, Tensor]) -> torch.export.ExportedProgram:
    """The program of these inputs, for any number of examples, and of positions where it can."""
    shapes = {name: dict.fromkeys(range(v.ndim), torch.export.Dim.AUTO) for name, v in given.items()}
    try:
        return torch.export.export(denoiser, (), given, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        name = type(denoiser.model.backbone).__name__
        raise refused(f"{name} cannot be exported by torch.export", error) from error


def refused(what: str, error: Exception) -> ValueError:
    return ValueError(f"{what}: {' '.join(str(error).split())[:300]}")


def inputs_of(program: torch.export.ExportedProgram) -> dict[str, list[int | None]]:
    """Names and shapes; None for a dimension that may be any."""
    by_name = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.meta}
    shapes = {name: by_name[name] for name in program.graph_signature.user_inputs}
    return {
        name: [size if isinstance(size, int) else None for size in shape]
        for name, shape in shapes.items()
    }


def as_onnx(program: torch.export.ExportedProgram, said: dict[str, str]) -> bytes:
    """An ONNX file; `said` are its metadata_props."""
    weights = sum(v.nbytes for v in program.state_dict.values())
    if weights > MOST_ONNX:
        raise ValueError(
            f"weights of {weights:,} bytes are more than the {MOST_ONNX:,} of an .onnx file: "
            "name a .pt2"
        )
    try:
        made: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:
        raise refused("the network cannot be said in ONNX", error) from error
    made.model.metadata_props.update(said)
    return made.model_proto.SerializeToString()


def run_onnx(content: bytes, given: dict[str, Tensor]) -> Tensor:
    """What onnxruntime makes of the inputs, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    return torch.from_numpy(found)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what PyTorch's exporters say to their own developers."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
