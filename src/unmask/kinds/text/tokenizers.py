"""What turns text into token ids and back.

Every tokenizer has `vocab_size`, `eot` (the id that ends a document, or None), `encode`, `decode`,
`spell` (one id, for a table: what does not print is escaped), `spec()` (JSON, for meta.json and
checkpoints) and `files()` (what must lie beside the spec); `load_tokenizer` rebuilds it from those.
Around holes a text comes in parts: `encode_after` and `decode_after` are of one that goes on after
another.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unmask.files import no_file
from unmask.kinds.encodings import decode_text
from unmask.kinds.folder import find_tokens

TEXT8 = " abcdefghijklmnopqrstuvwxyz"
# how vocabularies call the end of a text; of several, the first here counts
MOST = 2**24  # ids: every one has a row in a network
EOT_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
LETTER = "a"  # stands before a text that is decoded as if it went on
PREFIXING = ("normalizer", "pre_tokenizer")  # parts of a tokenizer that may put a blank in front
MAX_ALPHABET = 65_535  # ids are uint16, and one value marks what is outside the alphabet


class CharacterError(ValueError):
    """A character outside the alphabet; `character` and `offset` (in characters) say which."""

    def __init__(self, character: str, offset: int, place: str = "the text"):
        self.character, self.offset, self.place = character, offset, place
        super().__init__(
            f"character {character!r} at offset {offset} of {place} is not in the alphabet: "
            "clean the text, add it to the alphabet, or use the tokenizer 'bytes'"
        )


class Plain:
    """To which it makes no difference what stands before a text."""

    def encode(self, text: str) -> np.ndarray:
        raise NotImplementedError

    def decode(self, ids) -> str:
        raise NotImplementedError

    def encode_after(self, text: str) -> np.ndarray:
        return self.encode(text)

    def decode_after(self, before: str, ids) -> str:
        return self.decode(ids)


class Bytes(Plain):
    """256 byte values of UTF-8 text."""

    vocab_size = 256
    eot = None

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), np.uint8).copy()

    def decode(self, ids) -> str:
        """Text of the bytes; what is not valid UTF-8 becomes U+FFFD."""
        return _checked(ids, 256).astype(np.uint8).tobytes().decode(errors="replace")

    def spell(self, i: int) -> str:
        return repr(bytes([i]))[1:]

    def spec(self) -> dict:
        return {"name": "bytes"}

    def files(self) -> dict[str, bytes]:
        return {}


class Characters(Plain):
    """One id a character, in the order of `alphabet`; "text8" stands for its 27 letters."""

    eot = None

    def __init__(self, alphabet: str):
        self.alphabet = TEXT8 if alphabet == "text8" else alphabet
        if not 0 < len(self.alphabet) <= MAX_ALPHABET:
            count = f"{len(self.alphabet)} characters"
            raise ValueError(f"an alphabet of {count}: give between 1 and {MAX_ALPHABET:,}")
        repeated = [character for character, count in Counter(self.alphabet).items() if count > 1]
        if repeated:
            said = f"the alphabet has {repeated[0]!r} more than once"
            raise ValueError(f"{said}: give each character once")
        self.vocab_size = len(self.alphabet)
        self.codes = code_points(self.alphabet)
        # One entry past the highest code point stands for every code point above it.
        self.table = np.full(int(self.codes.max()) + 2, MAX_ALPHABET, np.uint16)
        self.table[self.codes] = np.arange(self.vocab_size)

    def encode(self, text: str) -> np.ndarray:
        """Ids (len(text),), uint16.

        Raises CharacterError at the first character outside the alphabet.
        """
        codes = code_points(text)
        ids = self.table[np.minimum(codes, len(self.table) - 1)]
        if len(ids) and ids.max() == MAX_ALPHABET:
            offset = int(np.argmax(ids == MAX_ALPHABET))
            raise CharacterError(text[offset], offset)
        return ids

    def decode(self, ids) -> str:
        return self.codes[_checked(ids, self.vocab_size)].tobytes().decode("utf-32-le")

    def spell(self, i: int) -> str:
        return repr(self.alphabet[i])

    def spec(self) -> dict:
        return {"name": "characters", "alphabet": self.alphabet}

    def files(self) -> dict[str, bytes]:
        return {}


class Subwords:
    """A Hugging Face `tokenizers` tokenizer, given as its JSON text.

    eot: the end-of-text token, as an id or a string, None for none; by default the first of
    EOT_NAMES in the vocabulary, else none.  No token is added by `encode` (no BOS, no template).
    A special token spelled out in the text becomes its own id.
    """

    def __init__(self, text: str, eot: int | str | None = ""):
        import tokenizers

        with _library("not a tokenizer of the Hugging Face `tokenizers` library"):
            self.model = tokenizers.Tokenizer.from_str(text)
        self.model.no_truncation()  # a published file often has a limit of 512 or so switched on
        self.model.no_padding()
        vocabulary = _vocabulary(self.model)
        # the highest id and not the number of tokens: published vocabularies have gaps
        self.vocab_size = max(vocabulary.values()) + 1
        if eot == "":
            eot = next((vocabulary[name] for name in EOT_NAMES if name in vocabulary), None)
        elif isinstance(eot, str):
            if eot not in vocabulary:
                raise ValueError(f"eot {eot!r} is not in the vocabulary: name one of its tokens")
            eot = vocabulary[eot]
        elif eot is not None and not 0 <= eot < self.vocab_size:
            raise ValueError(f"eot {eot} is outside the vocabulary of {self.vocab_size} tokens")
        self.eot = eot
        self.cuttable = _cuttable(json.loads(self.model.to_str()))

    def encode(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """Ids (n,) of each text, uint32; the texts are spread over the cores."""
        with _library("the tokenizer cannot encode the text"):
            batch = self.model.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in batch]

    def decode(self, ids) -> str:
        known = _checked(ids, self.vocab_size).tolist()
        with _library("the tokenizer cannot decode its tokens"):
            return self.model.decode(known, skip_special_tokens=False)

    @cached_property
    def inner(self) -> Any:
        """The model for what has text before it: it puts no blank in front."""
        import tokenizers

        content = json.loads(self.model.to_str())
        changed = {part: without_prefix(content.get(part)) for part in PREFIXING}
        if all(changed[part] == content.get(part) for part in PREFIXING):
            return self.model
        return tokenizers.Tokenizer.from_str(json.dumps(content | changed))

    def encode_after(self, text: str) -> np.ndarray:
        """Ids (n,) of a text that goes on after another: no blank is put in front."""
        with _library("the tokenizer cannot encode the text"):
            found = self.inner.encode(text, add_special_tokens=False)
        return np.array(found.ids, np.uint32)

    def decode_after(self, before: str, ids) -> str:
        """The text of ids after the text `before`.

        Many decoders drop a blank at the beginning, or put one between words: so the ids are
        decoded after a letter.
        """
        if not before:
            return self.decode(ids)
        letter = self.encode(LETTER)
        start = self.decode(letter)
        whole = self.decode([*letter, *np.asarray(ids).reshape(-1)])
        if not whole.startswith(start):
            return self.decode(ids)
        text = whole.removeprefix(start)
        if before[-1].isspace() and self.drops_blanks:
            return text.removeprefix(" ")
        return text

    @cached_property
    def drops_blanks(self) -> bool:
        """Whether blanks are no part of tokens, and decoding puts them between words."""
        return self.encode(f"{LETTER} ").tolist() == self.encode(LETTER).tolist()

    def spell(self, i: int) -> str:
        """The entry of the vocabulary; of a byte-level one, its text.

        Its bytes, where they are no whole number of characters.
        """
        import tokenizers

        entry = self.model.id_to_token(i)
        if entry is None:
            return f"unused id {i}"
        table = byte_level()
        of_bytes = isinstance(self.model.decoder, tokenizers.decoders.ByteLevel)
        if not of_bytes or not set(entry) <= table.keys():
            return repr(entry)
        raw = bytes(table[character] for character in entry)
        try:
            return repr(raw.decode())
        except UnicodeDecodeError:
            return repr(raw)[1:]

    def spec(self) -> dict:
        return {"name": "subwords", "vocab_size": self.vocab_size, "eot": self.eot}

    def files(self) -> dict[str, bytes]:
        return {"tokenizer.json": self.model.to_str().encode()}


class Ids(Plain):
    """Ready ids of which nothing is known but how many there are."""

    eot = None

    def __init__(self, vocab_size: int):
        if vocab_size < 1:
            raise ValueError(f"vocab_size {vocab_size}: give at least 1")
        self.vocab_size = vocab_size

    def encode(self, text: str) -> np.ndarray:
        raise ValueError(
            "this data was made of ready ids without a tokenizer: "
            "prepare it again with one to encode text"
        )

    def decode(self, ids) -> str:
        return " ".join(map(str, _checked(ids, self.vocab_size)))

    def spell(self, i: int) -> str:
        return f"id {i}"

    def spec(self) -> dict:
        return {"name": "ids", "vocab_size": self.vocab_size}

    def files(self) -> dict[str, bytes]:
        return {}


Tokenizer = Bytes | Characters | Subwords | Ids
NAMES = ("bytes", "characters", "subwords", "ids")


def make_tokenizer(name: str, alphabet: str | None = None) -> Tokenizer:
    """A tokenizer by name or path.

    The names are "bytes" and "characters", which needs `alphabet`: the characters in order, or
    "text8".  The path is that of a Hugging Face tokenizer JSON, of a folder with GPT-2's
    encoder.json and vocab.bpe, or of prepared data or a model: theirs.
    """
    if alphabet is not None and name != "characters":
        raise ValueError(
            f"an alphabet goes with the tokenizer 'characters', not {str(name)!r}: "
            "leave one of them out"
        )
    if name == "bytes":
        return Bytes()
    if name == "characters":
        if alphabet is None:
            raise ValueError(
                "the tokenizer 'characters' needs an alphabet: "
                "give its characters in order, or 'text8'"
            )
        return Characters(alphabet)
    path = Path(name)
    found = find_tokens(path)
    if found is not None:
        if found.spec["name"] not in NAMES:
            raise ValueError(
                f"{path} is of {found.kind}, which no text can be written in: "
                "give a tokenizer of text"
            )
        return load_tokenizer(found.spec, found.folder)
    if path.is_dir():
        return read_gpt2(path)
    if not path.is_file():
        raise no_file(
            path,
            f"tokenizer {str(name)!r}: give 'bytes', 'characters', a tokenizer .json, or a folder: "
            "GPT-2's files, prepared data, a model",
        )
    return read_subwords(path)


def read_gpt2(folder: str | Path) -> Subwords:
    """GPT-2's byte-level BPE from a folder with its encoder.json and vocab.bpe."""
    import tokenizers

    vocabulary, merges = Path(folder) / "encoder.json", Path(folder) / "vocab.bpe"
    for path in (vocabulary, merges):
        if not path.is_file():
            needed = "a tokenizer folder has encoder.json and vocab.bpe"
            raise ValueError(f"{path} is missing: {needed}")
    with _library(f"{folder}: not the files of a byte-level BPE"):
        model = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocabulary), str(merges)))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(["<|endoftext|>"])
    try:
        _vocabulary(model)  # before it is written out, which takes memory by the highest id
        return Subwords(model.to_str())
    except ValueError as error:
        raise ValueError(f"{folder}: {_line(error)}") from error


