"""The kind, as the verbs see it: texts with [MASK]s in, texts out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unmask.kinds.kind import (
    Adopted,
    Filler,
    Kind,
    Listed,
    NoFlags,
    Packed,
    Partial,
    Source,
    State,
    own_flags,
    too_long,
)
from unmask.kinds.output import check_out, table, write_text, write_texts
from unmask.kinds.quality import Quality
from unmask.kinds.text.flags import PrepareText
from unmask.kinds.text.presets import PRESETS
from unmask.kinds.text.protocols import PROTOCOLS
from unmask.kinds.view import Line, View, Words


class Text(Kind):
    name = "text"
    about = "Text, JSON lines or ready token ids."
    source = (
        "A text, JSON lines (.jsonl, .ndjson, .json; also .gz, .xz), a Parquet file, a folder "
        "that `datasets` saved, a folder, every file in which is a document, or a file of ready "
        "token ids."
    )
    Prepare = PrepareText
    presets = PRESETS
    protocols = PROTOCOLS
    what = "a text"
    keys = (
        "format", "kind", "tokenizer", "vocab_size", "dtype",
        "documents", "eot", "tokens", "document_count",
    )  # fmt: skip
    no_labels = "text, which has no labels"
    tokens = ("bytes", "characters", "subwords", "ids")
    Read = NoFlags
    not_judged, spelled, has_words = "", True, True

    @classmethod
    def demos(cls) -> list[type]:
        from unmask.kinds.text.demo import Shakespeare

        return [Shakespeare]

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        from unmask.kinds.text.prepare import prepare_text

        flags = own_flags(cls.Prepare, args)
        for name in ("alphabet", "vocab_size"):  # empty, or 0: not given
            flags[name] = flags[name] or None
        meta = prepare_text(args.source, args.out, **flags)
        counts = ", ".join(f"{n:,} {name}" for name, n in meta["tokens"].items())
        how = f"{meta['tokenizer']['name']}, documents {meta['documents']}"
        said = f"{args.out}: {counts} tokens of {meta['vocab_size']} values ({how})"
        return meta, [said, *overview(Path(args.out), meta)]

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.text.data import TokenData

        return TokenData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.text.tokenizers import load_tokenizer

        return load_tokenizer(spec, folder)

    @classmethod
    def adopt(cls, entries: dict[str, int], file: Path) -> Adopted | None:
        """With the tokenizer that the vocabulary is of.

        No token ends a text: a network between whose marks a text stands never saw several.
        """
        import numpy as np

        from unmask.kinds.text.tokenizers import read_subwords

        if file.suffix != ".json":
            return None
        tokenizer = read_subwords(file, None)
        return Adopted(tokenizer, np.arange(tokenizer.vocab_size))

    @classmethod
    def tokens_named(cls, name: str) -> Any:
        from unmask.kinds.text.tokenizers import Subwords, make_tokenizer

        return Subwords(name) if name.startswith("{") else make_tokenizer(name)

    def follow(self, name: str, source: Path, out: Path) -> None:
        from unmask.kinds.text.follow import follow

        follow(PROTOCOLS[name], name, source, out, self.tokenizer)

    def describe(self) -> str:
        return f"text ({self.meta['tokenizer']['name']})"

    def differs(self, other: Kind, path: Path) -> str:
        if other.name != self.name:
            return super().differs(other, path)
        ours, theirs = self.meta, other.meta
        fix = f"prepare the text again with --tokenizer {path}"
        if ours["vocab_size"] != theirs["vocab_size"]:
            return f"has {theirs['vocab_size']} values and the model {ours['vocab_size']}: {fix}"
        names = [meta["tokenizer"]["name"] for meta in (ours, theirs)]
        if ours["tokenizer"] != theirs["tokenizer"] and "ids" not in names:
            return f"was prepared with another tokenizer or alphabet than the model's: {fix}"
        if names == ["subwords", "subwords"] and words(self) != words(other):
            return f"was prepared with a tokenizer of other words than the model's: {fix}"
        return ""

    def read(self, path: Path, args: Any, length: int) -> Source:
        return Passage(path, args, length, self.tokenizer)

    def listed(self, path: Path, args: Any, *, marks: bool = False) -> list[Listed]:
        from unmask.kinds.text.lines import read_lines

        return read_lines(path, self.tokenizer, marks=marks)

    def pack(self, path: Path) -> Packed:
        from unmask.kinds.text.packed import pack

        return pack(path, self.tokenizer)

    def check_unpacked(self, out: str) -> None:
        check_out(out, packed=True)  # any file comes back, an archive, too

    def unpack(self, rows: list, beside: bytes, out: str) -> None:
        from unmask.kinds.text.packed import unpack

        unpack(rows, beside, out, self.tokenizer)

    def write(self, rows: list, args: Any) -> dict:
        texts = [self.tokenizer.decode(row.tolist()) for row in rows]
        write_texts(args.out, texts)
        return {"samples": texts}

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        from unmask.kinds.text.quality import judge

        return judge(data, path, split=args.split, seed=args.seed)

    def editor(self, length: int) -> Any:
        from unmask.kinds.text.editor import TextEditor

        return TextEditor(self, length)

    @property
    def words(self) -> Words:
        return Words(part=self.part, given="The given text")

    @property
    def part(self) -> str:
        """What a token is called."""
        names = {"bytes": "byte", "characters": "character"}
        return names.get(self.meta["tokenizer"]["name"], self.unit)

    def views(self, rows: Sequence[Any], shown: Sequence[Any]) -> list[View]:
        """A letter is known when all of its tokens are, which may hold parts of it."""
        from unmask.kinds.text.letters import letters
        from unmask.kinds.text.tokenizers import Ids

        if isinstance(self.tokenizer, Ids):
            return super().views(rows, shown)

        pairs = enumerate(zip(rows, shown, strict=True))
        return [Line(i, letters(ids, known, self.spell)) for i, (ids, known) in pairs]

    def pages(self, states: list[State]) -> list[list[str | None]]:
        """A string for the tokens of each letter of the last state."""
        from unmask.kinds.text.letters import letters
        from unmask.kinds.text.tokenizers import Ids

        if isinstance(self.tokenizer, Ids):
            return super().pages(states)
        last = states[-1]
        groups = [list(one.at) for one in letters(last.ids[0], last.shown[0], self.spell)]
        return [
            [self.spell(one.ids[0][at]) if one.shown[0][at].all() else None for at in groups]
            for one in states
        ]

    def spell(self, ids: Any) -> str:
        """The text of neighbouring tokens (n,)."""
        return self.tokenizer.decode_after("a", ids.tolist())

    def worded(self, words: Sequence[str], ids: Any, length: int) -> Partial:
        from unmask.kinds.text.tokenizers import CharacterError, Ids
        from unmask.kinds.text.words import worded, words_of

        if isinstance(self.tokenizer, Ids):
            raise ValueError("these are ready ids without a tokenizer, of which no word is known")
        if not any(words):
            words = words_of(self.tokenizer.decode(ids), self.tokenizer)
        try:
            return worded(self.tokenizer, words, length)
        except CharacterError as error:
            raise ValueError(f"--words: {error}") from None

    def piece(self, i: int) -> str:
        from unmask.kinds.text.tokenizers import Bytes

        if isinstance(self.tokenizer, Bytes) and i < 128:
            return chr(i)
        return self.tokenizer.decode_after("a", [i])


def overview(folder: Path, meta: dict) -> list[str]:
    """What was found, to be checked at a glance: a table of the splits, and how a text begins."""
    import numpy as np

    from unmask.kinds.leftout import described
    from unmask.kinds.text.data import TokenData

    data = TokenData(folder, meta)
    rows = [["split", "tokens", "documents"]]
    apart = meta["documents"] == "apart"
    if apart:
        rows[0] += ["shortest", "mean", "longest"]
    for name in data.splits:
        row = [name, f"{meta['tokens'][name]:,}", f"{meta['document_count'][name]:,}"]
        if apart:
            sizes = np.diff(data.edges(name))
            row += [f"{sizes.min():,}", f"{sizes.mean():,.1f}", f"{sizes.max():,}"]
        rows.append(row)
    first = data.splits[0]
    begins = data.tokenizer.decode(data.tokens(first)[: min(60, int(data.edges(first)[1]))])[:60]
    lines = [*table(rows), f"the first text begins {begins!r}"]
    lines += [f"decoded: {line}" for line in described(meta.get("converted", {}))]
    lines += [f"left out: {line}" for line in described(meta.get("skipped", {}))]
    return [f"  {line}" for line in lines]


def words(kind: Kind) -> dict[str, int]:
    """The ids of all tokens of subwords, by how they are written in the vocabulary."""
    return kind.tokenizer.model.get_vocab(with_added_tokens=True)


class Passage(Source):
    """A text in which `[MASK]` is one token to fill in, and `[MASK:20]` twenty."""

    def __init__(self, path: Path, args: Any, length: int, tokenizer: Any):
        from unmask.kinds.sources import first_bytes
        from unmask.kinds.text.holes import count_tokens, parse_holes, partial
        from unmask.kinds.text.lines import text_of_file
        from unmask.kinds.text.tokenizers import Characters

        check_out(args.out)
        text = text_of_file(path)
        self.tokenizer, self.args, self.start = tokenizer, args, first_bytes(path)
        try:
            self.pieces = parse_holes(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if isinstance(tokenizer, Characters):
            given = "".join(piece for piece in self.pieces if isinstance(piece, str))
            strange = set(given) - set(tokenizer.alphabet)
            if strange:
                known = f"the model knows the characters {tokenizer.alphabet!r} and no others"
                raise ValueError(f"{path}: {known}: take out {sorted(strange)}")
        size = count_tokens(tokenizer, self.pieces)
        if size > length and not args.window:
            raise too_long(str(path), size, "token", length)
        self.examples = [partial(tokenizer, self.pieces)]

    def fill(self, filler: Filler) -> dict:
        from unmask.kinds.encodings import encoded_like
        from unmask.kinds.text.holes import spell_holes

        (found,) = filler.fill(self.examples, num=self.args.num)
        texts = [spell_holes(self.tokenizer, self.pieces, one.ids) for one in found]
        if len(texts) == 1 and self.args.out and not self.args.out.endswith(".jsonl"):
            write_text(self.args.out, encoded_like(self.start, texts[0]))
        else:
            write_texts(self.args.out, texts)
        return {"fillings": texts}
