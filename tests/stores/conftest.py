"""An inbox on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.inbox import Inbox


@pytest.fixture
def inbox(redis_url: str) -> Iterator[Inbox]:
    opened = Inbox(redis_url)
    yield opened
    opened.close()