def load_tokenizer(spec: dict, folder: str | Path) -> Tokenizer:
    """The tokenizer whose `spec()` is `spec` and whose `files()` lie in `folder`."""
    name = spec.get("name")
    if name == "bytes":
        return Bytes()
    if name == "characters":
        return Characters(spec["alphabet"])
    if name == "ids":
        return Ids(spec["vocab_size"])
    if name != "subwords":
        raise ValueError(f"tokenizer {name!r} is not one of {', '.join(NAMES)}: update the package")
    file = Path(folder) / "tokenizer.json"
    tokenizer = read_subwords(file, spec["eot"])
    if tokenizer.vocab_size != spec["vocab_size"]:
        raise ValueError(
            f"{file} has {tokenizer.vocab_size} tokens, expected {spec['vocab_size']}: "
            "restore the file that was written with the data"
        )
    return tokenizer


def code_points(text: str) -> np.ndarray:
    """Unicode code points (len(text),), uint32; lone surrogates are let through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def read_subwords(path: Path, eot: int | str | None = "") -> Subwords:
    """A tokenizer from its .json; see `Subwords`."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: it holds the tokenizer")
    try:
        return Subwords(decode_text(path.read_bytes(), "the file"), eot)
    except ValueError as error:
        raise ValueError(f"{path}: {_line(error)}") from error


