#!/usr/bin/env bash
# Importing a schedule class of celery-redbeat, to use it under another beat, hooks that beat: its receiver of beat_init
# asks every scheduler for RedBeat's lock, and one that has none gets an AttributeError in its log at each start. The
# jobs run all the same. Exit 0 = so it is; anything else = the behaviour has changed, or it could not be tried.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check "celery==5.7.0" "celery-redbeat==2.4.2" "redis==8.1.0" 2> /dev/null
"$folder/venv/bin/pip" list --format=freeze | grep -iE '^(celery|celery-redbeat|redis|kombu)=='
cat > "$folder/shop.py" <<'PY'
from datetime import datetime, timezone

from celery import Celery
from redbeat.schedules import rrule

app = Celery("shop", broker="memory://")
start = datetime.now(timezone.utc)
app.conf.beat_schedule = {"job": {"task": "shop.job", "schedule": rrule("SECONDLY", dtstart=start, interval=2, app=app)}}


@app.task(name="shop.job")
def job():
    pass
PY
cd "$folder"
"$folder/venv/bin/celery" -A shop beat -S celery.beat.Scheduler --pidfile= -l INFO > "$folder/log" 2>&1 &
beat=$!
trap 'kill "$beat" 2> /dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 60); do
    grep -q "Sending due task job" "$folder/log" && break
    sleep 1
done
echo "--- the log of plain beat:"
grep -E "Sending due task|Signal handler|AttributeError" "$folder/log" | head -6
grep -q "Sending due task job" "$folder/log"
grep -q "AttributeError: 'Scheduler' object has no attribute 'lock_key'" "$folder/log"
