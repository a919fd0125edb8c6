"""Runs every command on the shop in a real terminal and writes down what it shows.

``python -m docs.paste`` writes ``docs/commands.md`` and ``docs/images/``; ``python -m docs.paste list history`` runs
only these, and prints. It needs tmux.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from celery_legion.cli import COMMANDS
from celery_legion.embedded import EmbeddedValkey
from celery_legion.run import State
from tests.servers.processes import Processes

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DOCUMENT = ROOT / "docs" / "commands.md"
IMAGE = ROOT / "docs" / "images" / "list.svg"

NARROW, WIDE, PICTURE = 80, 160, 100
HEIGHT = 300
PATIENCE = 60.0
MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

INTRO = """\
# Commands

What every command shows, on the jobs of [`examples/shop`](../examples/shop), in a terminal of 80 columns and in one of
160. `make docs` runs the commands and writes this file. Where standard output is no terminal, the same is plain text,
a record a line. What reads has `--json`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One command line after ``legion``. ``{run}`` in it is a run with output.

    ``when`` names what the shop has to be like first, ``answer`` is typed at a question, ``stop`` is when Ctrl-C is,
    in seconds. One that is ``alone`` has no broker.
    """

    line: str
    when: str | None = None
    answer: str | None = None
    stop: float | None = None
    alone: bool = False
    codes: tuple[int, ...] = (0,)


CALLS: dict[str, tuple[Call, ...]] = {
    "list": (Call(line="list"), Call(line="list --verbose"), Call(line="list --next --tag cache --tag import")),
    "show": (Call(line="show slow-import"), Call(line="show check-till")),
    "history": (
        Call(line="history --limit 12"),
        Call(line="history slow-import --limit 5"),
        Call(line="history --failed --limit 3"),
    ),
    "logs": (Call(line="logs {run}"),),
    "locks": (Call(line="locks", when="held"),),
    "push": (Call(line="push restock --arg 40"),),
    "inbox": (Call(line="inbox", when="malformed"),),
    "pause": (
        Call(line="pause slow-import --until 2h --note 'the supplier is moving'"),
        Call(line="pause --note 'closed today'"),
    ),
    "resume": (Call(line="resume slow-import"), Call(line="resume")),
    "test": (Call(line="test check-till", when="free"), Call(line="test print-labels", codes=(1,))),
    "interrupt": (Call(line="interrupt slow-import", when="running"),),
    "clear-locks": (
        Call(line="clear-locks slow-import", when="running", answer="y"),
        Call(line="clear-locks --yes", when="running"),
    ),
    "run": (Call(line="run"), Call(line="run --force --tag cache")),
    "work": (Call(line="work", stop=6),),
    "dev": (Call(line="dev --for 9", alone=True),),
}
"""What is shown of each command, in the order of the document."""


class Shop:
    """The shop with its own broker, worker and scheduler, and what is known of it."""

    def __init__(self, server: EmbeddedValkey, folder: Path) -> None:
        self.env = {
            "SHOP_BROKER": server.url(),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "LC_ALL": "C.UTF-8",
            # Where this is run as root, in a container, say.
            "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",
        }
        self._server = server
        self._processes = Processes(folder)
        self._context: Any = None
        self._malformed = False

    def open(self) -> None:
        """Start everything, and return when there is something to see."""
        for name, *argv in (
            ("worker", "worker", "-n", "worker@shop", "-c", "4", "--without-gossip", "--without-mingle", "-l", "INFO"),
            ("beat", "beat", "-S", "celery_legion.Scheduler", "--pidfile=", "-l", "INFO"),
        ):
            argv = [sys.executable, "-m", "celery", "-A", "shop", *argv]
            process = self._processes.start(*argv, name=name, env=self.env, cwd=EXAMPLES)
            process.wait_for(r"ready\." if name == "worker" else "leads with epoch", 40)
        os.environ.update(self.env)
        sys.path.insert(0, str(EXAMPLES))
        self._context = import_module("celery_legion.context").Context.of(import_module("shop").app)
        self.wait_until("interesting")

    def close(self) -> None:
        """End everything."""
        self._processes.end()

    def wait_until(self, what: str) -> None:
        """Wait for one of the conditions below.

        Raises:
            click.ClickException: It does not come true.
        """
        probe: Callable[[], bool] = getattr(self, f"is_{what}")
        deadline = time.monotonic() + PATIENCE
        while not probe():
            if time.monotonic() > deadline:
                states = sorted({f"{record.job} {record.state.value}" for record in self._records()})
                raise click.ClickException(f"the shop was not {what} within {PATIENCE:g} s; there is: {states}")
            time.sleep(0.1)

    def is_interesting(self) -> bool:
        """Whether there are successes, an overlap, and a failure with its output."""
        found = {(record.job, record.state) for record in self._records()}
        return self._run_with_output() is not None and found >= {
            ("print-labels", State.FAILED),
            ("check-till", State.SUCCEEDED),
            ("slow-import", State.SUCCEEDED),
            ("slow-import", State.SKIPPED),
        }

    def is_held(self) -> bool:
        """Whether a lock is held."""
        return any(lock.holders for lock in self._context.store.locks())

    def is_running(self) -> bool:
        """Whether the slow job has begun and goes on for long enough to be seen."""
        now = self._context.clock.now()
        return any(
            record.state is State.RUNNING and (now - record.started_at).total_seconds() < 2
            for record in self._records()
            if record.job == "slow-import"
        )

    def is_free(self) -> bool:
        """Whether the till is not being checked, and will not be for a moment."""
        now = self._context.clock.now().timestamp()
        last = [record for record in self._records() if record.job == "check-till" and record.fire_time is not None]
        age = now - max(record.fire_time.timestamp() for record in last)
        return 1.2 < age < 1.6

    def is_malformed(self) -> bool:
        """Put what cannot be understood into the inbox, once, as any program could."""
        if self._malformed:
            return True
        self._malformed = True
        client: Any = import_module("redis").Redis.from_url(self._server.url())
        base = f"{{{self._context.config.key_prefix}}}:"
        for text in ('{"job": "check-tull"}', "check-till, please"):
            client.lpush(f"{base}inbox", text)
        client.publish(f"{base}wake", "push")
        time.sleep(0.5)
        return True

    def fill(self, line: str) -> str:
        """Return the line with the placeholder filled in."""
        return line.replace("{run}", str(self._run_with_output()))

    def _records(self) -> list[Any]:
        return list(self._context.store.runs(None, 200))

    def _run_with_output(self) -> str | None:
        ended = (State.SUCCEEDED, State.FAILED)
        runs = (record for record in self._records() if record.job == "check-till" and record.state in ended)
        return next((record.id for record in runs if record.output), None)


class Terminal:
    """A tmux server of our own; each command gets a terminal of its own in it."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._socket = folder / "tmux"
        self._folder = folder
        dropped = {"NO_COLOR", "COLUMNS", "LINES", "TMUX", "TERM"}
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        self._env = {**kept, **env, "TERM": "xterm-256color"}
        self._count = 0
        # A server ends with its last session, and would be in the way of the next one's.
        self._tmux("new-session", "-d", "-s", "keeper", "exec sleep 3600")

    def show(self, call: Call, line: str, width: int, colours: bool = False) -> str:
        """Run ``celery -A shop legion`` *line* in a terminal *width* columns wide; return what stands there at the end.

        Raises:
            click.ClickException: It does not end, or not as it should.
        """
        self._count += 1
        name, code = f"c{self._count}", self._folder / f"code{self._count}"
        # The trap keeps the shell alive when Ctrl-C ends the command.
        drop = "unset SHOP_BROKER; " if call.alone else ""
        script = f"trap : INT; {drop}celery -A shop legion {line}; echo $? > {shlex.quote(str(code))}; exec sleep 600"
        self._tmux("new-session", "-d", "-x", str(width), "-y", str(HEIGHT), "-s", name, "-c", str(EXAMPLES), script)
        try:
            began, asked, stopped = time.monotonic(), False, False
            while not code.exists() or not code.read_text().strip():
                elapsed = time.monotonic() - began
                if elapsed > PATIENCE + (call.stop or 0):
                    raise click.ClickException(f"legion {line} does not end:\n{self._capture(name)}")
                if call.stop is not None and elapsed > call.stop and not stopped:
                    stopped = True
                    self._tmux("send-keys", "-t", name, "C-c")
                if call.answer is not None and not asked and "[y/N]" in self._capture(name):
                    asked = True
                    self._tmux("send-keys", "-t", name, call.answer, "Enter")
                time.sleep(0.05)
            time.sleep(0.2)
            shown, ended = self._capture(name), int(code.read_text())
            if ended not in call.codes or re.search("^Traceback", shown, re.MULTILINE):
                raise click.ClickException(f"legion {line} ended with {ended} at {width} columns:\n{shown}")
            return self._capture(name, "-e") if colours else shown
        finally:
            self._tmux("kill-session", "-t", name)

    def close(self) -> None:
        """End the server and what runs in it."""
        subprocess.run(
            ["tmux", "-S", str(self._socket), "kill-server"], env=self._env, capture_output=True, check=False
        )

    def _capture(self, name: str, *how: str) -> str:
        text = self._tmux("capture-pane", "-p", *how, "-t", name)
        return "\n".join(row.rstrip() for row in text.rstrip().splitlines())

    def _tmux(self, *args: str) -> str:
        argv = ["tmux", "-u", "-S", str(self._socket), "-f", "/dev/null", *args]
        done = subprocess.run(argv, env=self._env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"tmux {args[0]} failed: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def opened() -> Iterator[tuple[Shop, Terminal]]:
    """Open the shop and a terminal; everything ends with the block."""
    with tempfile.TemporaryDirectory(prefix="legion-docs-") as name, EmbeddedValkey() as server:
        folder = Path(name)
        shop = Shop(server, folder)
        terminal = Terminal(folder, shop.env)
        try:
            shop.open()
            yield shop, terminal
        finally:
            shop.close()
            terminal.close()


def masked(text: str) -> str:
    """Return the text without what belongs to this machine alone."""
    text = text.replace(f"{EXAMPLES}/", "").replace(f"{ROOT}/", "")
    for name in sorted({socket.gethostname(), socket.getfqdn()} - {"", "localhost"}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "alpha", text)
    return text


def block(line: str, shown: str) -> str:
    """Return what a terminal showed, with its command, as a block of Markdown."""
    fence = "````" if "```" in shown else "```"
    return f"{fence}console\n$ celery -A shop legion {line}\n{masked(shown)}\n{fence}\n"


def details(summary: str, blocks: Sequence[str]) -> str:
    """Return blocks that are folded away."""
    return f"<details>\n<summary>{summary}</summary>\n\n" + "\n".join(blocks) + "\n</details>\n"


def first_sentence(name: str) -> str:
    """Return what a command says of itself."""
    help_text = import_module(COMMANDS[name]).command.help or ""
    return " ".join(help_text.strip().partition("\n\n")[0].split())


def section(name: str, shop: Shop, terminal: Terminal) -> str:
    """Return a command's section."""
    narrow: list[str] = []
    wide: list[str] = []
    for call in CALLS[name]:
        for width, blocks in ((NARROW, narrow), (WIDE, wide)):
            if call.when is not None:
                shop.wait_until(call.when)
            line = shop.fill(call.line)
            blocks.append(block(line, terminal.show(call, line, width)))
    call = Call(line=f"{name} --help")
    # Help is often the same at both widths.
    usage = dict.fromkeys(block(call.line, terminal.show(call, call.line, width)) for width in (NARROW, WIDE))
    parts = [f"## {name}\n", f"{first_sentence(name)}\n", *narrow]
    parts += [details("At 160 columns", wide), details(f"<code>{name} --help</code>", list(usage))]
    return "\n".join(parts)


def picture(terminal: Terminal) -> str:
    """Return the list as an SVG that needs no font but the reader's own."""
    shown = terminal.show(Call(line="list"), "list", PICTURE, colours=True)
    console = Console(record=True, width=PICTURE, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text("$ celery -A shop legion list", style="bold"))
    console.print(Text.from_ansi(masked(shown)), soft_wrap=True)
    svg = console.export_svg(title="celery -A shop legion list", unique_id="list")
    svg = re.sub(r"\s*@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family:\s*Fira Code[^;]*;", f"font-family: {MONOSPACE};", svg)
    svg = svg.replace("font-family: arial;", "font-family: sans-serif;")
    # Some viewers drop spaces at the beginning of a text.
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1).rstrip() + "\n"


