#!/usr/bin/env bash
# A script that makes a Celery app, decorates a task and starts its own worker works with forked pool processes. With
# worker_pool_start_method = "spawn" (which is what macOS has by default) the same task is NotRegistered: the child
# knows the script as __mp_main__, and names the task after that, not after the app as the parent does.
# Exits 0 while it is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check celery==5.7.0 kombu==5.7.0 billiard==4.3.2

cat > shop.py <<'PY'
import os
import threading

from celery import Celery

app = Celery("shop", broker="filesystem://", backend="file://" + os.environ["RESULTS"])
folders = ("data_folder_in", "data_folder_out", "control_folder")
app.conf.broker_transport_options = dict.fromkeys(folders, os.environ["QUEUE"])
app.conf.worker_pool_start_method = os.environ["METHOD"]


@app.task
def add(x, y):
    return x + y


def ask(result):
    try:
        said = repr(result.get(timeout=30, disable_sync_subtasks=False))
    except Exception as exc:
        said = f"{type(exc).__name__} {exc}"
    os.write(1, f"{os.environ['METHOD']}: {add.name}(2, 3) -> {said}\n".encode())
    os.kill(os.getpid(), 15)


if __name__ == "__main__":
    result = add.delay(2, 3)
    threading.Thread(target=ask, args=(result,), daemon=True).start()
    app.Worker(concurrency=1, loglevel="CRITICAL", quiet=True).start()
PY

venv/bin/python --version
venv/bin/pip list --disable-pip-version-check 2>/dev/null | grep -E '^(celery|kombu|billiard) '
for method in fork spawn; do
    mkdir -p "$method-queue" "$method-results"
    METHOD=$method QUEUE=$folder/$method-queue RESULTS=$folder/$method-results \
        timeout 60 venv/bin/python shop.py 2>/dev/null | grep -- '->' | tee -a said
done
grep -q "^fork: shop.add(2, 3) -> 5$" said
grep -q "^spawn: shop.add(2, 3) -> NotRegistered" said
