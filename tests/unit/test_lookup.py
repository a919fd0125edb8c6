"""Looking runs up: by whole ids, by beginnings, by jobs; and what is none of these."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from celery_legion import Legion
from celery_legion.context import Context
from celery_legion.errors import AmbiguousTargetError, InvalidJobError
from celery_legion.lookup import SHORTEST, SHORTEST_NUMBER, find_run, is_over, runs_of, unknown_run
from celery_legion.run import Kind, Reason, Record, State
from celery_legion.stores.memory import MemoryStore
from celery_legion.testing.conformance_case import KEEP, SUCCESS, dispatch, fire, know, pushed, run

ID = "51c73524-0a1b-5c2d-8e3f-9a8b7c6d5e4f"
TWIN = "51c73524-ffff-5c2d-8e3f-9a8b7c6d5e4f"
NUMBER = "12345678-0a1b-5c2d-8e3f-9a8b7c6d5e4f"


def make() -> tuple[Context, MemoryStore]:
    store = MemoryStore(now=lambda: datetime(2030, 1, 1, tzinfo=UTC))
    know(store, "job", "other")
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.legion_store_url = "memory://lookup"
    legion = Legion(app)
    legion.task("t").hourly().name("job")
    legion.task("t").hourly().name("other")
    legion.context.use_store(store)
    return legion.context, store


@pytest.fixture
def store() -> MemoryStore:
    return make()[1]


@pytest.fixture
def context(store: MemoryStore) -> Context:
    context, _ = make()
    context.use_store(store)
    return context


def put(store: MemoryStore, *ids: str, job: str = "job") -> None:
    for run_id in ids:
        dispatch(store, replace(pushed(run_id, job), limit=0))


def found(context: Context, text: str) -> str | None:
    record = find_run(context, text)
    return None if record is None else record.id


class TestFind:
    """One run by its id or the beginning of it."""

    def test_a_whole_id_is_found_whatever_it_looks_like(self, context: Context, store: MemoryStore) -> None:
        put(store, ID, "order 17/b", "x", "*")
        assert [found(context, text) for text in (ID, "order 17/b", "x", "*")] == [ID, "order 17/b", "x", "*"]

    @pytest.mark.parametrize("length", range(SHORTEST, len(ID)))
    def test_a_beginning_is_enough(self, context: Context, store: MemoryStore, length: int) -> None:
        put(store, ID, NUMBER)
        assert found(context, ID[:length]) == ID

    @pytest.mark.parametrize("length", range(SHORTEST))
    def test_a_shorter_one_may_be_a_word(self, context: Context, store: MemoryStore, length: int) -> None:
        put(store, ID)
        assert found(context, ID[:length]) is None

    def test_one_in_capitals_means_the_same(self, context: Context, store: MemoryStore) -> None:
        put(store, ID)
        assert found(context, "51C73524-0A1B") == ID

    def test_only_a_beginning_counts(self, context: Context, store: MemoryStore) -> None:
        put(store, ID)
        assert found(context, ID[1:12]) is None
        assert found(context, ID[:8] + "0") is None
        assert found(context, ID + "0") is None

    def test_what_has_other_characters_than_an_id_is_none(self, context: Context, store: MemoryStore) -> None:
        put(store, ID, "order-2026-17")
        for text in ("51c7352*", "51c735 ", "51c735%", "51c735_", "order-20", "[5]1c735", "５１c73524"):
            assert found(context, text) is None

    def test_digits_may_be_a_process_until_they_are_as_many_as_an_ids_first_group(
        self, context: Context, store: MemoryStore
    ) -> None:
        put(store, NUMBER)
        for length in range(1, SHORTEST_NUMBER):
            assert found(context, NUMBER[:length]) is None
        assert found(context, NUMBER[:SHORTEST_NUMBER]) == NUMBER
        # As soon as there is more than digits, it is no process.
        put(store, "123456a8-0a1b-5c2d-8e3f-9a8b7c6d5e4f")
        assert found(context, "123456a") == "123456a8-0a1b-5c2d-8e3f-9a8b7c6d5e4f"

    def test_a_whole_id_of_digits_is_found(self, context: Context, store: MemoryStore) -> None:
        put(store, "4711")
        assert found(context, "4711") == "4711"

    def test_two_that_begin_so_are_ambiguous_and_are_named_with_their_jobs(
        self, context: Context, store: MemoryStore
    ) -> None:
        put(store, ID)
        put(store, TWIN, job="other")
        with pytest.raises(AmbiguousTargetError) as caught:
            find_run(context, ID[:9])
        assert caught.value.exit_code == 4
        assert f"{ID} of job" in str(caught.value)
        assert f"{TWIN} of other" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert found(context, ID[:10]) == ID

    def test_a_whole_id_is_never_ambiguous(self, context: Context, store: MemoryStore) -> None:
        put(store, "abcdef12", "abcdef12-3")
        assert found(context, "abcdef12") == "abcdef12"

    def test_a_run_that_has_two_records_is_one(self, context: Context, store: MemoryStore) -> None:
        # A repeated look must not find one run twice.
        put(store, ID)
        assert store.end(ID, 0, SUCCESS, KEEP)
        assert found(context, ID[:8]) == ID

    def test_skips_have_no_id_and_are_never_found(self, context: Context, store: MemoryStore) -> None:
        dispatch(store, fire(1))
        store.claim([replace(pushed(ID))], "beat-1", None, KEEP.age)
        assert [record.id for record in store.runs("job", 10)] == [None, "job-1"]
        assert found(context, ID[:8]) is None

    @given(st.text(max_size=40) | st.text("0123456789abcdefABCDEF-²٣", max_size=40))
    def test_no_text_is_more_than_not_found(self, text: str) -> None:
        context, store = make()
        put(store, ID)
        assert found(context, text) in (None, ID)


class TestOfJob:
    """The runs that a job's name means."""

    def test_a_job_that_has_had_none_has_none(self, context: Context) -> None:
        assert runs_of(context, "job") == []
        assert runs_of(context, "no such job") == []

    def test_all_open_ones_are_meant_newest_first(self, context: Context, store: MemoryStore) -> None:
        put(store, "a", "b", "c")
        put(store, "d", job="other")
        assert store.end("b", 0, SUCCESS, KEEP)
        assert [record.id for record in runs_of(context, "job")] == ["c", "a"]

    def test_without_an_open_one_the_last_is_meant(self, context: Context, store: MemoryStore) -> None:
        put(store, "a", "b")
        for run_id in ("b", "a"):
            assert store.end(run_id, 0, SUCCESS, KEEP)
        assert [record.id for record in runs_of(context, "job")] == ["b"]

    def test_a_skip_is_no_run(self, context: Context, store: MemoryStore) -> None:
        run(store, fire(1))
        store.claim([fire(2)], "beat-1", None, KEEP.age)
        assert store.runs("job", 1)[0].state is State.SKIPPED
        assert [record.id for record in runs_of(context, "job")] == ["job-1"]