def without_prefix(part: Any) -> Any:
    """A normalizer or pre-tokenizer, as JSON, that puts no blank in front of a text."""
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    changed = dict(part)
    if "prepend_scheme" in part:
        changed["prepend_scheme"] = "never"
    if "add_prefix_space" in part:
        changed["add_prefix_space"] = False
    for name in ("normalizers", "pretokenizers"):
        if name in part:
            inside = map(without_prefix, part[name])
            changed[name] = [one for one in inside if one is not None]
    return changed


def _cuttable(model: dict) -> bool:
    """Whether text may be cut before a blank or newline that follows a non-space: its ids stay.

    True of GPT-2's byte-level pattern. No piece of it has a non-space followed by a space, so every
    such place is an edge between pieces; it looks ahead only from a run of spaces to the character
    after it, and never looks back.
    """
    pattern = model.get("pre_tokenizer") or {}
    looks_around = any(
        token["rstrip"] or token["single_word"] or any(c.isspace() for c in token["content"])
        for token in model.get("added_tokens", [])
    )
    return (
        model.get("normalizer") is None
        and pattern.get("type") == "ByteLevel"
        and pattern.get("use_regex", True)
        and not pattern.get("add_prefix_space", True)
        and model["model"].get("type") == "BPE"
        and not model["model"].get("dropout")
        and not looks_around
    )


