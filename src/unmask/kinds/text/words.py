"""Words that are given at the start, in the middle and at the end of a text, and holes between."""

import re
from collections.abc import Sequence

from unmask.kinds.kind import Partial
from unmask.kinds.text.holes import count_tokens, partial
from unmask.kinds.text.tokenizers import Tokenizer

# blanks on both sides: what an example begins or ends with may be a part of a word
WORD = re.compile(r"(?<=\s)\S*\w\S*(?=\s)")
LONGEST = 24  # characters: where words are not parted by blanks, all of a text would be one


def words_of(text: str, tokenizer: Tokenizer) -> tuple[str, str, str]:
    """The first whole word of a text, the one next to its middle and the last, with the blanks
    that stand between them and the rest.

    Those that a tokenizer does not keep are passed over.  ValueError for a text of fewer.
    """
    whole = [match for match in WORD.finditer(text) if is_plain(match[0])]
    found = [match for match in whole if is_kept(tokenizer, text, match)]
    if len(found) < 3:
        lost = f", {len(whole) - len(found)} others are not kept by its tokens" * (whole != found)
        raise ValueError(
            f"the example has {len(found)} whole words{lost}, and 3 are given: give --words"
        )
    first, *between, last = found
    middle = min(between, key=lambda match: abs(match.start() + match.end() - len(text)))
    start = text[first.start() : first.end() + 1]
    return start, text[middle.start() - 1 : middle.end() + 1], text[last.start() - 1 : last.end()]


def is_plain(word: str) -> bool:
    """Whether it can be shown, bytes that are no UTF-8 excluded."""
    return len(word) <= LONGEST and word.isprintable() and "\ufffd" not in word


def is_kept(tokenizer: Tokenizer, text: str, match: re.Match) -> bool:
    """Whether a word of a text comes back with the blanks around it."""
    word = text[match.start() - 1 : match.end() + 1]
    return come_back(tokenizer, word, after=True) == word


def come_back(tokenizer: Tokenizer, word: str, *, after: bool) -> str:
    """What a word is, decoded again; after: it stands after a hole."""
    if not after:
        return tokenizer.decode(tokenizer.encode(word))
    return tokenizer.decode_after(" ", tokenizer.encode_after(word))


def worded(tokenizer: Tokenizer, words: Sequence[str], length: int) -> Partial:
    """An example of so many tokens: three words, one of which may be empty, in their places.

    ValueError where they leave no hole on one side of the middle, and for a word that its tokens do
    not keep, such as one in capitals of a tokenizer that has none.
    """
    for i, word in enumerate(words):
        back = come_back(tokenizer, word, after=i > 0)
        if back != word:
            raise ValueError(
                f"{word!r} comes back as {back!r} from the model's tokens: give other --words, "
                "which they keep"
            )
    given = count_tokens(tokenizer, list(words))
    between = length - given
    if between < 2:
        raise ValueError(f"the words have {given} of {length} tokens: give shorter ones")
    start, middle, end = words
    return partial(tokenizer, [start, between // 2, middle, between - between // 2, end])