def check(names: Sequence[str]) -> None:
    """Refuse to begin with a command that is not there, or that nobody has chosen a call for.

    Raises:
        click.ClickException: Which.
    """
    if shutil.which("tmux") is None:
        raise click.ClickException("tmux is needed to run the commands in a real terminal; install it")
    for name in names:
        if name not in CALLS:
            raise click.ClickException(f"what to show of the command {name}? add it to CALLS in docs/paste.py")
        if name not in COMMANDS:
            raise click.ClickException(f"there is no command {name}; take it out of CALLS in docs/paste.py")
        try:
            import_module(COMMANDS[name])
        except ModuleNotFoundError as exc:
            raise click.ClickException(f"the command {name} cannot be shown: {exc}") from exc


@click.command()
@click.argument("only", nargs=-1, metavar="[COMMAND]…")
def main(only: tuple[str, ...]) -> None:
    """Write docs/commands.md and docs/images/, or print the sections of the commands that are named."""
    names = only or [*CALLS, *(name for name in COMMANDS if name not in CALLS)]
    check(names)
    with opened() as (shop, terminal):
        if only:
            for name in only:
                click.echo(section(name, shop, terminal))
            return
        shop.wait_until("running")
        image = picture(terminal)
        overview = Call(line="--help")
        parts = [INTRO, block(overview.line, terminal.show(overview, overview.line, NARROW))]
        for name in names:
            click.echo(f"legion {name}")
            parts.append(section(name, shop, terminal))
    text = "\n".join(parts)
    if left := [place for place in (str(ROOT), tempfile.gettempdir() + "/") if place in text]:
        raise click.ClickException(f"what was shown names {left[0]}, which belongs to this machine; nothing is written")
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(image)
    DOCUMENT.write_text(text)
    click.echo(f"written: {DOCUMENT.relative_to(ROOT)}, {IMAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
