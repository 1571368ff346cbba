"""A folder of transformers: config.json, weights, and the files of a tokenizer."""

import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unmask import __version__
from unmask.backbones.families import build, family_of, fields_of
from unmask.backbones.huggingface import HuggingFace, drawable, marks_of, without_token_dropout
from unmask.checkpoint import check_header
from unmask.diffusion import MaskedDiffusion
from unmask.documents import read_json
from unmask.files import check_file
from unmask.importers.sources import Imported
from unmask.kinds.registry import adopt
from unmask.schedules import Linear
from unmask.subtokens import Subtokenizer

# how vocabularies without a tokenizer's files call them
MASKS = ("[MASK]", "<mask>")
BEGINS, ENDS = ("[CLS]", "<cls>", "<s>"), ("[SEP]", "<eos>", "</s>")
OTHERS = ("[PAD]", "<pad>", "[UNK]", "<unk>", "<null_1>")
# names of the first checkpoints of BERT
FORMER = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}
FEW = 8  # values, to be listed
FREQUENCIES = ".inv_freq"
# tensors that older versions saved, and newer ones compute
COMPUTED = (".position_ids", FREQUENCIES)


class Vocabulary(NamedTuple):
    """What a tokenizer's files say."""

    file: Path
    entries: dict[str, int]
    special: set[int]  # what stands for no text
    marks: tuple[int | None, int | None]
    mask: int | None


def read(source: Path, flags: Any) -> Imported:
    """A masked language model, as a model of whole tokens with a linear schedule.

    The bound does not depend on the schedule, since such a network looks at no time.  ValueError
    for a folder, weights or a vocabulary that are not known or do not fit together.
    """
    said = read_json(source / "config.json", dict)
    try:
        family = family_of(said.get("model_type"))
        fields = fields_of(family, said)
    except ValueError as error:
        raise ValueError(f"{source / 'config.json'}: {error}") from None
    vocabulary = read_vocabulary(source, flags.tokenizer)
    mask = mask_of(vocabulary, flags.mask, said.get("mask_token_id"))
    check_rows(vocabulary, mask, fields["vocab_size"], source)
    special = {*vocabulary.special, mask, *vocabulary.marks}
    texts = {entry: i for entry, i in vocabulary.entries.items() if i not in special}
    found, data = adopt(texts, vocabulary.file)
    there = drawable(vocabulary.entries, special)
    rows = torch.from_numpy(found.rows)
    rows = torch.where(rows >= 0, there[rows.clamp(min=0)], rows)
    network = build(family, fields)
    left = put(network, read_tensors(source), family.encoder, source)
    without_token_dropout(network, mask, said.get("token_dropout") is True)
    backbone = HuggingFace(
        said["model_type"], fields, len(rows), mask, *vocabulary.marks, rows=rows, network=network
    )
    length = flags.length or backbone.length
    if not 1 <= length <= backbone.length:
        raise ValueError(f"--length {length}: this network takes 1 to {backbone.length} tokens")
    meta = {"length": length, "data": data, "labels": False, "unmask": __version__}
    meta["weights"] = "as imported"
    model = MaskedDiffusion(backbone, Linear(), Subtokenizer(len(rows)), meta=meta).eval()
    found_there = lines(backbone, vocabulary, found.tokenizer, left)
    return Imported(model, found.tokenizer.files(), found_there)


def lines(
    backbone: HuggingFace, vocabulary: Vocabulary, tokenizer: Any, left: list[str]
) -> list[str]:
    """What was found."""
    size = sum(weights.numel() for weights in backbone.network.parameters()) / 1e6
    names: dict[int | None, str] = {i: entry for entry, i in vocabulary.entries.items()}
    names[None] = "nothing"
    begin, end = (names[mark] for mark in vocabulary.marks)
    many = int(backbone.allowed.sum())
    made = [
        f"{backbone.family}, {size:.2f} M parameters, up to {backbone.length} tokens",
        f"{many:,} of the {len(backbone.allowed):,} values of its tokenizer "
        f"({tokenizer.spec()['name']}) can be drawn; the mask is {names[backbone.mask]}, and a "
        f"sequence stands between {begin} and {end}",
    ]
    without = (~backbone.allowed).nonzero()[:, 0].tolist()
    if 0 < len(without) <= FEW:
        listed = ", ".join(f"{tokenizer.spell(i)} (value {i})" for i in without)
        made.append(f"not known to it, and refused in data: {listed}")
    if left:
        made.append(f"left out, as it is not of the masked language model: {', '.join(left)}")
    return made


