"""Redis answers as the memory store does, whatever is asked in whichever order and however time passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import missing
from tests.properties.effort import PATIENCE, effort
from tests.properties.frozen import FrozenValkey, find_library
from tests.properties.store_machine import StoreMachine

pytestmark = PATIENCE


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[FrozenValkey]:
    library = find_library()
    if library is None:
        missing("libfaketime, with which a server's clock stands still")
        return
    server = FrozenValkey(tmp_path, library)
    server.start()
    yield server
    server.close()


def test_redis_and_memory_give_the_same_answers_and_keep_the_promises(frozen: FrozenValkey) -> None:
    run_state_machine_as_test(lambda: StoreMachine(frozen), settings=effort(25, steps=40))
