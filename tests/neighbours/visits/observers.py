"""Beside Sentry, OpenTelemetry, ddtrace and Flower: packages that look on."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections import Counter
from typing import Any

from tests.neighbours.collector import Collector
from tests.neighbours.scene import Scene, last_line
from tests.servers.polling import eventually


def sentry(scene: Scene) -> None:
    """Its monitor is told of each run's begin and end, errors and traces arrive, and retries keep their run."""
    with Collector() as collector:
        scene.env["NEIGHBOUR_SENTRY"] = f"http://key@127.0.0.1:{collector.port}/1"
        worker = scene.worker()
        beat = scene.beat()
        scene.commands("push nightly --no-wait", "push broken --no-wait")
        scene.until("nightly", 1, 15)
        scene.until("broken", 1, 15)
        scene.main_job(beat)
        worker.terminate()
    told: dict[str, list[str]] = {}
    for item in collector.items("check_in"):
        told.setdefault(item["monitor_slug"], []).append(item["status"])
    expected = {"nightly": ["in_progress", "ok"], "broken": ["in_progress", "error"]}
    scene.expect(told == expected, f"check-ins are {told}, not {expected}")
    ids = {item["check_in_id"] for item in collector.items("check_in") if item["monitor_slug"] == "nightly"}
    scene.expect(len(ids) == 1, f"the run's begin and end have {len(ids)} check-in ids, not one")
    errors = [item["exception"]["values"][-1]["value"] for item in collector.items("event") if "exception" in item]
    scene.expect(errors == ["broken on purpose"], f"errors that arrived: {errors}")
    traces = Counter(item["transaction"] for item in collector.items("transaction"))
    scene.expect(traces["tick"] == len(scene.starts("tick")), f"transactions that arrived: {dict(traces)}")
    ends = {run.state.value for run in scene.runs("broken")}
    scene.expect(ends == {"failed"}, f"the broken job is recorded as {sorted(ends)}")
    scene.note(f"check-ins {told}, {sum(traces.values())} transactions")
    scene.look("list", "show nightly")
    scene.quiet(beat)


def opentelemetry(scene: Scene) -> None:
    """Each run is a span of the worker's below the span of its sending, a retried one too."""
    worker = scene.worker()
    beat = scene.beat()
    scene.main_job(beat)
    worker.terminate()
    path = scene.folder / "spans.jsonl"
    spans = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    by_id = {span["id"]: span for span in spans}
    kinds = Counter((span["name"], span["kind"]) for span in spans)
    for name in ("tick", "again"):
        ran = [span for span in spans if span["name"] == f"run/{name}"]
        sent = [by_id.get(span["parent"]) for span in ran]
        right = [one for one in sent if one and one["name"] == f"apply_async/{name}" and one["kind"] == "PRODUCER"]
        scene.expect(ran and len(right) == len(ran), f"{name}: {len(ran)} spans of runs, {len(right)} below a sending")
        scene.expect(
            len(ran) == len(scene.starts(name)), f"{name}: {len(ran)} spans for {len(scene.starts(name))} executions"
        )
    scene.note(f"{len(spans)} spans of {len(kinds)} kinds")
    scene.look("list", "show tick", "history")
    scene.quiet(worker)
    scene.quiet(beat)


def ddtrace(scene: Scene) -> None:
    """A retry keeps its run although distributed tracing nests headers, and spans reach the agent."""
    with Collector() as agent:
        env = {
            "DD_TRACE_AGENT_URL": f"http://127.0.0.1:{agent.port}",
            "DD_CELERY_DISTRIBUTED_TRACING": "true",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_SERVICE": "neighbours",
        }
        scene.env.update(env)
        wrapper = (str(scene.python.with_name("ddtrace-run")),)
        worker = scene.worker(wrapper=wrapper)
        beat = scene.beat(*wrapper)
        scene.main_job(beat)
        worker.terminate()
    spans = [body for path, body in agent.received if "/traces" in path]
    for name in (b"celery.run", b"celery.apply"):
        scene.expect(any(name in body for body in spans), f"no span {name.decode()} has reached the agent")
    scene.note(f"{len(spans)} payloads")
    scene.look("list", "show again", "history")
    scene.quiet(beat)


def flower(scene: Scene) -> None:
    """It shows the worker, and each run as a task that succeeded."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    argv = ("-m", "celery", "-A", scene.module, "flower", f"--port={port}", "--address=127.0.0.1")
    scene.env["FLOWER_UNAUTHENTICATED_API"] = "true"
    worker = scene.worker("-E")
    shown = scene.processes.start(str(scene.python), *argv, name="flower", env=scene.env)
    try:
        eventually(lambda: _get(port, "/api/workers?refresh=1"), 30, "Flower shows a worker")
    except AssertionError as exc:
        scene.expect(False, f"{exc}: {last_line(shown.output)}")
        return
    scene.main_job(scene.beat())
    runs = {run.id for run in scene.runs("tick")}

    def succeeded() -> set[str]:
        tasks = _get(port, "/api/tasks?limit=1000") or {}
        return {task["uuid"] for task in tasks.values() if task["state"] == "SUCCESS"}

    try:
        eventually(lambda: runs <= succeeded(), 10)
    except AssertionError:
        scene.expect(False, f"Flower shows {len(runs & succeeded())} of {len(runs)} runs as succeeded")
    scene.note(f"{len(_get(port, '/api/workers') or {})} worker, {len(succeeded())} tasks")
    scene.look("list", "show tick", "history")
    scene.quiet(worker)


def _get(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None
