"""Examples as HTML: what was filled in shaded by how sure the model was, and a player of states.

What stands in the HTML is the last state, so it is what is seen without scripts, and what is
printed; `look/report.js` hides what is not known yet in an earlier one.
"""

import base64
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Kind, Partial
from unmask.kinds.view import Picture, Piece, Rows, View, Words
from unmask.markup import escaped
from unmask.report.page import SAYS
from unmask.report.pieces import Section, box, table
from unmask.report.reveal import HIDDEN, NEVER, Revealed, given, whole

LISTED = 3  # likeliest values of a hole
MOST = 1000  # states that a player steps through; of more, those at even distances
SHADES = (0.2, 0.4, 0.6, 0.85)  # below each of these a shade; as on the page of `unmask serve`
KEY = (
    '<p class="key shaded"><span class="cell given">given</span> '
    '<span class="cell hole">hidden</span> filled in: <span class="cell filled s1">unsure</span>'
    '<span class="cell filled s2">&nbsp;</span><span class="cell filled s3">&nbsp;</span>'
    '<span class="cell filled s4">&nbsp;</span><span class="cell filled s5">sure</span></p>\n'
    f'<p class="note">{SAYS["shade"]}</p>\n'
)
PLAYER = (
    '<div class="player" hidden><button type="button">Play</button>'
    '<input type="range" min="0" max="{last}" value="{last}" aria-label="Step of the filling">'
    "</div>\n<output></output>"
)


class Board(NamedTuple):
    """Examples beneath a heading; "": none."""

    title: str
    shown: Revealed


class Odds(NamedTuple):
    """How probable the values of a hole are, the likeliest first."""

    name: str
    values: Sequence[tuple[str, float]]


class Filling(NamedTuple):
    """Examples that were filled in several times."""

    examples: Sequence[Partial]
    copies: Sequence[Revealed]
    costs: Sequence[str] = ()  # of each of `copies`, in words
    truth: Sequence[Partial] = ()  # what there was, given, where that is known
    cost: str = ""  # of that
    odds: Sequence[Odds] = ()
    more: int = 0  # holes of which no odds are told
    says: str = ""  # where the examples are from


def of_samples(kind: Kind, drawn_: Revealed) -> list[Section]:
    """Some samples as they appear, and the others."""
    together, words = kind.on_a_page[0], kind.words
    played = drawn(kind, [Board("", drawn_.cut(0, together))])
    title = "How a sample appears" if len(drawn_.rows[:together]) == 1 else "How samples appear"
    sections = [Section(title, noted(SAYS["frames"].format(part=words.part), words), played)]
    if others := drawn_.rows[together:]:
        static = drawn(kind, [Board("", whole(others))])
        sections.append(Section(words.samples, SAYS["samples"].format(part=words.part), static))
    return sections


def of_filling(kind: Kind, filling: Filling) -> Section:
    """What is given, how it was filled in, and what there was."""
    boards = [Board("Given", given(filling.examples))]
    costs = filling.costs or [""] * len(filling.copies)
    for i, (copy, cost) in enumerate(zip(filling.copies, costs, strict=True), 1):
        boards.append(Board(", ".join(filter(None, [f"Filling {i}", cost])), copy))
    if filling.truth:
        title = ", ".join(filter(None, ["What there was", filling.cost]))
        boards.append(Board(title, given(filling.truth)))
    body = drawn(kind, boards)
    if filling.odds:
        rows = [["hidden", "likeliest", "second", "third"]]
        for one in filling.odds:
            values = [f"{text or 'missing'} {percent(p)}" for text, p in one.values[:LISTED]]
            rows.append([one.name, *values, *[""] * (LISTED - len(values))])
        if filling.more:
            rows.append([f"and {filling.more:,} more", *[""] * LISTED])
        body += f"<h3>Probabilities</h3><p>{SAYS['odds']}</p>{table(rows, 'Probabilities')}"
    says = SAYS["fill"].format(given=kind.words.given)
    says = noted(" ".join(filter(None, [filling.says, says])), kind.words)
    return Section("Filling in", says, body)


def of_words(kind: Kind, filled: dict[str, Revealed], steps: int, says: str) -> Section:
    """A text filled in around given words, schedule by schedule."""
    boards = [Board(f"{name.capitalize()} schedule", one) for name, one in filled.items()]
    told = SAYS["words"].format(part=kind.words.part, steps=steps)
    told = noted(" ".join(filter(None, [says, told])), kind.words)
    return Section("Given words", told, drawn(kind, boards, beside=True))


def noted(says: str, words: Words) -> str:
    return f"{says} {words.note}".rstrip()


def drawn(kind: Kind, boards: Sequence[Board], *, beside: bool = False) -> str:
    """Boards one below the other, or beside each other where there is room, with one player if
    there are states to step through."""
    steps = states(boards)
    body = "".join(_board(kind, board, steps) for board in boards)
    if beside:
        body = f'<div class="beside">{body}</div>'
    if len(steps) == 1:
        return body
    numbers = " ".join(map(str, steps.tolist()))
    player = PLAYER.format(last=len(steps) - 1)
    key = "" if 'class="pictures"' in body else KEY
    return f'<div class="played" data-steps="{numbers}">{player}\n{key}{body}</div>'


