"""Beside tenant-schemas-celery and celery-aio-pool."""

from __future__ import annotations

from collections import Counter

from tests.neighbours.postgres import Postgres
from tests.neighbours.scene import Scene


def tenants(scene: Scene) -> None:
    """A job works in the schema that its headers name, and one that is sent to each tenant runs for each."""
    with Postgres() as server:
        scene.env["NEIGHBOUR_POSTGRES"] = str(server.port)
        code, output = scene.run("-m", "tests.neighbours.apps.tenant_rows")
        scene.expect(code == 0, f"its tenants could not be made: {output[-400:]}")
        worker = scene.worker()
        beat = scene.beat()
        scene.until("where", 3, 15)
        scene.main_job(beat)
        scene.fires_right("where", 2)
        schemas = Counter(line["schema"] for line in scene.starts("where"))
        scene.expect(set(schemas) == {"acme"}, f"where ran in the schemas {dict(schemas)}, not in acme alone")
        scene.expect("each" in beat.output, "beat does not name the entry whose key is its own scheduler's")
        scene.look("list", "show where", "history")
        scene.quiet(worker)
        scene.quiet(beat)
        _mixed(scene)
        # A worker that outlives its database is another matter.
        scene.processes.end()


def _mixed(scene: Scene) -> None:
    """With the neighbour's mixin over our scheduler each tenant gets its message, and others' errors stop nothing."""
    scene.env["NEIGHBOUR_MIXED"] = "1"
    worker = scene.worker("-n", "mixed@%h")
    argv = (
        "-m",
        "celery",
        "-A",
        scene.module,
        "beat",
        "-S",
        "tests.neighbours.apps.tenant_scheduler.EachTenant",
        "--pidfile=",
    )
    beat = scene.processes.start(str(scene.python), *argv, "-l", "INFO", name="beat", env=scene.env)
    beat.wait_for("leads with epoch", 30)
    scene.until("each", 8, 25)
    beat.terminate()
    worker.terminate()
    each = Counter(line["schema"] for line in scene.starts("each"))
    balanced = abs(each["acme"] - each["globex"]) <= 1
    scene.expect(set(each) == {"acme", "globex"} and balanced, f"each tenant's executions: {dict(each)}")
    outage = "cannot be reached" in beat.output
    scene.expect(not outage, "an error of the neighbour's while sending is taken for an outage of the broker")
    scene.note(f"each tenant: {dict(each)}")


def aio_pool(scene: Scene) -> None:
    """Coroutines and functions run once each, as runs that know of themselves."""
    scene.env["CELERY_CUSTOM_WORKER_POOL"] = "celery_aio_pool.pool:AsyncIOPool"
    worker = scene.worker("-P", "custom")
    beat = scene.beat()
    scene.until("awaiting", 3, 20)
    scene.main_job(beat)
    scene.fires_right("awaiting", 2)
    scene.look("list", "show awaiting", "history")
    scene.quiet(worker)
    scene.quiet(beat)