class TestOver:
    """Whether anything follows."""

    @pytest.mark.parametrize("state", State)
    def test_it_is_over_in_a_terminal_state_and_when_nobody_watches(self, state: State) -> None:
        moment = datetime(2030, 1, 1, tzinfo=UTC)
        record = Record(id="a", job="job", kind=Kind.SCHEDULED, fire_time=moment, last_fire_time=moment, state=state)
        assert is_over(record) is state.terminal
        assert is_over(replace(record, reason=Reason.UNWATCHED))


class TestUnknown:
    """What is said of something that has never run."""

    def test_a_name_that_is_nearly_a_jobs_gets_it_as_a_hint(self, context: Context) -> None:
        error = unknown_run(context, "othr")
        assert error.exit_code == 4
        assert "did you mean 'other'" in str(error)

    def test_of_a_job_it_is_said_that_it_has_not_run(self, context: Context) -> None:
        assert str(unknown_run(context, "job")) != str(unknown_run(context, "jobless"))
        assert "'job'" in str(unknown_run(context, "job"))

    def test_a_broken_schedule_is_not_in_the_way(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(self: Any) -> Any:
            raise InvalidJobError("x", "y")

        monkeypatch.setattr(type(context.registry), "jobs", property(broken))
        assert unknown_run(context, "abc").exit_code == 4