# ---------------------------------------------------------------- the vocabulary


def read_vocabulary(folder: Path, tokenizer: str) -> Vocabulary:
    """From `tokenizer`, or else from the folder's tokenizer.json or vocab.txt."""
    files = [folder / "tokenizer.json", folder / "vocab.txt"]
    if tokenizer:
        files = [Path(tokenizer)]
    file = next((one for one in files if one.is_file()), None)
    if file is None:
        raise ValueError(
            f"there is no {' and no '.join(map(str, files))}: give the model's tokenizer.json, or "
            "the vocab.txt of a model of residues, with --tokenizer"
        )
    check_file(file)
    if file.suffix == ".json":
        return of_tokenizer(file, named(folder, "mask_token"))
    entries = read_entries(file)
    marks = tuple(first(entries, names) for names in (BEGINS, ENDS))
    known = (*MASKS, *BEGINS, *ENDS, *OTHERS)
    special = {i for entry, i in entries.items() if entry in known}
    mask = first(entries, (named(folder, "mask_token"), *MASKS))
    return Vocabulary(file, entries, special, (marks[0], marks[1]), mask)


def of_tokenizer(file: Path, mask: str) -> Vocabulary:
    """Of a tokenizer.json, which says itself what it puts around a text.  mask: how it is called,
    if that is known."""
    import tokenizers

    try:
        model = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        model.no_padding()  # which is no mark of an end
        model.no_truncation()
        marks = marks_of(model.encode("").ids)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    except Exception as error:  # the library's own are bare ones
        raise ValueError(f"{file} is no tokenizer of the package tokenizers: {error}") from None
    entries = model.get_vocab(with_added_tokens=True)
    added = model.get_added_tokens_decoder()
    special = {i for i, token in added.items() if token.special}
    return Vocabulary(file, entries, special, marks, first(entries, (mask, *MASKS)))


def read_entries(file: Path) -> dict[str, int]:
    """A list of entries, one a line, by number.  ValueError for one that is there twice."""
    entries: dict[str, int] = {}
    try:
        lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{file} is no list of entries in UTF-8: give a vocab.txt") from None
    for i, line in enumerate(lines):
        entry = line.strip()
        if entry in entries:
            raise ValueError(f"{file}, line {i + 1}: {entry!r} is there twice")
        entries[entry] = i
    return entries


def first(entries: dict[str, int], names: Iterable[str]) -> int | None:
    """The number of the first of these names that a vocabulary has."""
    return next((entries[name] for name in names if name in entries), None)


def named(folder: Path, name: str) -> str:
    """What a tokenizer's small files call a special token; "" if they do not say."""
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if not (folder / file).is_file():
            continue
        token = read_json(folder / file, dict).get(name)
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str):
            return token
    return ""


def mask_of(vocabulary: Vocabulary, given: str, configured: Any) -> int:
    """The row of the mask: `given`, or what the vocabulary says; as the configuration says, too."""
    mask = vocabulary.mask
    if given:
        mask = vocabulary.entries.get(given)
        if mask is None and given.isdecimal() and len(given) < 10:
            mask = int(given)
        if mask is None or mask not in vocabulary.entries.values():
            raise ValueError(f"--mask {given}: {vocabulary.file} has no such entry")
        if mask not in vocabulary.special and mask != configured:
            entry = next(entry for entry, i in vocabulary.entries.items() if i == mask)
            raise ValueError(
                f"--mask {given}: {entry!r} is an entry like any other of {vocabulary.file}, and a "
                "mask stands for no text"
            )
    if mask is None:
        raise ValueError(f"{vocabulary.file} does not say which entry is the mask: give --mask")
    if type(configured) is int and configured != mask:
        raise ValueError(
            f"config.json has mask_token_id {configured}, and in {vocabulary.file} the mask is "
            f"{mask}: give the tokenizer that belongs to the model"
        )
    return mask


