"""Masked language models of Hugging Face as networks: they take no time, and need none.

A denoiser of masked diffusion that looks at z alone is a masked language model (arXiv 2406.03736);
what differs is how tokens are numbered.  Here the V values of a model come first and its mask is
the id V; there a vocabulary has rows for marks, padding and tokens that nobody uses, and its mask
is one of them.  `Rows` goes from one to the other, and puts a sequence between its marks.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unmask.backbones.families import FAMILIES, build, family_of, fields_of
from unmask.batch import accepts

# entries of vocabularies that no text has: of BERT's kin, and of RoBERTa's
UNUSED = re.compile(r"[\[<]unused_?\d+[\]>]|madeupword\d+")


class Rows(nn.Module):
    """A network over a foreign vocabulary as one over V values and a mask.

    `network`: (ids (B, L), attention_mask=(B, L)) -> logits (B, L, rows), or an object with
    `.logits`; one without an argument of that name takes no `valid`.
    `rows` (V,): the row of each value, -1 for one that there is not.  `mask`, `begin`, `end`:
    rows of the mask and of the marks around a sequence (None: there is none).
    `most`: positions of the network, marks included; 0: not known.
    `shift`: what it says at a position is of the next one, as of a causal model that was made one
    of masks (Dream).  At the first position, which nothing stands before, it says its own.
    """

    uses_time = False

    def __init__(
        self,
        network: nn.Module,
        rows: Tensor,
        *,
        mask: int,
        begin: int | None = None,
        end: int | None = None,
        most: int = 0,
        shift: bool = False,
    ):
        super().__init__()
        self.network, self.shift = network, shift
        self.register_buffer("rows", torch.cat([rows, rows.new_tensor([mask])]))
        self.begin, self.end, self.most = begin, end, most

    @property
    def allowed(self) -> Tensor:
        """(V,) bool: the values that there are."""
        return self.rows[:-1] >= 0

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.rows) - 1

    @property
    def length(self) -> int:
        """The most tokens that a sequence can have between its marks; 0: not known."""
        marks = (self.begin is not None) + (self.end is not None)
        return self.most and self.most - marks

    def inputs(
        self, z: Tensor, valid: Tensor | None = None, ends: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Ids (B, L) of rows, marks included, and which of them are there (B, L); None: all.

        z (B, S), valid (B, S), ends (B, 2): see `batch.told`.  Marks stand before the first
        position and after the last that has a value, but not where a piece of a sequence was cut
        from it.  ValueError for a sequence beyond the network's positions.
        """
        if self.length and z.shape[1] > self.length:
            raise ValueError(
                f"{z.shape[1]} tokens are more than the {self.length} that this network has "
                "positions for, marks aside: give a smaller length, or shorter sequences"
            )
        begin, end = (
            [] if mark is None else [z.new_full((z.shape[0], 1), mark)]
            for mark in (self.begin, self.end)
        )
        ids = torch.cat([*begin, self.rows[z], *end], 1)
        if valid is None and ends is None:
            return ids, None
        there = torch.ones_like(z, dtype=torch.bool) if valid is None else valid
        marked = there.new_ones(z.shape[0], 2) if ends is None else ends
        size = (there * torch.arange(1, z.shape[1] + 1, device=z.device)).amax(1, keepdim=True)
        opens, closes = marked[:, :1], marked[:, 1:]
        shown = [opens for _ in begin] + [there] + [torch.zeros_like(closes) for _ in end]
        attended = torch.cat(shown, 1)
        if end:
            after = size + len(begin)
            ids = ids.scatter(1, after, end[0])
            attended = attended.scatter(1, after, closes)
        return ids, attended

    def strip(self, rows: Tensor) -> Tensor:
        """(B, L, ...) of all positions -> (B, S, ...) of those between the marks."""
        first = self.begin is not None
        return rows[:, first : rows.shape[1] - (self.end is not None)]

    def values(self, logits: Tensor) -> Tensor:
        """Logits of rows (..., rows) -> of values (..., V)."""
        return logits[..., self.rows[:-1].clamp(min=0)]

    def forward(self, z: Tensor, valid: Tensor | None = None, ends: Tensor | None = None) -> Tensor:
        """z (B, S), V where masked -> logits (B, S, V)."""
        ids, there = self.inputs(z, valid, ends)
        given = {} if there is None else {"attention_mask": there.long()}
        if given and not accepts(self.network.forward, "attention_mask"):
            raise ValueError(
                "examples of several lengths, or pieces of examples, need an attention_mask, which "
                f"{type(self.network).__name__} does not take: give whole examples of one length"
            )
        said = self.network(ids, **given)
        logits = said if isinstance(said, Tensor) else said.logits
        # rows have no values while the network is exported
        if not torch.compiler.is_exporting():
            check_rows(self.rows, logits.shape[-1])
        if self.shift:
            logits = torch.cat([logits[:, :1], logits[:, :-1]], 1)
        return self.values(self.strip(logits))


