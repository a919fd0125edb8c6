"""A Django project of two tenants."""

import os

SECRET_KEY = "of no use"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SHARED_APPS = ["django_tenants", "tests.neighbours.apps.customers", "django.contrib.contenttypes"]
TENANT_APPS = ["django.contrib.contenttypes"]
INSTALLED_APPS = SHARED_APPS
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": "postgres",
        "USER": "legion",
        "HOST": "127.0.0.1",
        "PORT": os.environ["NEIGHBOUR_POSTGRES"],
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
