"""Baselines to read a bound against: bits per token of an n-gram model, or of histograms.

Witten-Bell smoothing: P_k(v | h) = (c(hv) + T(h) P_{k-1}(v | h')) / (c(h) + T(h)), h' = h without
its oldest token, c = counts in the train ids, T(h) = how many different tokens follow h there, P_0
= 1 / V.  Nothing is tuned, and every context sums to 1.

Of sequences, a context does not reach back into the sequence before: it begins with "edge", a value
of its own (V + 1), and so does "unknown" (V), a position without a value, which is never predicted.
"""

import numpy as np

LARGEST = 2**24  # entries of a dense table: order 3 at 256 values


def ngram_probs(train: np.ndarray, vocab_size: int, order: int) -> np.ndarray:
    """(V,) * order float64: of the last index given those before it, estimated on `train` (N,).

    A context that never occurs has the probabilities of the next shorter one.  Raises ValueError:
    `train` empty, not 1-D, not integer, or with an id outside 0..V-1; order below 1, or too large a
    table (V ** order > 2 ** 24).
    """
    return _tables(_check(train, vocab_size, "train"), vocab_size, order, vocab_size)[-1]


def ngram_bits(train: np.ndarray, test: np.ndarray, vocab_size: int, order: int) -> float:
    """Bits per token of the ids `test` (M,) under `ngram_probs(train, vocab_size, order)`.

    `test` is one stream: its first order - 1 tokens are scored with the shorter contexts that they
    have.  Raises ValueError as there.
    """
    test = _check(test, vocab_size, "test")
    tables = _tables(_check(train, vocab_size, "train"), vocab_size, order, vocab_size)
    first = test[: order - 1]
    bits = -sum(float(np.log2(tables[i][tuple(first[: i + 1])])) for i in range(len(first)))
    codes, _ = _codes(test, vocab_size, order, vocab_size)
    return float(bits - np.log2(tables[-1].ravel()[codes]).sum()) / len(test)


def position_bits(
    train: np.ndarray, test: np.ndarray, vocab_size: int, allowed: np.ndarray | None = None
) -> float:
    """Bits per token of examples `test` (m, S), each position coded by its own histogram.

    The histograms are of `train` (n, S), one more of each value.  Tokens from `vocab_size` on are
    no values, and are left out.  `allowed` (S, V) bool: the values that a position can have.
    """
    length = train.shape[1]
    if allowed is None:
        allowed = np.ones((length, vocab_size), bool)
    bits, total = 0.0, 0
    for s in range(length):
        counts = np.bincount(train[:, s], minlength=vocab_size)[:vocab_size] + allowed[s]
        scored = test[test[:, s] < vocab_size, s]
        with np.errstate(divide="ignore"):
            bits -= float(np.log2(counts / counts.sum())[scored].sum())
        total += len(scored)
    return bits / total


def sequence_ngram_probs(
    train: np.ndarray, edges: np.ndarray, vocab_size: int, order: int
) -> np.ndarray:
    """(V + 2,) * (order - 1) + (V,) float64: as `ngram_probs`, of sequences.

    Ids `train` (N,), V where unknown; each sequence goes from one of `edges` (n + 1,), 0 to N, to
    the next.  Raises ValueError as there.
    """
    stream = _joined(train, edges, vocab_size, order, "train")
    return _tables(stream, vocab_size, order, vocab_size + 2)[-1]


def sequence_ngram_bits(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    vocab_size: int,
    order: int,
) -> np.ndarray:
    """(n,) bits of each sequence of `test` under `sequence_ngram_probs` of `train`.

    Both are (ids, edges).  What is unknown costs none.
    """
    probs, edges = sequence_ngram_probs(*train, vocab_size, order), test[1]
    stream = _joined(*test, vocab_size, order, "test")
    codes, known = _codes(stream, vocab_size, order, vocab_size + 2)
    count = len(edges) - 1
    sequence = np.repeat(np.arange(count), np.diff(edges) + order - 1)[order - 1 :]
    return np.bincount(sequence[known], -np.log2(probs.ravel()[codes]), minlength=count)


def _joined(
    ids: np.ndarray, edges: np.ndarray, vocab_size: int, order: int, name: str
) -> np.ndarray:
    """The sequences one after the other, with order - 1 edges before each."""
    ids = _check(ids, vocab_size + 1, name)
    return np.insert(ids, np.repeat(edges[:-1], max(order - 1, 0)), vocab_size + 1)


def _tables(train: np.ndarray, vocab_size: int, order: int, base: int) -> list[np.ndarray]:
    """The probabilities of orders 1 to `order`, for contexts of `base` values."""
    if order < 1 or base ** (order - 1) * vocab_size > LARGEST:
        raise ValueError(
            f"order must be at least 1, and the table at most {LARGEST} entries, "
            f"not {order} for {vocab_size} values"
        )
    tables, lower = [], np.full((), 1 / vocab_size)
    for k in range(1, order + 1):
        shape = (*[base] * (k - 1), vocab_size)
        codes, _ = _codes(train, vocab_size, k, base)
        counts = np.bincount(codes, minlength=base ** (k - 1) * vocab_size).reshape(shape)
        # at least 1: an unseen context is its shorter one
        kinds = np.count_nonzero(counts, axis=-1, keepdims=True).clip(min=1)
        lower = (counts + kinds * lower) / (counts.sum(-1, keepdims=True) + kinds)
        tables.append(lower)
    return tables


def _codes(ids: np.ndarray, vocab_size: int, k: int, base: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of k ids whose last is below `vocab_size`, as one number.

    And which of the len(ids) - k + 1 runs those are.
    """
    n = max(len(ids) - k + 1, 0)
    last = ids[k - 1 : k - 1 + n]
    known = last < vocab_size
    code = np.zeros(int(known.sum()), dtype=np.int64)
    for i in range(k - 1):
        code = code * base + ids[i : i + n][known]
    return code * vocab_size + last[known], known


def _check(ids: np.ndarray, vocab_size: int, name: str) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 1 or not ids.size:
        raise ValueError(
            f"{name} must be one stream of at least one id, not an array of shape {ids.shape}"
        )
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} must hold integer ids, not {ids.dtype}")
    low, high = ids.min(), ids.max()
    if low < 0 or high >= vocab_size:
        wrong = low if low < 0 else high
        raise ValueError(f"{name} has the id {wrong}, outside 0..{vocab_size - 1}")
    return ids.astype(np.int64)
