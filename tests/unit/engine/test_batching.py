"""Why messages are sent one by one: an option that is really set, else the transport."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celery_legion.engine.batching import unbatched


class Transport:
    """One of another package."""


CONNECTION = SimpleNamespace(transport=Transport())


@pytest.mark.parametrize("option", ["retry_on_timeout", "retry_on_error", "retry"])
def test_an_option_that_is_set_is_named_and_no_other(option: str) -> None:
    said = unbatched(CONNECTION, {option: [TimeoutError], "visibility_timeout": 60})

    assert f"broker_transport_options set {option}:" in said


def test_several_options_are_all_named() -> None:
    assert "set retry_on_timeout and retry:" in unbatched(CONNECTION, {"retry": object(), "retry_on_timeout": True})


@pytest.mark.parametrize("given", [None, {}, {"retry_on_timeout": False}, {"visibility_timeout": 60}])
def test_a_transport_that_takes_no_batches_is_named_where_no_option_is_set(given: dict[str, object] | None) -> None:
    said = unbatched(CONNECTION, given)

    assert "test_batching.Transport, takes no batches" in said
    assert "retry" not in said
