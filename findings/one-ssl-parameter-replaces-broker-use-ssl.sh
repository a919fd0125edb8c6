#!/usr/bin/env bash
# One ssl_ parameter in a rediss:// broker URL throws all of `broker_use_ssl` away: the two are not merged, the URL's
# part replaces the dict. An app that names its authority's file in the dict, and asks for a check in the URL as Celery's
# documentation shows it, connects without the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "celery[redis]==5.7.0" "kombu==5.7.0" "redis==8.1.0"
cat > "$folder/ssl_of.py" <<'PYTHON'
import ssl
import sys

import celery
import kombu

print("celery", celery.__version__, "kombu", kombu.__version__)
found = []
for query in ("", "?ssl_cert_reqs=CERT_REQUIRED"):
    app = celery.Celery("app", broker=f"rediss://localhost:6379/0{query}")
    app.conf.broker_use_ssl = {"ssl_ca_certs": "/etc/ssl/private-ca.pem", "ssl_cert_reqs": ssl.CERT_REQUIRED}
    found.append(dict(app.connection_for_write().ssl))
    print(f"broker URL with {query or 'nothing'}: connects with {found[-1]}")
sys.exit("ssl_ca_certs" not in found[0] or "ssl_ca_certs" in found[1])
PYTHON
cd "$folder"
"$folder/venv/bin/python" ssl_of.py