def check_rows(vocabulary: Vocabulary, mask: int, size: int, source: Path) -> None:
    """ValueError for entries that the network, with `size` rows, has no row for, and for marks that
    are no entries."""
    entry, highest = max(vocabulary.entries.items(), key=lambda item: item[1])
    if highest >= size or mask >= size:
        raise ValueError(
            f"{vocabulary.file} has an entry {entry!r} of number {highest}, and the network of "
            f"{source} has {size} rows: give the tokenizer that belongs to the model"
        )
    known = {None, *vocabulary.entries.values()}
    if strange := {mask, *vocabulary.marks} - known:
        raise ValueError(
            f"{vocabulary.file} puts number {strange.pop()} around texts, and has no such entry"
        )


# ---------------------------------------------------------------- the weights


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, as float32.  ValueError for a file that holds anything else."""
    index = folder / "model.safetensors.index.json"
    whole, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if whole.is_file():
        files = [whole]
    elif index.is_file():
        pieces = read_json(index, {"weight_map": {str: str}})["weight_map"].values()
        files = [folder / Path(name).name for name in sorted(set(pieces))]
    elif pickled.is_file():
        return {name: tensor.float() for name, tensor in read_pickled(pickled).items()}
    else:
        raise ValueError(f"{folder} has no weights: neither {whole.name} nor {pickled.name}")
    found: dict[str, Tensor] = {}
    for file in files:
        check_file(file)
        check_header(file)
        try:
            found |= safetensors.torch.load_file(file)
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged ({error}): download it again") from None
    return {name: tensor.float() for name, tensor in found.items()}


def read_pickled(file: Path) -> dict[str, Tensor]:
    """Of a .bin: PyTorch's reader of tensors alone, which runs nothing that is in the file."""
    check_file(file)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{file} holds other things than tensors, which are not read, since reading them could "
            "run code: ask for a .safetensors file"
        ) from None
    except Exception as error:  # of any kind, where bytes are not what they were
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{file} is damaged ({said}): download it again") from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"{file} is no file of weights: it is not a mapping of names to tensors")
    return found


def put(network: nn.Module, tensors: dict[str, Tensor], encoder: str, source: Path) -> list[str]:
    """Read tensors into a network; the parts that are left out.

    ValueError for a tensor that is missing, of another shape, or inside the encoder and not known.
    """
    tensors = {renamed(name): tensor for name, tensor in tensors.items()}
    state = dict(network.state_dict())
    for twins in shared(network):
        there = [name for name in twins if name in tensors]
        for name in twins:
            if there:
                tensors.setdefault(name, tensors[there[0]])
        if any(not torch.equal(tensors[name], tensors[there[0]]) for name in there[1:]):
            raise ValueError(
                f"{source}: {there[0]} and {there[1]} are one tensor by config.json "
                "(tie_word_embeddings), and they differ"
            )
    stored = [tensor for name, tensor in tensors.items() if name.endswith(FREQUENCIES)]
    for name, tensor in state.items():
        # as in training, which may have rounded them: older versions kept them layer by layer
        if name.endswith(FREQUENCIES) and stored:
            tensors.setdefault(name, stored[0])
        elif name.endswith(COMPUTED):
            tensors[name] = tensor
        if name not in tensors:
            raise ValueError(f"{source}: the weights have no {name}, which this network needs")
        if tensors[name].shape != tensor.shape:
            shapes = f"{tuple(tensors[name].shape)}, and by config.json {tuple(tensor.shape)}"
            raise ValueError(f"{source}: {name} has the shape {shapes}")
        if not bool(tensors[name].isfinite().all()):
            raise ValueError(f"{source}: {name} has values that are not finite")
    left = {name for name in tensors if name not in state and not name.endswith(COMPUTED)}
    inside = sorted(name for name in left if name.startswith(f"{encoder}."))
    known = getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()  # no longer read
    ignored = [r"\.pooler\.", *known]
    strange = [name for name in inside if not any(re.search(one, name) for one in ignored)]
    if strange:
        raise ValueError(f"{source}: {strange[0]} is in the weights, and not in this network")
    network.load_state_dict({name: tensors[name] for name in state}, assign=True)
    network.tie_weights()  # pyrefly: ignore
    return sorted({name.rpartition(".")[0] for name in left})


def renamed(name: str) -> str:
    for former, now in FORMER.items():
        if name.endswith(former):
            return name.removesuffix(former) + now
    return name


def shared(network: nn.Module) -> list[list[str]]:
    """Names of the parameters that are one."""
    names: dict[int, list[str]] = {}
    for name, weights in network.named_parameters(remove_duplicate=False):
        names.setdefault(id(weights), []).append(name)
    return [twins for twins in names.values() if len(twins) > 1]
