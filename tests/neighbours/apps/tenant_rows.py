"""Makes the public schema and two tenants."""

import django
from django.apps import apps
from django.core.management import call_command

django.setup()
call_command("migrate_schemas", "--shared", "--run-syncdb", verbosity=0)
for name in ("acme", "globex"):
    apps.get_model("customers", "Client").objects.create(schema_name=name)
