"""Baselines: how many bits per token a plain n-gram model, or a histogram of every position, needs, to read a bound against.

Witten-Bell smoothing: P_k(v | h) = (c(hv) + T(h) P_{k-1}(v | h')) / (c(h) + T(h)), h' = h without its oldest token, c = counts
in the train ids, T(h) = how many different tokens follow h there, P_0 = 1 / V.  Nothing is tuned, and every context sums to 1.
"""

import numpy as np

LARGEST = 2**24  # entries of a dense table: order 3 at 256 values


def ngram_probs(train: np.ndarray, vocab_size: int, order: int) -> np.ndarray:
    """(V,) * order float64: the probability of the last index given the ones before it, estimated on ids `train` (N,).

    A context that never occurs has the probabilities of the next shorter one.  ValueError: `train` empty, not 1-D, not integer,
    or with an id outside 0..V-1; order below 1, or too large a table (V ** order > 2 ** 24).
    """
    return _tables(_check(train, vocab_size, "train"), vocab_size, order)[-1]


def ngram_bits(train: np.ndarray, test: np.ndarray, vocab_size: int, order: int) -> float:
    """Bits per token of the ids `test` (M,) under `ngram_probs(train, vocab_size, order)`.

    `test` is one stream: its first order - 1 tokens are scored with the shorter contexts that they have.  ValueError: as there.
    """
    test = _check(test, vocab_size, "test")
    tables = _tables(_check(train, vocab_size, "train"), vocab_size, order)
    first = test[: order - 1]
    bits = -sum(float(np.log2(tables[i][tuple(first[: i + 1])])) for i in range(len(first)))
    return float(bits - np.log2(tables[-1].ravel()[_codes(test, vocab_size, order)]).sum()) / len(test)


def position_bits(train: np.ndarray, test: np.ndarray, vocab_size: int, allowed: np.ndarray | None = None) -> float:
    """Bits per token of examples `test` (m, S) if every position is coded by its own histogram of `train` (n, S), one more of each value.

    Tokens from `vocab_size` on are no values, and are left out.  `allowed` (S, V) bool: the values that a position can have.
    """
    bits, total = 0.0, 0
    for s in range(train.shape[1]):
        counts = np.bincount(train[:, s], minlength=vocab_size)[:vocab_size] + (1 if allowed is None else allowed[s])
        there = test[test[:, s] < vocab_size, s]
        with np.errstate(divide="ignore"):
            bits -= float(np.log2(counts / counts.sum())[there].sum())
        total += len(there)
    return bits / total


def _tables(train: np.ndarray, vocab_size: int, order: int) -> list[np.ndarray]:
    """The probabilities of orders 1 to `order`."""
    if order < 1 or vocab_size**order > LARGEST:
        raise ValueError(f"order must be at least 1, and the table at most {LARGEST} entries, not {order} for {vocab_size} values")
    tables, lower = [], np.full((), 1 / vocab_size)
    for k in range(1, order + 1):
        counts = np.bincount(_codes(train, vocab_size, k), minlength=vocab_size**k).reshape((vocab_size,) * k)
        kinds = np.count_nonzero(counts, axis=-1, keepdims=True).clip(min=1)  # at least 1: an unseen context is its shorter one
        lower = (counts + kinds * lower) / (counts.sum(-1, keepdims=True) + kinds)
        tables.append(lower)
    return tables


def _codes(ids: np.ndarray, vocab_size: int, k: int) -> np.ndarray:
    """Every run of k ids as one number; (len(ids) - k + 1,)."""
    n = max(len(ids) - k + 1, 0)
    code = np.zeros(n, dtype=np.int64)
    for i in range(k):
        code = code * vocab_size + ids[i : i + n]
    return code


def _check(ids: np.ndarray, vocab_size: int, name: str) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 1 or not ids.size:
        raise ValueError(f"{name} must be one stream of at least one id, not an array of shape {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must hold integer ids, not {ids.dtype}")
    if ids.min() < 0 or ids.max() >= vocab_size:
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(f"{name} has the id {wrong}, outside 0..{vocab_size - 1}")
    return ids.astype(np.int64)
