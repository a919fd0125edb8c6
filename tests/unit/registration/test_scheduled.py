"""The decorator, before and after an app exists, on all that it may stand on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, Task, shared_task

from celery_legion import Legion, registry, scheduled
from celery_legion.errors import DuplicateJobError, InvalidJobError, NamelessActionError
from celery_legion.job import CatchUp, Overlap
from celery_legion.triggers import Cron, Interval

HERE = __name__


def code(legion: Legion) -> dict[str, Any]:
    return {name: job for name, job in legion.jobs.items() if job.source == "code"}


def plain() -> str:
    return "plain"


def test_it_works_before_an_app_exists() -> None:
    decorated = scheduled("*/5 * * * *", tags=["cache"])(plain)
    app = Celery("later", broker="redis://localhost:6379/0")
    legion = Legion(app)

    assert list(code(legion)) == [f"{HERE}.plain"]
    assert code(legion)[f"{HERE}.plain"].tags == ("cache",)
    assert app.tasks[f"{HERE}.plain"]() == "plain"
    assert decorated.delay


def test_it_works_after_the_schedule_was_read(legion: Legion) -> None:
    assert code(legion) == {}

    scheduled.hourly()(plain)

    assert list(code(legion)) == [f"{HERE}.plain"]


def test_the_order_of_app_and_decorator_changes_no_name() -> None:
    first = Legion(Celery("shop", broker="redis://localhost:6379/0"))
    scheduled.hourly()(plain)
    second = Legion(Celery("shop", broker="redis://localhost:6379/0"))

    assert list(code(first)) == list(code(second)) == [f"{HERE}.plain"]


class Chore:
    def run(self) -> None: ...


@pytest.mark.parametrize("given", [plain, Chore, Chore.run], ids=["function", "class", "method"])
def test_of_two_apps_what_is_no_apps_own_is_on_the_schedule_of_the_one_that_was_current(given: Any) -> None:
    foo, bar = (Legion(Celery(name, broker="redis://localhost:6379/0")) for name in ("foo", "bar"))
    scheduled.hourly()(given)

    assert not code(foo)
    assert len(code(bar)) == 1


def test_an_app_that_was_closed_takes_nothing_away() -> None:
    before = Celery("before", broker="redis://localhost:6379/0")
    Legion(before)
    scheduled.hourly()(plain)
    before.close()

    assert list(code(Legion(Celery("after", broker="redis://localhost:6379/0")))) == [f"{HERE}.plain"]


def test_an_app_without_a_schedule_of_ours_takes_nothing_away(legion: Legion) -> None:
    Celery("script", broker="redis://localhost:6379/0")
    scheduled.hourly()(plain)

    assert list(code(legion)) == [f"{HERE}.plain"]


def test_it_stands_on_celery_tasks(app: Celery, legion: Legion) -> None:
    @scheduled.daily_at("02:00", timezone="Europe/Berlin")
    @app.task(bind=True, name="nightly")
    def nightly(self: Any) -> None: ...

    @scheduled.every("2s")
    @shared_task(name="shared")
    def shared() -> None: ...

    assert code(legion)["nightly"].trigger == Cron("0 2 * * *", "Europe/Berlin")
    assert code(legion)["shared"].trigger == Interval(timedelta(seconds=2))


def test_it_may_be_repeated_under_other_names(legion: Legion) -> None:
    scheduled.hourly(name="often")(scheduled.daily(name="rarely")(shared_task(plain)))

    assert {job.action.task for job in code(legion).values()} == {f"{HERE}.plain"}
    assert set(code(legion)) == {"often", "rarely"}


def test_repeated_under_one_name_is_refused_with_both_places(legion: Legion) -> None:
    once = scheduled.hourly()(shared_task(plain))
    scheduled.daily()(once)

    with pytest.raises(DuplicateJobError) as caught:
        legion.jobs
    assert str(caught.value).count("test_scheduled.py:") == 2


def test_a_module_that_is_read_twice_registers_its_jobs_once(legion: Legion) -> None:
    for _ in range(2):
        scheduled.hourly()(plain)

    assert list(code(legion)) == [f"{HERE}.plain"]


def test_it_stands_on_classes_and_methods(app: Celery, legion: Legion) -> None:
    assert scheduled.hourly()(Chores) is Chores

    assert set(code(legion)) == {f"{HERE}.Chores"}
    assert app.tasks[f"{HERE}.Chores"]() == "handled"


class Chores:
    def handle(self) -> str:
        return "handled"

    def sweep(self) -> str:
        return "swept"


def test_a_method_gets_an_instance_for_each_run(app: Celery, legion: Legion) -> None:
    scheduled.hourly()(Chores.sweep)

    assert code(legion)[f"{HERE}.Chores.sweep"]
    assert app.tasks[f"{HERE}.Chores.sweep"]() == "swept"


def test_a_nested_function_needs_a_name(app: Celery, legion: Legion) -> None:
    def nested() -> int:
        return 7

    scheduled.hourly(name="seven")(nested)
    assert code(legion)["seven"].action.task == "seven"
    assert app.tasks["seven"]() == 7

    scheduled.hourly()(nested)
    with pytest.raises(NamelessActionError, match="the nested function nested"):
        legion.jobs


def test_keywords_are_words_of_the_builder(legion: Legion) -> None:
    scheduled(
        timedelta(minutes=5),
        name="all",
        queue="q",
        options={"priority": 1},
        args=(1,),
        kwargs={"a": 2},
        overlap="allow",
        lock_name="l",
        between=("7:00", "9:00"),
        when=lambda: True,
    )(plain)

    job = code(legion)["all"]
    assert (job.queue, dict(job.options), job.args, dict(job.kwargs)) == ("q", {"priority": 1}, (1,), {"a": 2})
    assert (job.policy.overlap, job.lock, len(job.policy.between), len(job.policy.when)) == (Overlap.ALLOW, "l", 1, 1)


def test_an_unknown_keyword_is_named_with_what_was_meant(legion: Legion) -> None:
    scheduled.hourly(nme="x")(plain)

    with pytest.raises(InvalidJobError, match=r"'nme' is no keyword of @scheduled \(did you mean 'name'\?\)"):
        legion.jobs


def test_an_unknown_frequency_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="fortnightly"):
        scheduled.fortnightly


def test_one_decorator_serves_several_functions(legion: Legion) -> None:
    nightly = scheduled.daily_at("02:00", args=(1,), tags="night")
    nightly(plain)
    nightly(other)

    assert {job.args for job in code(legion).values()} == {(1,)}
    assert len(code(legion)) == 2


def other(*args: object) -> object:
    return args


def test_catching_up_is_said_with_window_and_limit(legion: Legion) -> None:
    scheduled.hourly(catch_up="all", catch_up_window="3h", catch_up_limit=7)(plain)
    scheduled.hourly(catch_up_window="3h")(other)

    first, second = (job.policy for job in code(legion).values())
    assert (first.catch_up, first.catch_up_window, first.catch_up_limit) == (CatchUp.ALL, timedelta(hours=3), 7)
    assert (second.catch_up, second.catch_up_window) == (None, timedelta(hours=3))


class Tools:
    def __init__(self, needed: object) -> None:
        self.needed = needed

    @staticmethod
    def static() -> str:
        return "static"

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__


def test_static_and_class_methods_need_no_instance(app: Celery, legion: Legion) -> None:
    scheduled.hourly()(vars(Tools)["static"])
    scheduled.hourly()(vars(Tools)["of_class"])

    assert {app.tasks[name]() for name in code(legion)} == {"static", "Tools"}


async def coroutine() -> None: ...


class TaskClass(Task):
    name = "class-based"

    def run(self) -> None: ...


def test_what_a_worker_could_not_run_is_refused_with_advice(legion: Legion) -> None:
    class Local:
        def method(self) -> None: ...

    for given, advice in ((coroutine, "needs a loop"), (TaskClass, "register_task"), (Local.method, "move the class")):
        registry._decorated.clear()
        scheduled.hourly(name="x")(given)
        with pytest.raises(InvalidJobError, match=advice):
            legion.jobs


def test_a_task_of_another_app_stays_off_the_schedule(app: Celery, legion: Legion) -> None:
    stranger = Celery("stranger", broker="redis://localhost:6379/0", set_as_current=False)

    @scheduled.hourly()
    @stranger.task(name="theirs")
    def theirs() -> None: ...

    assert code(legion) == {}
    assert set(code(Legion(stranger))) == {"theirs"}
    assert code(legion) == {}


def test_the_bare_decorator_is_an_error_of_the_schedule_and_leaves_the_function_alone(legion: Legion) -> None:
    assert scheduled(plain) is plain

    with pytest.raises(InvalidJobError, match="does not say when"):
        _ = legion.jobs
    assert plain() == "plain"


def test_the_decorator_with_nothing_in_it_is_one_too(legion: Legion) -> None:
    assert scheduled()(plain) is plain

    with pytest.raises(InvalidJobError, match="does not say when"):
        _ = legion.jobs
