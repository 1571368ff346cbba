"""The denoiser of a model for programs without this package: torch.export (.pt2) and ONNX (.onnx).

What is written is `MaskedDiffusion.predict`: z (B, S*L) int64 of ids, `mask_id` where masked, and,
where the network takes them, t (B,) float32, cond (B,) int64 and valid (B, S) bool -> (B, S, V)
float32 log-probabilities of every token, nats; -inf for what cannot be.  What a network takes is
never left out: cond of no label is the last of its numbers, valid of whole examples is all True.
Examples are whole sequences, no pieces of longer ones.
"""

import importlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import free_symbols

from unmask import __version__
from unmask.batch import accepts
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.files import write_whole
from unmask.schedules import Polynomial

SUFFIXES = (".onnx", ".pt2")
FACTS = "unmask.json"  # where a file keeps them
OUTPUT = "logp"
INSTALL = "pip install 'unmask[export]'"
CLOSE = 1e-2  # nats, between PyTorch and what was written: sums in another order are 100 times less
MOST_ONNX = 2**31 - 2**24  # bytes of weights: a protocol buffer has 2^31, and the graph needs some
OPSET = 20
TRACED, TRIED = 2, 3  # examples in a batch; what runs with one number and another runs with any
TRIED_POSITIONS = 63  # at most, and others than were traced

Shapes = dict[str, list[str | int]]


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
def export(
    model: MaskedDiffusion, out: str | Path, said: dict[str, Any] | None = None
) -> tuple[dict[str, Any], float]:
    """Write the denoiser of a model on the CPU to `out`, with its `facts` and what else is `said`.

    Returns these, and the largest difference to PyTorch of a batch with random masks, in nats: what
    was written is run before it has its name.  ValueError for a model that is not float32 on the
    CPU, that has no `length` in its meta, or that cannot be exported.
    """
    out = Path(out)
    check(out)
    check_model(model, out)
    length = model.meta["length"]
    with evaluating(model), quiet():
        denoiser = Denoiser(model)
        program = traced(denoiser, example(model, TRACED, length))
        known = facts(model, program) | (said or {})
        tried = example(model, TRIED, another(length, known["inputs"]["z"]))
        expected = denoiser(**tried)
        made, run = (as_onnx, run_onnx) if out.suffix == ".onnx" else (as_pt2, run_pt2)
        content = made(program, known)
        try:
            found = run(content, tried)
        except Exception as error:
            raise refused("what was exported does not run", error) from error
    if not torch.allclose(found, expected, rtol=0, atol=CLOSE):
        raise ValueError(
            f"what was exported says other than PyTorch, by more than {CLOSE} nats: nothing is "
            "written; please report it, with the versions of torch and onnxruntime"
        )
    write_whole(out, content)
    there = expected.isfinite()
    return known, float((found - expected)[there].abs().max())


def another(length: int, shape: list[str | int]) -> int:
    """A number of positions other than the traced `length`, where z, of this shape, may have it."""
    if isinstance(shape[1], int) or length < 3:
        return length
    return min(length - 1, TRIED_POSITIONS)


def check_model(model: MaskedDiffusion, out: Path) -> None:
    """ValueError for a model that is not float32 on the CPU, does not say its length, or is too
    large for `out`."""
    for weights in model.parameters():
        if weights.dtype != torch.float32 or weights.device.type != "cpu":
            said = f"{weights.dtype} on {weights.device}"
            raise ValueError(f"weights are {said}: export model.float().cpu()")
    size = sum(weights.nbytes for weights in model.parameters())
    if out.suffix == ".onnx" and size > MOST_ONNX:
        raise ValueError(
            f"weights of {size:,} bytes are more than the {MOST_ONNX:,} of an .onnx file: "
            "name a .pt2"
        )
    if "length" not in model.meta:
        raise ValueError("the model does not say its length: set model.meta['length']")


def facts(model: MaskedDiffusion, program: ExportedProgram) -> dict[str, Any]:
    """What who runs the file has to know, to be written as JSON."""
    units, network = model.subtokenizer, model.backbone
    schedule: dict[str, Any] = dict(model.schedule.config)
    if isinstance(model.schedule, Polynomial):
        schedule["power"] = model.schedule.power.tolist()
    known: dict[str, Any] = {
        "unmask": __version__,
        "licence": None,  # nobody has said one
        "inputs": inputs_of(program, units.length),
        "output": "log-probabilities (batch, positions, vocab_size) of tokens, in nats",
        "length": model.meta["length"],
        "mask_id": model.mask_id,
        "vocab_size": units.vocab_size,
        "digits": units.length,
        "base": units.base,
        "masking": model.masking,
        "schedule": schedule,
        "meta": model.meta,
    }
    if model.codes is not None:
        known["codes"] = model.codes.tolist()
    if model.partner is not None:
        known["links"] = {"partner": model.partner.tolist(), "group": model.group.tolist()}
    if labels := labels_of(network):
        known["labels"] = labels
    if most := getattr(network, "length", 0):
        known["most"] = most
    return known


