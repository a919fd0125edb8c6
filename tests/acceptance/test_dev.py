"""``legion dev`` and ``legion work``: how they begin, how they are ended, and that nothing is left."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from celery_legion.cli.dev import own_options
from celery_legion.embedded import EmbeddedValkey
from celery_legion.stores import open_store
from celery_legion.stores.base import StoreOptions
from tests.acceptance.conftest import Shop
from tests.servers.patience import patient
from tests.servers.polling import eventually
from tests.servers.processes import ROOT, Process, Processes

pytestmark = pytest.mark.e2e

EXAMPLES = ROOT / "examples"
STOPS_WITHIN = 5.0
MARGIN = 3.0
"""Seconds for a busy machine, and for the interpreter's own end."""

BUSY = """
import os, time
from celery import Celery
from celery_legion import Legion
app = Celery("busy")
app.conf.update({settings})
legion = Legion(app)
def nap():
    print("napping", flush=True)
    time.sleep(60)
legion.call(nap).name("nap").every("1s")
legion.command("(setsid sleep 301 &) ; echo holding on; trap '' TERM; sleep 300; sleep 300").name("hold").every("1s")
"""


@dataclass
class Dev:
    """One app's ``legion dev`` whose processes and files can be told from all others."""

    processes: Processes
    folder: Path
    module: str = "shop"
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def env(self) -> dict[str, str]:
        """Without a broker, in a temporary folder of the test's own."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        nothing = dict.fromkeys(("SHOP_BROKER", "CELERY_BROKER_URL", "XDG_RUNTIME_DIR"), "")
        path = f"{ROOT}:{EXAMPLES}:{self.folder}"
        return {**nothing, "PYTHONPATH": path, "TMPDIR": str(temporary), "LEGION_DEV_TEST": self.mark}

    def call(self, *args: str) -> Process:
        return self.processes.start(
            sys.executable, "-m", "celery", "-A", self.module, "legion", *args, name=args[0], env=self.env
        )

    def ready(self, *args: str) -> Process:
        process = self.call("dev", *args)
        process.wait_for(r"dev@\S+ ready", 30)
        return process

    def alive(self) -> dict[int, str]:
        """The living processes of this test, by id, with their command lines."""
        found = {}
        mark = f"LEGION_DEV_TEST={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            try:
                ours = entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0")
                if ours and b") Z" not in (entry / "stat").read_bytes():
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(entry.name)] = words.decode(errors="replace")
            except OSError:
                continue
        return found

    def files(self) -> list[str]:
        """What lies in the temporary folder, but for the (empty) one that is shared by all commands."""
        places = Path(self.env["TMPDIR"]).rglob("*")
        return [path.name for path in places if path.name != f"celery-legion-{os.getuid()}"]

    def is_gone(self, within: float) -> None:
        eventually(lambda: not self.alive() or None, within, f"no process left, of {self.alive()}")
        eventually(lambda: not self.files() or None, within, f"no file left, of {self.files()}")


@pytest.fixture
def dev(processes: Processes, tmp_path: Path) -> Dev:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # What a shell starts in the background hands down, and no interpreter then minds before dev does.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return Dev(processes, tmp_path)


@pytest.fixture
def busy(dev: Dev) -> Callable[..., Dev]:
    """An app with a function that sleeps and a command that holds on, and with *settings*."""

    def make(settings: str = "") -> Dev:
        (dev.folder / "busyapp.py").write_text(BUSY.replace("{settings}", settings))
        dev.module = "busyapp"
        return dev

    return make


def test_without_a_broker_it_runs_everything_and_other_terminals_find_its_server(dev: Dev) -> None:
    process = dev.ready("--for", "10")
    listed = dev.call("list", "--json")
    second = dev.call("dev")

    assert second.wait(15) == 2
    assert "runs already, as process" in second.output
    assert len(second.output.splitlines()) == 1
    assert listed.wait(15) == 0
    said, _, data = listed.output.partition("\n")
    assert said == f'using the server of "legion dev" (process {process.pid})'
    assert "slow-import" in {job["name"] for job in json.loads(data)}

    assert process.wait(30) == 0
    assert "(no broker is configured)" in process.output
    assert "what happened in" in process.output
    lines = [line.split() for line in process.output.partition("what happened in")[2].splitlines()]
    assert ["slow-import", "skipped", "(overlap)"] in [line[:3] for line in lines]
    assert ["check-till", "succeeded"] in [line[:2] for line in lines]
    dev.is_gone(MARGIN)


@pytest.mark.parametrize("after", [0.1, 0.6, 1.0, 1.5, 3.0])
def test_ctrl_c_at_any_moment_leaves_nothing(after: float, dev: Dev) -> None:
    process = dev.call("dev")
    time.sleep(after)
    process.signal(signal.SIGINT)
    started = time.monotonic()
    process.wait(STOPS_WITHIN + MARGIN)

    assert time.monotonic() - started < STOPS_WITHIN + 1
    dev.is_gone(1)


@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_ends_what_runs_and_a_second_one_kills_it(interrupts: int, busy: Callable[..., Dev]) -> None:
    dev = busy()
    process = dev.ready()
    process.wait_for("holding on")
    process.wait_for("napping")
    assert any("sleep 301" in words for words in dev.alive().values())
    started = time.monotonic()
    for _ in range(interrupts):
        process.signal(signal.SIGINT)
        time.sleep(0.3)

    assert process.wait(STOPS_WITHIN + MARGIN) == 0
    assert time.monotonic() - started < (STOPS_WITHIN + 1 if interrupts == 1 else 2)
    assert ("what happened in" in process.output) == (interrupts == 1)
    assert "Traceback" not in process.output
    dev.is_gone(1)


def test_nothing_is_left_when_it_is_killed(busy: Callable[..., Dev]) -> None:
    dev = busy()
    process = dev.ready()
    process.wait_for("holding on")
    process.wait_for("napping")
    process.kill9()

    eventually(lambda: not dev.alive() or None, 10, "no process left")
    # The note to other terminals stays, and is stale.
    eventually(lambda: dev.files() == ["busy.json"] or None, 5, "no folder left")
    listed = dev.call("list")
    assert listed.wait(15) == 2
    assert "using the server" not in listed.output
    again = dev.call("dev", "--for", "0.1")
    assert again.wait(15) == 0
    dev.is_gone(1)


def test_it_ends_and_says_why_when_its_worker_dies(dev: Dev) -> None:
    process = dev.ready()
    worker = min(pid for pid, words in dev.alive().items() if "worker -n dev@%h" in words)
    os.kill(worker, signal.SIGKILL)

    assert process.wait(STOPS_WITHIN + MARGIN) == 1
    assert "the worker has ended by itself, with signal 9; its last lines:" in process.output
    # A pool whose main process is killed leaves a folder of its own, with any worker.
    assert not dev.alive()
    assert not [name for name in dev.files() if not name.startswith("pymp-")]


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ("broker_url='redis://127.0.0.1:1/0'", 3, "start it, or use a Valkey of dev's own with --embedded"),
        ("broker_url='memory://'", 3, "--embedded"),
        ("legion_lock_ttl='x'", 2, "expected legion_lock_ttl to be"),
        ("task_always_eager=True", 2, "task_always_eager is on"),
    ],
)
def test_what_cannot_work_is_one_line(settings: str, code: int, words: str, busy: Callable[..., Dev]) -> None:
    dev = busy(settings)
    process = dev.call("dev")

    assert process.wait(15) == code
    assert words in process.output
    assert len(process.output.splitlines()) == 1
    dev.is_gone(1)


def test_the_apps_own_broker_is_used_and_keeps_what_happened(busy: Callable[..., Dev], redis_url: str) -> None:
    dev = busy(f"broker_url={redis_url!r}")
    process = dev.ready()
    process.wait_for("napping")
    process.signal(signal.SIGTERM)
    assert process.wait(STOPS_WITHIN + MARGIN) == 0
    assert "busy runs on redis://:***@127.0.0.1" in process.output
    assert redis_url.split(":")[2].partition("@")[0] not in process.output

    records = open_store(StoreOptions(url=redis_url, prefix="legion:busy")).runs(None, 100)
    assert "nap" in {record.job for record in records}
    dev.is_gone(1)


def test_embedded_wins_over_a_broker_that_is_configured(busy: Callable[..., Dev]) -> None:
    dev = busy("broker_url='redis://127.0.0.1:1/0', broker_read_url='redis://127.0.0.1:1/0'")

    assert dev.call("dev", "--embedded", "--for", "0.2").wait(15) == 0
    dev.is_gone(1)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("-A shop legion dev --for 3", "-A shop"),
        ("--workdir examples -A shop -b redis:// legion dev", "-A shop -b redis://"),
        ("--workdir=examples --config conf -A legion legion dev", "--config conf -A legion"),
        ("legion dev", ""),
    ],
)
def test_its_processes_get_the_options_that_it_got(words: str, options: str) -> None:
    assert own_options(["celery", *words.split()]) == options.split()


def test_a_daemon_told_to_end_does_so_at_once_and_its_standby_takes_over(
    make_shop: Callable[..., Shop], redis_url: str
) -> None:
    shop = make_shop(redis_url, redis_url, "tick", LEGION_TEST_LEASE="60")

    def work(*args: str) -> Process:
        return shop.processes.celery(shop.module, "legion", "work", *args, name="work", env=shop.env)

    first = work("--sleep", "0.2")
    first.wait_for("leads with epoch 1")
    second = work()
    second.wait_for("beat: Starting")
    started = time.monotonic()
    first.signal(signal.SIGTERM)
    assert first.wait(5) == 0
    assert time.monotonic() - started < patient(2)
    second.wait_for("leads with epoch 2", 5)
    second.signal(signal.SIGINT)
    assert second.wait(5) == 0
    assert open_store(StoreOptions(url=redis_url, prefix="legion:acceptance")).schedulers() == []
    assert "Traceback" not in first.output + second.output


def test_a_daemon_with_wrong_settings_says_so_in_one_line(busy: Callable[..., Dev], valkey: EmbeddedValkey) -> None:
    dev = busy(f"broker_url={valkey.url()!r}, legion_lock_ttl='x'")
    process = dev.call("work")

    assert process.wait(15) == 2
    assert "expected legion_lock_ttl to be" in process.output
    assert len(process.output.splitlines()) == 1


def test_the_demo_shows_every_kind_of_job(dev: Dev) -> None:
    process = dev.processes.start(sys.executable, str(EXAMPLES / "shop/demo.py"), name="demo", env=dev.env)

    assert process.wait(70) == 0, process.output[-3000:]
    assert "every kind of job did what it is for" in process.output
    dev.is_gone(1)
