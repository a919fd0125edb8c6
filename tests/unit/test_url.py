"""URLs as people may see them."""

from __future__ import annotations

import pytest

from celery_legion.url import safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("redis://user:sec@ret@host/0", "redis://user:***@host/0"),
        # A slash that should have been written %2F ends the host's part in the middle of the password.
        ("redis://:sec/ret@host:1/0", "redis://***"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
    ],
)
def test_no_part_of_a_password_is_shown(url: str, shown: str) -> None:
    assert safe_url(url) == shown
