"""What ``legion dev`` shows while it runs: the lines of its processes, and on a terminal the jobs below them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from celery_legion.cli import render
from celery_legion.cli.grid import wrap
from celery_legion.cli.session import addressed

REFRESH = 1.0
SHARE = 0.6
"""How much of a terminal's height the jobs may take; the rest is for lines."""

BAR = "│"
TITLE = 6
TITLES = {"worker": "cyan", "beat": "magenta"}
LEVELS = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
LINE = re.compile(r"\[\d{4}-\d\d-\d\d (?P<time>\d\d:\d\d:\d\d),\d{3}: (?P<level>[A-Z]+)/[^\]]+\] (?P<words>.*)")
"""A line in Celery's own format; an app that has another one gets its lines as they are."""

RUN = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

TOOK = re.compile(r"( succeeded in )(\d+\.\d+)s(?:: None$)?")


class Screen:
    """Shows lines as they come. *look* returns, for a width, what is pinned below them on a terminal."""

    def __init__(self, console: Console, look: Callable[[int], Any]) -> None:
        self.console = console
        self._look = look
        self._live: Live | None = None
        self._over = threading.Event()
        self._drawing = threading.Lock()

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
            # Looking may take as long as the store: signals and lines do not wait for it.
            threading.Thread(target=self._draw, name="legion-dev-screen", daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        with self._drawing:
            if self._live is not None:
                self._live.stop()

    def lines(self, title: str, lines: Sequence[str]) -> None:
        """Show lines that a process wrote: in full for a program, shortened, wrapped and in colour for people."""
        told = [line for line in lines if line.strip()]
        if not told:
            return
        if self.console.is_terminal:
            shown = [part for line in told for part in self._styled(title, line)]
        else:
            shown = [Text(f"{title:<{TITLE}} {BAR} {line}") for line in told]
        self.console.print(Text("\n").join(shown), soft_wrap=True)

    def say(self, words: str) -> None:
        """Show a line of dev's own."""
        self.lines("dev", [words])

    def _styled(self, title: str, line: str) -> list[Text]:
        found = LINE.fullmatch(line)
        if found is None:
            trace = line[0].isspace() or line.startswith("Traceback ")
            text = Text(render.printable(line), "dim" if trace else "")
        else:
            words = TOOK.sub(lambda took: f"{took[1]}{float(took[2]):.3f}s", RUN.sub(r"\1", found["words"]))
            text = Text.assemble(
                (f"{found['time']} ", "dim"), (render.printable(words), LEVELS.get(found["level"], ""))
            )
        parts = wrap(text, max(20, self.console.width - TITLE - 3))
        names = [title, *[""] * (len(parts) - 1)]
        style = TITLES.get(title, "")
        return [
            Text.assemble((f"{name:<{TITLE}} {BAR} ", style), part) for name, part in zip(names, parts, strict=True)
        ]

    def _draw(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            pinned = Top(self._look(self.console.width), max(4, int(self.console.height * SHARE)))
            with self._drawing:
                if self._live is not None and not self._over.is_set():
                    self._live.update(pinned, refresh=True)
            # With very many jobs a look takes long; most of the time is for the lines.
            self._over.wait(max(REFRESH, 4 * (time.monotonic() - began)))


class Top:
    """The first lines of something, below a rule."""

    def __init__(self, inner: Any, height: int) -> None:
        self._inner, self._height = inner, height

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("─" * options.max_width, style="dim")
        yield from self._cut(console.render_lines(self._inner, options.update(height=None), pad=False))

    def _cut(self, lines: list[list[Segment]]) -> Iterator[Any]:
        for line in lines[: self._height - 1]:
            yield from line
            yield Segment.line()
        if len(lines) >= self._height:
            yield Text(addressed("… and more: `celery legion list` in another terminal"), style="dim")
