"""Sub-tokens: a token id as `length` digits in base b, most significant first.

MDM-Prime, arXiv 2505.18495, section 3.
"""

import torch
from torch import Tensor

MOST_VALUES = 2**24  # what one row of the head may hold


def least_base(vocab_size: int, length: int) -> int:
    """The least integer b with b**length >= vocab_size.

    Found in integers: a floating-point root is off by one at 5^5.
    """
    low, high = 1, vocab_size
    while low < high:
        middle = (low + high) // 2
        if middle**length >= vocab_size:
            high = middle
        else:
            low = middle + 1
    return low


class Subtokenizer:
    """Token ids in [0, vocab_size) <-> digits in [0, base); `mask_id` = base marks a masked digit.

    length = 1: the identity.  `codes` (V,): a permutation; the digits of token v are then those of
    codes[v], its code, instead of v.  Networks predict codes.
    """

    def __init__(self, vocab_size: int, length: int = 1, codes: Tensor | None = None):
        if not 2 <= vocab_size <= MOST_VALUES:
            raise ValueError(
                f"vocab_size must lie between 2 and {MOST_VALUES:,}, not {vocab_size:,}: "
                "a row is a distribution over them"
            )
        most = (vocab_size - 1).bit_length()  # digits, in base 2
        if not 1 <= length <= most:
            raise ValueError(
                f"{vocab_size} values cannot use {length} digits: choose between 1 and {most}"
            )
        self.vocab_size, self.length = vocab_size, length
        self.base = least_base(vocab_size, length)
        if self.base**length > 16 * vocab_size:
            lengths = range(1, most + 1)
            fit = [str(n) for n in lengths if least_base(vocab_size, n) ** n <= 2 * vocab_size]
            raise ValueError(
                f"{vocab_size:,} values in {length} digits of base {self.base} "
                f"leave most of {self.base**length:,} codes unused: "
                f"choose one of {', '.join(fit)} digits"
            )
        self.mask_id = self.base
        self.codes: Tensor | None = None
        self.tokens: Tensor | None = None  # by code
        if codes is not None:
            check_ids(codes, vocab_size, "code")
            if codes.shape != (vocab_size,) or len(codes.unique()) != vocab_size:
                raise ValueError(
                    f"codes must be a permutation of the {vocab_size} values, "
                    f"not {tuple(codes.shape)} with repeats"
                )
            self.codes = codes.long()
            self.tokens = self.codes.argsort()

    def __repr__(self):
        return f"Subtokenizer(vocab_size={self.vocab_size}, length={self.length}, base={self.base})"

    def encode(self, x: Tensor) -> Tensor:
        """(B, S) token ids -> (B, S*L) digits.  ValueError for an id outside the vocabulary."""
        check_ids(x, self.vocab_size)
        return self.digits(self.code(x))

    def code(self, x: Tensor) -> Tensor:
        """Codes of token ids that are known to be in range."""
        if self.codes is None:
            return x
        self.codes = self.codes.to(x.device)  # once, where the data are elsewhere
        return self.codes[x.long()]

    def token(self, code: Tensor) -> Tensor:
        """Token ids of codes that are known to be in range."""
        if self.tokens is None:
            return code
        self.tokens = self.tokens.to(code.device)
        return self.tokens[code.long()]

    def digits(self, x: Tensor) -> Tensor:
        """(B, S) codes, known to be in range -> (B, S*L) digits."""
        if self.length == 1:
            return x
        return (x[..., None] // self.places(x.device) % self.base).flatten(-2)

    def places(self, device: torch.device) -> Tensor:
        """(L,) what a digit counts for: powers of the base, falling."""
        return self.base ** torch.arange(self.length - 1, -1, -1, device=device)

    def decode(self, y: Tensor) -> Tensor:
        """(B, S*L) digits -> (B, S) token ids.

        ValueError for a masked digit, or digits beyond the vocabulary.
        """
        check_ids(y, self.base, "digit" if self.length > 1 else "token id")
        if self.length == 1:
            return self.token(y)
        code = (y.unflatten(-1, (-1, self.length)) * self.places(y.device)).sum(-1)
        check_ids(code, self.vocab_size)
        return self.token(code)


def check_ids(x: Tensor, size: int, what: str = "token id") -> None:
    """ValueError unless every id is an integer in [0, size)."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{what} must be an integer, not {x.dtype}")
    if not x.numel():
        return
    for extreme in torch.stack(torch.aminmax(x)).tolist():
        if not 0 <= extreme < size:
            raise ValueError(
                f"{what} {extreme} is out of range: there are {size} values, 0 to {size - 1}"
            )


def consistent(digits: Tensor, base: int) -> Tensor:
    """Which tokens agree with the revealed digits (carry-over).

    (R, L) digits, `base` = masked -> (R, base**L) bool.
    """
    digit = torch.arange(base, device=digits.device)
    possible = (digits[..., None] == base) | (digits[..., None] == digit)  # (R, L, b)
    grid = possible[:, 0]
    for j in range(1, digits.shape[1]):
        grid = (grid[:, :, None] & possible[:, j, None, :]).flatten(1)
    return grid


def grid(logp: Tensor, base: int, length: int) -> Tensor:
    """(R, V) log-probabilities of tokens -> (R, b, ..., b), one axis per digit.

    -inf beyond the vocabulary.
    """
    padding = base**length - logp.shape[-1]
    if padding:
        logp = torch.nn.functional.pad(logp, (0, padding), value=-torch.inf)
    return logp.view(len(logp), *[base] * length)
