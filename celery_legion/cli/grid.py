"""A grid of cells that fits a terminal's width, or goes on without end for a program that reads lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import click
from rich.cells import cell_len, get_character_cell_size
from rich.console import Console
from rich.text import Text

GAP = 2
BREAKS = (" ", ".", "_-/@:,|")
"""Where a line is broken, the best first: between words, at the dots of a name, then at what else divides one."""

SQUEEZED = 6
"""The narrowest a column becomes on a screen that is too narrow for what all of them want at least."""

Cell = tuple[Text, ...]
"""The lines of one cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title (one line or more), and the narrowest it may become where the screen is narrow.

    ``spare`` says that it is left out where there is no room for it beside the others.
    """

    title: str
    least: int = 8
    right: bool = False
    spare: bool = False


def cell(*lines: Text | str) -> Cell:
    """Return a cell of these lines; empty ones are left out."""
    return tuple(line if isinstance(line, Text) else Text(line) for line in lines if line)


def write_lines(lines: Iterable[Text], out: Console) -> None:
    """Write lines as they are: nothing is wrapped or cut."""
    # One call for many: each has a cost of its own.
    out.print(Text("\n").join(lines), no_wrap=True, overflow="ignore", crop=False)


def write_plain(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Write one line a row for a program to read: aligned, at least two spaces between cells, nothing wrapped."""
    texts = [[" ".join(line.plain for line in one) or "–" for one in row] for row in rows]
    texts.insert(0, [column.title for column in columns])
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(row, widths, strict=True))
        click.echo((" " * GAP).join(padded).rstrip())


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, after: Sequence[Sequence[Text]] = ()
) -> list[Text]:
    """Return the lines of a grid at most *width* wide, its titles first; *after* each row what belongs to it."""
    shown = _shown(columns, rows, width)
    columns = [columns[index] for index in shown]
    rows = [[row[index] for index in shown] for row in rows]
    widths = fit(columns, rows, width)
    titles: list[Cell] = [tuple(Text(title, style="bold") for title in column.title.split("\n")) for column in columns]
    lines: list[Text] = []
    for index, row in enumerate((titles, *rows)):
        cells = [_wrapped(one, limit) for one, limit in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            line = Text()
            for column, one, limit in zip(columns, cells, widths, strict=True):
                text = one[number] if number < len(one) else Text()
                room = limit - cell_len(text.plain)
                line.append(" " * room if column.right else "")
                line.append_text(text)
                line.append(" " * (GAP if column.right else room + GAP))
            line.rstrip()
            lines.append(line)
        if after and index:
            lines += after[index - 1]
    return lines


def _shown(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the columns that are shown: all, without spare ones for which there is no room."""
    wanted = _natural(columns, rows)
    shown = [index for index, column in enumerate(columns) if not column.spare]
    room = width - sum(wanted[index] + GAP for index in shown) + GAP
    for index, column in enumerate(columns):
        # One that nothing stands in is no use of the room.
        if column.spare and wanted[index] + GAP <= room and any(row[index] for row in rows):
            shown.append(index)
            room -= wanted[index] + GAP
    return sorted(shown)


def natural_width(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> int:
    """Return how wide a grid without its spare columns would be if nothing were wrapped."""
    pairs = zip(columns, _natural(columns, rows), strict=True)
    return sum(width + GAP for column, width in pairs if not column.spare) - GAP


def fit(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """Return the columns' widths: as wide as their cells, then narrowed where the fewest rows have to be wrapped."""
    widths = _natural(columns, rows)
    over = sum(widths) + GAP * (len(widths) - 1) - width
    if over <= 0:
        return widths
    wanted = [sorted((_cell_width(row[at]), number) for number, row in enumerate(rows)) for at in range(len(columns))]
    least = [column.least for column in columns]
    wrapped: set[int] = set()
    while over > 0:
        choices = [
            (cost / (wide - narrow), at, narrow)
            for at, wide in enumerate(widths)
            for narrow, cost in _narrowings(wanted[at], wide, max(least[at], wide - over), wrapped)
        ]
        if choices:
            _, at, narrow = min(choices)
            over -= widths[at] - narrow
            widths[at] = narrow
            wrapped |= {number for wants, number in wanted[at] if wants > narrow}
        elif max(widths) > SQUEEZED:
            least[widths.index(max(widths))] = max(widths) - 1
        else:
            break
    return widths


def _narrowings(
    wanted: Sequence[tuple[int, int]], wide: int, least: int, wrapped: set[int]
) -> Iterator[tuple[int, float]]:
    """Yield how narrow a column may become, and what that costs: a row each that is wrapped only then.

    *wanted* are the widths that its rows want, in order, each with the row's number.
    """
    cost = 0.1
    steps = [(wide, -1), *reversed(wanted), (0, -1)]
    for (wants, number), (shorter, _) in pairwise(steps):
        # A row that is wrapped already loses less, and the title nothing.
        if number >= 0:
            cost += 0.1 if number in wrapped else 1.0
        narrow = max(shorter, least)
        if narrow < min(wants, wide):
            yield narrow, cost
        if shorter <= least:
            return


def _natural(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    return [
        max((*map(cell_len, column.title.split("\n")), *(_cell_width(row[index]) for row in rows)))
        for index, column in enumerate(columns)
    ]


def _cell_width(one: Cell) -> int:
    return max((cell_len(line.plain) for line in one), default=0)


def _wrapped(one: Cell, width: int) -> list[Text]:
    return [part for line in one for part in wrap(line, width)]


def wrap(line: Text, width: int) -> list[Text]:
    """Return *line* in parts of at most *width*, broken at the best place; what follows keeps its indentation."""
    if cell_len(line.plain) <= width:
        return [line]
    parts: list[Text] = []
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    while cell_len(line.plain) > width:
        end = _break(line.plain, width, indent)
        first, line = line.divide([end])
        first.rstrip()
        parts.append(first)
        rest = line.plain.lstrip(" ")
        line = Text(" " * indent, style=line.style) + line[len(line.plain) - len(rest) :]
        if not rest:
            return parts
    return [*parts, line]


def _break(text: str, width: int, indent: int) -> int:
    """Return where the first part of *text* ends."""
    end, used = 0, 0
    while end < len(text) and (used := used + get_character_cell_size(text[end])) <= width:
        end += 1
    end = max(end, indent + 1)
    if text[end : end + 1] == " ":
        return end
    for marks in BREAKS:
        at = max(text.rfind(mark, indent, end) for mark in marks)
        # A name's first few letters alone on a line help nobody.
        if at > indent + (0 if marks == " " else 2):
            return at + 1
    return end
