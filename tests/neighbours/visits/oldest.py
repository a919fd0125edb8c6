"""With the oldest versions that ``pyproject.toml`` allows: the main job, and every command once."""

from __future__ import annotations

import click

from celery_legion.cli import legion
from tests.neighbours.scene import Scene
from tests.servers.patience import patient

FIRST = ("list", "list --next", "show tick", "history", "inbox", "locks", "logs echo", "test echo", "push tick")
NAMED = ("pause tick --note later", "resume tick", "push long --no-wait")
LAST = ("interrupt long", "clear-locks --yes")


def oldest(scene: Scene) -> None:
    """Beat, a worker, and each command of the command line's group, so that none is forgotten."""
    worker = scene.worker()
    beat = scene.beat()
    scene.until("again", 2)
    scene.commands(*FIRST, *NAMED)
    scene.until("long", 1, 15)
    scene.commands(*LAST)
    scene.until("tick", 4)
    beat.terminate()
    scene.fires_right("again", 4, attempts=2, least=2)
    scene.commands("run")
    code, output = scene.legion("work", stop=4)
    scene.expect(code == 0 and "Traceback" not in output, f"`legion work` ends with {code}: {output[-300:]}")
    worker.terminate()
    nowhere = dict.fromkeys(("NEIGHBOUR_BROKER", "NEIGHBOUR_RESULTS", "NEIGHBOUR_STORE"), "")
    code, output = scene.legion("dev", "--for", f"{patient(6):g}", env=nowhere)
    scene.expect(code == 0 and "Traceback" not in output, f"`legion dev` ends with {code}: {output[-300:]}")
    run = {line.split()[0] for line in (*FIRST, *NAMED, *LAST)} | {"run", "work", "dev"}
    forgotten = set(legion.list_commands(click.Context(legion))) - run
    scene.expect(not forgotten, f"never run: {sorted(forgotten)}")
    scene.note(f"{len(run)} commands")
    scene.quiet(worker)
    scene.quiet(beat)
