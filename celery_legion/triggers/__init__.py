"""Triggers: pure rules that say when a job fires."""

from __future__ import annotations

from celery_legion.triggers.base import Trigger
from celery_legion.triggers.cron import Cron
from celery_legion.triggers.errors import TriggerError
from celery_legion.triggers.interval import Interval
from celery_legion.triggers.once import Once
from celery_legion.triggers.restricted import Restricted
from celery_legion.triggers.union import Union

__all__ = ["Cron", "Interval", "Once", "Restricted", "Trigger", "TriggerError", "Union"]
