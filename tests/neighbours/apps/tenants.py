"""An app of tenant-schemas-celery: each message names the schema that its task works in."""

from django.db import connection
from tenant_schemas_celery.app import CeleryApp

from tests.neighbours.apps import base

app = CeleryApp(base.NAME)
legion = base.configure(app)
base.add_jobs(app, legion)


@app.task(name="where")
def where() -> None:
    base.seen("where", schema=connection.schema_name)


@app.task(name="each")
def each() -> None:
    base.seen("each", schema=connection.schema_name)


if base.env.get("NEIGHBOUR_MIXED"):
    app.conf.beat_schedule = {
        "each": {"task": "each", "schedule": 3.0, "options": {"headers": {"_all_tenants_only": True}}},
    }
else:
    legion.task("where").every("2s").name("where").options(headers={"_schema_name": "acme"})
    app.conf.beat_schedule = {
        # A key that only the neighbour's own scheduler understands.
        "each": {"task": "each", "schedule": 3.0, "tenant_schemas": ["acme"]},
    }
