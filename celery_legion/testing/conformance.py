"""The conformance suite of stores: what a driver must do, over any driver.

A driver's test file subclasses :class:`StoreConformance`, sets ``tick`` and supplies three fixtures:

``store``
    an empty store;
``keeping``
    a function from a :class:`~celery_legion.stores.base.Retention` to an empty store with it, on the same clock;
``clock``
    an object whose ``advance(span)`` lets *span* pass by the stores' clock.
"""

from __future__ import annotations

from celery_legion.testing.conformance_begin import BeginConformance, RetryConformance
from celery_legion.testing.conformance_case import Advancing, Keeping
from celery_legion.testing.conformance_claims import ClaimConformance, PushConformance
from celery_legion.testing.conformance_crowds import CrowdConformance
from celery_legion.testing.conformance_debts import DebtConformance
from celery_legion.testing.conformance_ends import EndConformance, ReapConformance, RetentionConformance
from celery_legion.testing.conformance_hooks import OweConformance
from celery_legion.testing.conformance_inbox import AsideConformance, RequestsConformance
from celery_legion.testing.conformance_interrupts import InterruptConformance, RefusedConformance
from celery_legion.testing.conformance_lapses import (
    LapseConformance,
    OverlapConformance,
    RepeatConformance,
    WorkerlessConformance,
)
from celery_legion.testing.conformance_lead import (
    ChangesConformance,
    InboxConformance,
    LeadConformance,
    SightConformance,
)
from celery_legion.testing.conformance_leases import HandBackConformance, ParkConformance, RenewConformance
from celery_legion.testing.conformance_lost import LostConformance, MissingConformance
from celery_legion.testing.conformance_outputs import LeaveConformance, OutputConformance
from celery_legion.testing.conformance_progress import PartialConformance, ProgressConformance
from celery_legion.testing.conformance_reading import (
    LockConformance,
    ReadingConformance,
    WakingConformance,
    WorkerConformance,
)
from celery_legion.testing.conformance_sending import SendingConformance
from celery_legion.testing.conformance_superseding import SupersedingConformance, UnknownConformance

__all__ = ["Advancing", "Keeping", "StoreConformance"]


class StoreConformance(
    LeadConformance,
    ChangesConformance,
    InboxConformance,
    RequestsConformance,
    AsideConformance,
    SightConformance,
    ClaimConformance,
    PushConformance,
    LapseConformance,
    OverlapConformance,
    RepeatConformance,
    WorkerlessConformance,
    SendingConformance,
    MissingConformance,
    LostConformance,
    BeginConformance,
    RetryConformance,
    UnknownConformance,
    SupersedingConformance,
    RenewConformance,
    ParkConformance,
    HandBackConformance,
    EndConformance,
    ReapConformance,
    RetentionConformance,
    OweConformance,
    DebtConformance,
    InterruptConformance,
    RefusedConformance,
    OutputConformance,
    LeaveConformance,
    ProgressConformance,
    PartialConformance,
    ReadingConformance,
    LockConformance,
    WorkerConformance,
    WakingConformance,
    CrowdConformance,
):
    """Every sentence of the contract in :mod:`celery_legion.stores.base`."""
