#!/usr/bin/env bash
# `app.control.inspect(connection=...)` reads answers on the connection it is given, and asks on another one: the
# question is published through the app's own pool, with retry=True. Whoever bounds the connection he gives has bounded
# nothing, and while the app's broker is away the question is tried again and again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "celery==5.7.0" "kombu==5.7.0"
cat > "$folder/ask.py" <<'PYTHON'
import sys

import celery
import kombu
from kombu.messaging import Producer

app = celery.Celery("app", broker="memory://of-the-pool")
seen = []
publish = Producer.publish


def watched(self, *args, **kwargs):
    seen.append((self.connection.hostname, kwargs.get("retry")))
    return publish(self, *args, **kwargs)


Producer.publish = watched
with kombu.Connection("memory://that-was-given") as given:
    app.control.inspect(timeout=0.2, connection=given).ping()
print("celery", celery.__version__, "kombu", kombu.__version__)
for host, retry in seen:
    print(f"asked on the connection {host}, retry={retry}")
sys.exit(seen != [("of-the-pool", True)])
PYTHON
cd "$folder"
"$folder/venv/bin/python" ask.py
