"""A tenant and its domain."""

from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    """One tenant; its schema is made with it."""

    auto_create_schema = True


class Domain(DomainMixin):
    """A tenant's domain."""
