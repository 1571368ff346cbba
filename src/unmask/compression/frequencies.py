"""Probabilities as whole numbers, and the entropy coder that is given these.

A range coder needs laws that encoder and decoder know to the last bit.  So a law is made of whole
numbers that add up to TOTAL, each at least 1: every value can be coded, however improbable.  The
coder is `constriction`'s (Bamler, arXiv 2201.01741).
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

BITS = 24
TOTAL = 1 << BITS
# values of a law: each has a share of 1 / TOTAL at least, which for so many costs 0.023 bits a unit
MOST_VALUES = 1 << 18
EXTRA = "pip install 'unmask[compress]'"


def frequencies(logp: np.ndarray) -> np.ndarray:
    """(R, V) int64, at least 1 each and TOTAL a row, of log-probabilities (R, V) float64.

    What rounding down leaves is the most probable value's.  FloatingPointError for a row that is no
    law, as where a network's numbers are not finite.
    """
    values = logp.shape[1]
    with np.errstate(invalid="ignore"):
        p = np.exp(logp - logp.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
    if not np.isfinite(p).all():
        raise FloatingPointError("a law to code with is not finite: what the network says is not")
    found = np.floor(p * (TOTAL - values)).astype(np.int64) + 1
    found[np.arange(len(found)), p.argmax(1)] += TOTAL - found.sum(1)
    return found


class Coder(Protocol):
    """What codes values by their laws; reading and writing look alike to who gives the laws."""

    def code(self, laws: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """The values (R,) of units with these frequencies (R, V): those given, or those read."""
        ...


class Writing:
    """A coder that writes the values it is given."""

    def __init__(self) -> None:
        self.encoder, self.family = library().queue.RangeEncoder(), family()

    def code(self, laws: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        assert values is not None
        self.encoder.encode(values.astype(np.int32), self.family, weights(laws))
        return values

    def words(self) -> np.ndarray:
        """All that was written: (W,) uint32."""
        return self.encoder.get_compressed()


class Reading:
    """A coder that reads values back from what `Writing` made, words (W,) uint32."""

    def __init__(self, words: np.ndarray) -> None:
        self.decoder, self.family = library().queue.RangeDecoder(words), family()

    def code(self, laws: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        try:
            return self.decoder.decode(self.family, weights(laws)).astype(np.int64)
        except AssertionError as error:  # what it says of words that no encoder writes
            raise ValueError(f"what is compressed cannot be decoded ({error})") from None


def weights(laws: np.ndarray) -> np.ndarray:
    """What makes the coder use exactly these frequencies (R, V): float64.

    It gives each value 1 / TOTAL and shares out the rest in proportion to what it is told; told the
    rest itself, in whole numbers, it has nothing to round.
    """
    return (laws - 1).astype(np.float64)


def library() -> Any:
    """constriction's stream coders; ValueError where it is not installed."""
    try:
        from constriction import stream
    except ImportError:
        raise ValueError(f"the entropy coder is not installed: {EXTRA}") from None
    return stream


def family() -> Any:
    return library().model.Categorical(perfect=False)


def coded_bits(laws: np.ndarray, values: np.ndarray) -> float:
    """What values (R,) cost by their frequencies (R, V)."""
    return float(np.sum(BITS - np.log2(laws[np.arange(len(laws)), values])))


Tick = Callable[[int], Any]  # is told how many units are done
