#!/usr/bin/env bash
# Celery's task_postrun may tell the state of an EARLIER execution.
#
# With worker_deduplicate_successful_tasks, a redelivered message makes the tracer look up the stored state first, into
# the very variable that task_postrun reports. If the execution is then broken off by an exit (sys.exit, or SIGTERM,
# which the pool turns into one), the signal says what was stored before: FAILURE, say, with retval None, for an execution
# that has neither failed nor stored anything. Without the setting it says None, as it should.
#
# Exits with 1 when Celery behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q celery==5.7.0 kombu==5.7.0
cat > "$folder/case.py" <<'PYTHON'
import sys
from importlib.metadata import version

from celery import Celery, signals
from celery.app.trace import build_tracer

print("celery", version("celery"), "python", sys.version.split()[0])
app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.worker_deduplicate_successful_tasks = "dedup" in sys.argv
told = []


@app.task(acks_late=True)
def leave():
    sys.exit(0)


@signals.task_postrun.connect
def note(state=None, retval=None, **_):
    told.append((state, retval))


app.backend.store_result("id-1", ValueError("an earlier execution"), "FAILURE")
request = {"id": "id-1", "task": leave.name, "delivery_info": {"redelivered": True}, "retries": 0, "is_eager": False}
try:
    build_tracer(leave.name, leave, app=app)("id-1", (), {}, request)
except SystemExit as exc:
    print("the task has left with", repr(exc))
print("task_postrun says", told)
sys.exit(told != [("FAILURE" if "dedup" in sys.argv else None, None)])
PYTHON
"$folder/venv/bin/python" "$folder/case.py"
"$folder/venv/bin/python" "$folder/case.py" dedup
echo "as described"
