"""Sub-tokens: a token id as `length` digits in base b, most significant first (MDM-Prime, arXiv 2505.18495, section 3)."""

import torch
from torch import Tensor


def least_base(vocab_size: int, length: int) -> int:
    """The least integer b with b**length >= vocab_size, found in integers (a floating-point root is off by one at 5^5)."""
    low, high = 1, vocab_size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**length >= vocab_size else (middle + 1, high)
    return low


class Subtokenizer:
    """Token ids in [0, vocab_size) <-> digits in [0, base); `mask_id` = base marks a masked digit.  length = 1: the identity."""

    def __init__(self, vocab_size: int, length: int = 1):
        if vocab_size < 2:
            raise ValueError(f"vocab_size must be at least 2, not {vocab_size}")
        if length < 1 or 2 ** (length - 1) >= vocab_size:
            raise ValueError(f"{vocab_size} values cannot use {length} digits: choose between 1 and {(vocab_size - 1).bit_length()}")
        self.vocab_size, self.length = vocab_size, length
        self.base = least_base(vocab_size, length)
        self.mask_id = self.base

    def __repr__(self):
        return f"Subtokenizer(vocab_size={self.vocab_size}, length={self.length}, base={self.base})"

    def encode(self, x: Tensor) -> Tensor:
        """(B, S) token ids -> (B, S*L) digits.  ValueError for an id outside the vocabulary."""
        check_ids(x, self.vocab_size)
        return self.digits(x)

    def digits(self, x: Tensor) -> Tensor:
        """`encode` of ids that are known to be in range."""
        if self.length == 1:
            return x
        place = self.base ** torch.arange(self.length - 1, -1, -1, device=x.device)
        return (x[..., None] // place % self.base).flatten(-2)

    def decode(self, y: Tensor) -> Tensor:
        """(B, S*L) digits -> (B, S) token ids.  ValueError for a masked digit, or digits beyond the vocabulary."""
        check_ids(y, self.base, "digit" if self.length > 1 else "token id")
        if self.length == 1:
            return y
        place = self.base ** torch.arange(self.length - 1, -1, -1, device=y.device)
        x = (y.unflatten(-1, (-1, self.length)) * place).sum(-1)
        check_ids(x, self.vocab_size)
        return x


def check_ids(x: Tensor, size: int, what: str = "token id") -> None:
    """ValueError unless every id is an integer in [0, size)."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{what}s must be integers, not {x.dtype}")
    if x.numel():
        low, high = (int(v) for v in torch.aminmax(x))
        if low < 0 or high >= size:
            raise ValueError(f"{what} {low if low < 0 else high} is out of range: there are {size} values, 0 to {size - 1}")


def consistent(digits: Tensor, base: int) -> Tensor:
    """Which tokens agree with the revealed digits: (R, L) digits, `base` = masked -> (R, base**L) bool (carry-over)."""
    digit = torch.arange(base, device=digits.device)
    possible = (digits[..., None] == base) | (digits[..., None] == digit)  # (R, L, b)
    grid = possible[:, 0]
    for j in range(1, digits.shape[1]):
        grid = (grid[:, :, None] & possible[:, j, None, :]).flatten(1)
    return grid


def grid(logp: Tensor, base: int, length: int) -> Tensor:
    """(R, V) log-probabilities of tokens -> (R, b, ..., b), one axis per digit, -inf beyond the vocabulary."""
    padding = base**length - logp.shape[-1]
    if padding:
        logp = torch.nn.functional.pad(logp, (0, padding), value=-torch.inf)
    return logp.view(len(logp), *[base] * length)
