"""Names that the app under test and the tests share: the app itself needs an environment to be imported."""

from __future__ import annotations

LONG_NAME = (
    "shop.reports.a_very_long_module_name.that_no_screen_can_hold.日次レポート.nightly_reconciliation_of_everything"
)