@cache
def byte_level() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for.

    GPT-2's bytes_to_unicode, read backwards.
    """
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    own = {chr(byte): byte for byte in printed}
    return own | {chr(256 + i): byte for i, byte in enumerate(others)}


def _checked(ids, vocab_size: int) -> np.ndarray:
    ids = np.asarray(ids).reshape(-1).astype(np.int64)
    if len(ids) and not (ids.min() >= 0 and ids.max() < vocab_size):
        offset = int(np.argmax((ids < 0) | (ids >= vocab_size)))
        said = f"id {ids[offset]} at offset {offset}"
        raise ValueError(f"{said} is outside the vocabulary of {vocab_size}")
    return ids


def _vocabulary(model: Any) -> dict[str, int]:
    """The tokens of a model of the library.  ValueError if there are none, or ids too high."""
    vocabulary = model.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise ValueError("the tokenizer has no tokens: give one with a vocabulary")
    highest = max(vocabulary.values())
    if highest >= MOST:
        raise ValueError(
            f"the tokenizer has {len(vocabulary):,} tokens and one with the id {highest:,}: "
            f"ids up to {MOST - 1:,} are read"
        )
    return vocabulary


@contextmanager
def _library(failed: str) -> Iterator[None]:
    """While the library runs: ValueError that begins so for whatever it cannot do."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # it raises a bare Exception, and a panic of Rust's is none
        raise ValueError(f"{failed}: {_line(error)}: give another tokenizer") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
