"""How many bytes of text tokens stand for: the count under bits per byte."""

import json
from collections.abc import Sequence

import numpy as np

from unmask.kinds.text.tokenizers import Bytes, Characters, Ids, Subwords, Tokenizer, byte_level


def byte_table(tokenizer: Tokenizer) -> np.ndarray | None:
    """(V,) the bytes of each token, where that does not depend on its neighbours.

    Special tokens, such as marks of ends and padding, have none.  None for a vocabulary whose
    tokens are not bytes written one to one.
    """
    if isinstance(tokenizer, Bytes):
        return np.ones(tokenizer.vocab_size, np.int64)
    if isinstance(tokenizer, Characters):
        return np.array([len(character.encode()) for character in tokenizer.alphabet])
    if isinstance(tokenizer, Ids):
        return None
    content = json.loads(tokenizer.model.to_str())
    decoder = content.get("decoder") or {}
    if "ByteLevel" not in [decoder.get("type"), *map(kind_of, decoder.get("decoders", ()))]:
        return None
    table, known = np.zeros(tokenizer.vocab_size, np.int64), byte_level().keys()
    added = {token["id"]: token for token in content.get("added_tokens", ())}
    for entry, i in tokenizer.model.get_vocab(with_added_tokens=True).items():
        spelled = i not in added and set(entry) <= known
        table[i] = len(entry) if spelled else len(entry.encode())
    table[special_ids(tokenizer)] = 0
    return table


def kind_of(part: dict) -> str | None:
    return part.get("type")


def special_ids(tokenizer: Subwords) -> list[int]:
    """Tokens that stand for no text."""
    content = json.loads(tokenizer.model.to_str())
    found = {token["id"] for token in content.get("added_tokens", ()) if token["special"]}
    if tokenizer.eot is not None:
        found.add(tokenizer.eot)
    return sorted(found)


def count_bytes(
    tokenizer: Tokenizer, table: np.ndarray | None, rows: Sequence[np.ndarray]
) -> np.ndarray | None:
    """(B,) bytes of the text of each row of scored tokens; None where no text is known.

    Without a table a row is decoded by itself, its special tokens left out.
    """
    if table is not None:
        return np.array([int(table[row].sum()) for row in rows], np.int64)
    if not isinstance(tokenizer, Subwords):
        return None
    special = special_ids(tokenizer)
    texts = (tokenizer.decode(row[~np.isin(row, special)]) for row in rows)
    return np.array([len(text.encode()) for text in texts], np.int64)