class HuggingFace(Rows):
    """A network of one of the `families`, saved and read without the folder that it is from.

    `family`: a model_type of the table.  `fields`: of its configuration.  `values`: V.  The rest
    as of `Rows`; without a `network`, one is made whose weights are to be read.
    """

    def __init__(
        self,
        family: str,
        fields: dict[str, Any],
        values: int,
        mask: int,
        begin: int | None,
        end: int | None,
        *,
        rows: Tensor | None = None,
        network: nn.Module | None = None,
    ):
        known = family_of(family)
        if network is None:
            network = build(known, fields)
        if rows is None:
            rows = torch.empty(values, dtype=torch.long)  # to be read
        else:
            check_rows(rows, fields["vocab_size"])
        for row in (mask, begin, end):
            if row is not None and not 0 <= row < fields["vocab_size"]:
                raise ValueError(f"row {row} is none of the {fields['vocab_size']} of the network")
        most = known.positions(fields)
        super().__init__(network, rows, mask=mask, begin=begin, end=end, most=most)
        self.family, self.fields, self.mask = family, fields, mask
        self.register_load_state_dict_post_hook(read)

    @property
    def config(self) -> dict:
        """The constructor's arguments."""
        return {
            "family": self.family, "fields": self.fields, "values": self.vocab_size,
            "mask": self.mask, "begin": self.begin, "end": self.end,
        }  # fmt: skip

    def features(
        self, z: Tensor, valid: Tensor | None = None, ends: Tensor | None = None
    ) -> Tensor:
        """z (B, S), V where masked -> (B, S, D)."""
        ids, there = self.inputs(z, valid, ends)
        given = {} if there is None else {"attention_mask": there.long()}
        encoder = getattr(self.network, FAMILIES[self.family].encoder)
        return self.strip(encoder(ids, **given)[0])

    def logits(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        for part in FAMILIES[self.family].head:
            features = getattr(self.network, part)(features)
        return self.values(features)

    def forward(self, z: Tensor, valid: Tensor | None = None, ends: Tensor | None = None) -> Tensor:
        """z (B, S), V where masked -> logits (B, S, V)."""
        return self.logits(self.features(z, valid, ends))


def read(network: HuggingFace, keys: Any) -> None:
    """After weights are read, those that are one weight are one again.

    ValueError for rows that the network does not have.
    """
    check_rows(network.rows, network.fields["vocab_size"])
    inner: Any = network.network
    inner.tie_weights()


def check_rows(rows: Tensor, size: int) -> None:
    """ValueError for a row that a network of `size` rows does not have."""
    if not rows.is_meta and int(rows.max()) >= size:
        raise ValueError(
            f"the network has {size} rows, and its vocabulary has a row {int(rows.max())}: give "
            "the tokenizer that it was trained with"
        )


def from_transformers(
    model: nn.Module,
    tokenizer: Any,
    *,
    mask: int | None = None,
    marks: tuple[int | None, int | None] | None = None,
    most: int = 0,
    shift: bool = False,
) -> Rows:
    """A masked language model as a network of `MaskedDiffusion`, over the ids of its tokenizer.

    `model`: of transformers, or any module (ids, attention_mask) -> logits (B, L, rows), or what
    has them as `.logits`.  `tokenizer`: of transformers.  The values are its ids from 0 to the
    highest, V of them (`.vocab_size`); the mask is the id V here, whatever it is there.  Special
    and unused ones are not `.allowed`.  Marks around a sequence are put in and stripped.
    `mask`, `marks` (begin, end; None for none): by default those of the tokenizer.
    `most`: positions that the network has, marks included; of a known family it says so itself.
    `shift`: its logits at a position are of the next one, see `Rows`.

    One of the `families` is saved with all that it needs; of any other the weights alone are.
    Of an ESM network `token_dropout` is switched off, see `without_token_dropout`.
    ValueError for a tokenizer without a mask, or marks that are not one id on each side.
    """
    entries = tokenizer.get_vocab()
    if mask is None:
        mask = tokenizer.mask_token_id
    if mask is None:
        raise ValueError("the tokenizer has no mask: give its id as mask=")
    if marks is None:
        marks = marks_of(tokenizer.encode(""))
    rows = drawable(entries, {*tokenizer.all_special_ids, mask, *marks})
    config: Any = getattr(model, "config", None)
    name: Any = getattr(config, "model_type", None)
    if name not in FAMILIES or not isinstance(model, FAMILIES[name].network):
        how = {"mask": mask, "begin": marks[0], "end": marks[1], "most": most, "shift": shift}
        return Rows(model, rows, **how)
    if shift:
        raise ValueError(f"a {name} says at each position what stands there: leave out shift")
    fields = fields_of(FAMILIES[name], config.to_dict())
    made = HuggingFace(name, fields, len(rows), mask, *marks, rows=rows, network=model)
    without_token_dropout(model, mask)
    return made


def marks_of(ids: Sequence[int]) -> tuple[int | None, int | None]:
    """What stands before and after a sequence, of what a tokenizer makes of none."""
    if not ids:
        return None, None
    if len(ids) != 2:
        raise ValueError(
            f"the tokenizer puts the marks {list(ids)} around a sequence, and one on each side is "
            "what is known here: give from_transformers, in Python, marks=(begin, end)"
        )
    return ids[0], ids[1]


def drawable(entries: Mapping[str, int], special: set[int | None]) -> Tensor:
    """(V,) the row of every id up to the highest of a vocabulary, itself; -1 for what is no text.

    That are `special` ids, ids without an entry, and entries that are kept for uses to come.
    """
    rows = torch.full((max(entries.values()) + 1,), -1)
    for entry, i in entries.items():
        if i not in special and not UNUSED.fullmatch(entry):
            rows[i] = i
    return rows


@torch.no_grad()
def without_token_dropout(network: nn.Module, mask: int, was_on: bool = False) -> None:
    """Switch off what ESM-2 does with its mask, and leave what it learned.

    `was_on`: it was on in training, though it is off in this network.
    Under `token_dropout` the embedding of the mask counts as 0, and all others are multiplied by
    0.88 / (1 - the share that is masked): by 1 at the share of training, by hundreds where nearly
    all is masked.  Without, the mask has an embedding, which was never trained: it is set to 0, so
    that at 12 % masked the network says the same as before.
    """
    embeddings: Any = getattr(getattr(network, "esm", None), "embeddings", None)
    if embeddings is None or not (was_on or embeddings.token_dropout):
        return
    embeddings.token_dropout = False
    embeddings.word_embeddings.weight[mask] = 0
