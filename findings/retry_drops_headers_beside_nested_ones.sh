#!/usr/bin/env bash
# A custom header is kept by a retry, unless the message also has a header named "headers" that is a dict: then the retry
# sends only what is in that dict, and every header beside it is gone. Tracers put such a dict there.
#
# Celery 5.7.0. No broker or worker is needed: what Task.retry sends is built by Task.signature_from_request, which is
# asked here for a request that has the message's headers, as a worker makes it.
# Exit 0: it behaves so. Exit 1: it behaves differently now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --quiet --disable-pip-version-check 'celery==5.7.0' 'kombu==5.7.0'
cat > "$folder/retry.py" <<'PY'
import sys

import celery
import kombu
from celery.app.task import Context

app = celery.Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=True)


@app.task(name="job", bind=True)
def job(self):
    """Retried below as a worker would retry it."""


def headers_of_the_retry(headers):
    """The custom headers in the signature that Task.retry sends for a message with *headers*."""
    request = Context({"id": "1", "task": "job", "args": [], "kwargs": {}, **headers})
    return job.signature_from_request(request).options.get("headers")


print("celery", celery.__version__, "kombu", kombu.__version__)
alone = headers_of_the_retry({"order": "42"})
beside = headers_of_the_retry({"order": "42", "headers": {"trace": "abc"}})
print("sent with order=42                        -> the retry has", alone)
print("sent with order=42, headers={trace: abc}  -> the retry has", beside)
sys.exit(not (alone == {"order": "42"} and beside == {"trace": "abc"}))
PY
"$folder/venv/bin/python" "$folder/retry.py"