def labels_of(network: nn.Module) -> int:
    """How many numbers `cond` can be, that of no label among them where there is one; 0: the
    network takes none."""
    if not accepts(network.forward, "cond"):
        return 0
    owner: Any = getattr(network, "condition", None)  # of MD4's
    table = getattr(owner if isinstance(owner, nn.Module) else network, "label", None)
    return table.num_embeddings if isinstance(table, nn.Embedding) else 0


def of_one_length(model: MaskedDiffusion) -> bool:
    """Whether alphabets of positions say how many there are."""
    return model.allowed is not None and model.allowed.ndim == 2


def example(model: MaskedDiffusion, batch: int, length: int) -> dict[str, Tensor]:
    """Inputs with every second unit masked, or so, always the same: possible values, all labels."""
    generator = torch.Generator().manual_seed(0)
    units = model.subtokenizer
    possible = torch.ones(units.vocab_size)
    if model.allowed is not None:
        possible = model.allowed.float()
    possible = possible.expand(length, -1)
    x = torch.multinomial(possible, batch, replacement=True, generator=generator).T.contiguous()
    masked = torch.rand(batch, length * units.length, generator=generator) < 0.5
    if model.later is not None:  # the other of two linked positions can then be anything
        masked = masked | model.later.repeat_interleave(units.length)
    given = {"z": units.encode(x).masked_fill(masked, model.mask_id)}
    if model.uses_time:
        given["t"] = torch.rand(batch, generator=generator)
    if labels := labels_of(model.backbone):
        given["cond"] = torch.arange(batch) % labels
    if accepts(model.backbone.forward, "valid"):
        given["valid"] = torch.arange(length) <= torch.arange(length, length + batch)[:, None] // 2
    return given


def traced(denoiser: Denoiser, given: dict[str, Tensor]) -> ExportedProgram:
    """The program of these inputs, for any number of examples, and of positions where it can."""
    shapes = {}
    for name, value in given.items():
        shapes[name] = {0: Dim.AUTO}
        if value.ndim > 1 and not of_one_length(denoiser.model):
            shapes[name][1] = Dim.AUTO
    try:
        program = torch.export.export(denoiser, (), given, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        name = type(denoiser.model.backbone).__name__
        raise refused(f"{name} cannot be exported by torch.export", error) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    for name, weights in program.state_dict.items():
        if not weights.is_contiguous():  # such as channels last, which files do not keep
            program.state_dict[name] = nn.Parameter(weights.contiguous())
    return program


def refused(what: str, error: Exception) -> ValueError:
    return ValueError(f"{what}: {' '.join(str(error).split())[:300]}")


def inputs_of(program: ExportedProgram, digits: int) -> Shapes:
    """Names and shapes of what a program takes, in their order.

    A dimension of any size has a name: "batch", "positions" or, where tokens have several `digits`,
    "units", which are so many times the positions.
    """
    found: Shapes = {}
    for name, shape in shapes_of(program).items():
        called = ("batch", "units" if name == "z" and digits > 1 else "positions")
        sizes = zip(called, shape, strict=False)
        found[name] = [one if free_symbols(size) else int(size) for one, size in sizes]
    return found


def shapes_of(program: ExportedProgram) -> dict[str, torch.Size]:
    """Of what a program takes, sizes that may be any being symbols."""
    taken = program.graph_signature.user_inputs
    nodes = program.graph.nodes
    return {node.name: node.meta["val"].shape for node in nodes if node.name in taken}


def as_pt2(program: ExportedProgram, known: dict[str, Any]) -> bytes:
    """A .pt2 file; what is `known` is one of its extra files."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={FACTS: json.dumps(known)})
    return buffer.getvalue()


def run_pt2(content: bytes, given: dict[str, Tensor]) -> Tensor:
    """What PyTorch makes of the inputs."""
    return torch.export.load(io.BytesIO(content)).module()(**given)


def as_onnx(program: ExportedProgram, known: dict[str, Any]) -> bytes:
    """An ONNX file; what is `known` is one of its metadata_props."""
    try:
        made: Any = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, output_names=[OUTPUT], verbose=False
        )
    except Exception as error:
        raise refused("the network cannot be said in ONNX", error) from error
    made.model.metadata_props[FACTS] = json.dumps(known)
    proto = made.model_proto
    names = {}
    for name, shape in shapes_of(program).items():
        sizes = zip(shape, known["inputs"][name], strict=True)
        names |= {str(size): one for size, one in sizes if isinstance(one, str)}
    for value in (*proto.graph.input, *proto.graph.output):
        for size in value.type.tensor_type.shape.dim:
            said = re.sub(r"s\d+", lambda m: names.get(m[0], m[0]), size.dim_param)
            if said.isdigit():
                size.dim_value = int(said)
            elif said:
                size.dim_param = said
    del proto.graph.value_info[:]  # shapes between, under their former names
    return proto.SerializeToString()


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
