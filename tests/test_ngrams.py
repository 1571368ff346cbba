"""The n-gram baselines: normalised, exact on a case worked by hand, sensible on the bundled text,
and clear about bad input."""

import math
from pathlib import Path

import numpy as np
import pytest

import unmask
from unmask.kinds.baselines import ngram_bits, ngram_probs


def test_every_context_sums_to_one():
    # few ids: many contexts are never seen; 5 and 6 never occur
    ids = np.random.default_rng(0).integers(0, 5, 40)
    for order in (1, 2, 3):
        probs = ngram_probs(ids, 7, order)
        assert probs.shape == (7,) * order
        np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-12)
        assert (probs > 0).all()


def test_values_worked_by_hand():
    # train 0 0 1, V = 2.  Order 1: c = (2, 1), T = 2, P = ((2 + 1) / 5, (1 + 1) / 5). Order 2:
    # after 0 come 0 and 1, once each: T = 2, P(. | 0) = ((1 + 2 * .6) / 4, (1 + 2 * .4) / 4); after
    # 1 comes nothing.
    train = np.array([0, 0, 1], dtype=np.uint8)
    np.testing.assert_allclose(ngram_probs(train, 2, 1), [0.6, 0.4], rtol=1e-15)
    np.testing.assert_allclose(ngram_probs(train, 2, 2), [[0.55, 0.45], [0.6, 0.4]], rtol=1e-15)
    # Order 3: after 0 0 comes 1, once: T = 1, P(. | 0 0) = (.55 / 2, 1.45 / 2); other contexts are
    # unseen.
    expected = [[[0.275, 0.725], [0.6, 0.4]], [[0.55, 0.45], [0.6, 0.4]]]
    np.testing.assert_allclose(ngram_probs(train, 2, 3), expected, rtol=1e-15)
    # a stream's first ids have shorter contexts: P(0) P(0 | 0) P(1 | 0 0) P(1 | 0 1)
    bits = -(math.log2(0.6) + math.log2(0.55) + math.log2(0.725) + math.log2(0.4)) / 4
    assert ngram_bits(train, np.array([0, 0, 1, 1]), 2, 3) == pytest.approx(bits, rel=1e-14)
    assert ngram_bits(train, np.array([1]), 2, 3) == pytest.approx(-math.log2(0.4), rel=1e-14)


def test_fewer_ids_than_the_order():
    np.testing.assert_allclose(
        ngram_probs(np.array([1]), 2, 3), np.broadcast_to([0.25, 0.75], (2, 2, 2))
    )


def test_longer_contexts_help_on_real_text():
    text = (Path(unmask.__file__).parent / "kinds/text/bundled/tinyshakespeare.txt").read_bytes()
    _, ids = np.unique(np.frombuffer(text, np.uint8), return_inverse=True)
    n = len(ids) * 9 // 10
    bits = [ngram_bits(ids[:n], ids[n:], 65, order) for order in (1, 2, 3)]
    np.testing.assert_allclose(bits, [4.83, 3.59, 2.96], atol=0.01)


@pytest.mark.parametrize(
    "train, test, order, message",
    [
        ([0, 3], [0], 1, "train has the id 3, outside 0..2"),
        ([0, -1], [0], 1, "train has the id -1"),
        ([0], [7], 1, "test has the id 7"),
        ([], [0], 1, "train must be one stream of at least one id"),
        ([0], [], 2, "test must be one stream of at least one id"),
        ([[0]], [0], 1, "not an array of shape"),
        ([0.5], [0], 1, "train must hold integer ids, not float64"),
        ([0], [0], 0, "order must be at least 1"),
        ([0], [0], 99, "not 99 for 3 values"),
    ],
)
def test_bad_input(train, test, order, message):
    with pytest.raises(ValueError, match=message):
        ngram_bits(np.array(train), np.array(test), 3, order)
