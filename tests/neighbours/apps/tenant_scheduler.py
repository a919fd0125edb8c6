"""The neighbour's way to send a job to each tenant, over our scheduler."""

from tenant_schemas_celery.scheduler import TenantAwareSchedulerMixin

import celery_legion


class EachTenant(TenantAwareSchedulerMixin, celery_legion.Scheduler):
    """Sends one message a tenant."""