def states(boards: Sequence[Board]) -> np.ndarray:
    """The steps that change something, after 0, where all that is filled in is hidden."""
    known = [row for board in boards for row in board.shown.known]
    steps = np.unique(np.concatenate([[0], *known]))
    steps = steps[steps >= 0]
    if len(steps) > MOST:
        steps = steps[np.linspace(0, len(steps) - 1, MOST).round().astype(int)]
    return steps


def _board(kind: Kind, board: Board, steps: np.ndarray) -> str:
    revealed = board.shown
    shown = [known >= 0 for known in revealed.known]
    views = kind.views(revealed.rows, shown)
    parts = [_view(view, revealed, steps) for view in views]
    if views and isinstance(views[0], Picture):
        parts = [f'<div class="pictures">{"".join(parts)}</div>']
    heading = f"<h3>{escaped(board.title)}</h3>" if board.title else ""
    return f'<div class="shaded">{heading}{"".join(parts)}</div>\n'


def _view(view: View, revealed: Revealed, steps: np.ndarray) -> str:
    if isinstance(view, Picture):
        return _picture(view, revealed, steps)
    if isinstance(view, Rows):
        return _rows(view, revealed, steps)
    pieces = [_piece(one, view.example, revealed, steps) for one in view.pieces]
    return f'<div class="board">{"".join(pieces)}</div>'


def _state(known: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """In which of the states what is known after so many steps appears."""
    return np.searchsorted(steps, known)


class _Facts(NamedTuple):
    """What is known of a piece."""

    classes: str
    state: str  # an attribute, "" for what is there from the beginning
    sure: float | None  # None: it was not filled in


def _facts(piece: Piece, example: int, revealed: Revealed, steps: np.ndarray) -> _Facts:
    at = list(piece.at)
    known = revealed.known[example][at]
    if (known == HIDDEN).any():
        return _Facts("cell hole", "", None)
    if (known == NEVER).any():
        return _Facts("cell unknown", "", None)
    if not known.any():
        return _Facts("cell given", "", None)
    state = int(_state(known, steps).max())
    sure = float(revealed.sure[example][at].prod())
    shade = 1 + int(np.searchsorted(SHADES, sure, side="right"))
    return _Facts(f"cell filled s{shade}", f' data-known="{state}"', sure)


def _piece(piece: Piece, example: int, revealed: Revealed, steps: np.ndarray) -> str:
    facts = _facts(piece, example, revealed, steps)
    # a line's end is seen while it is hidden, too
    text = escaped(piece.text).replace("\n", " \n")
    if facts.classes == "cell hole":
        return f'<span class="cell hole">{"&nbsp;" * len(piece.at)}</span>'
    if facts.classes == "cell unknown":
        return f'<span class="cell unknown" title="not known">{"?" * len(piece.at)}</span>'
    if facts.sure is None:
        return escaped(piece.text)
    title = f' title="{percent(facts.sure)}"'
    return f'<span class="{facts.classes}"{facts.state}{title}>{text}</span>'


def _rows(view: Rows, revealed: Revealed, steps: np.ndarray) -> str:
    heads = "".join(f'<th scope="col">{escaped(name)}</th>' for name in view.columns)
    lines = []
    for example, row in enumerate(view.rows):
        cells = "".join(_cell(piece, example, revealed, steps) for piece in row)
        lines.append(f'<tr><th scope="row">{example + 1}</th>{cells}</tr>')
    return (
        f'{box("Rows")}<table><thead><tr><th scope="col">row</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(piece: Piece, example: int, revealed: Revealed, steps: np.ndarray) -> str:
    facts = _facts(piece, example, revealed, steps)
    if facts.classes == "cell hole":
        return '<td><span class="cell hole"><i class="none">hidden</i></span></td>'
    if facts.classes == "cell unknown":
        return '<td><span class="cell unknown"><i class="none">not known</i></span></td>'
    text = '<i class="none">missing</i>' if piece.missing else escaped(piece.text)
    if facts.sure is None:
        return f'<td><span class="cell">{text}</span></td>'
    text += f" <small>{percent(facts.sure)}</small>"
    return f'<td><span class="{facts.classes}"{facts.state}>{text}</span></td>'


def _picture(view: Picture, revealed: Revealed, steps: np.ndarray) -> str:
    known = revealed.known[view.example]
    state = ""
    if (known > 0).any():
        numbers = _state(known, steps).astype("<u2").tobytes()
        state = f' data-known="{base64.b64encode(numbers).decode()}"'
    content = base64.b64encode(view.png).decode()
    image = f'<img alt="{escaped(view.alt)}" src="data:image/png;base64,{content}">'
    return f'<div class="picture"{state}>{image}</div>'


def percent(probability: float) -> str:
    if probability < 0.1:
        return f"{100 * probability:.1f} %"
    return f"{100 * probability:.0f} %"
