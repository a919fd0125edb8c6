"""What a job was given to do, and the Celery task that does it: by name, the same in every process."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from celery import _state
from celery.app.task import Task
from celery.canvas import Signature
from celery.local import PromiseProxy, Proxy

from celery_legion.config import app_name
from celery_legion.errors import InvalidJobError, NamelessActionError
from celery_legion.job import NOTHING, Action, ActionKind

METHODS = ("__call__", "run", "handle")
"""What is called of a class, the first that it has."""

ENABLED = "legion_enabled"
"""The app's attribute that says that ``Legion(app)`` stands in it."""

KNOWN = "legion_callables"
"""The app's attribute that holds which callable each task's name stands for."""

SPAWNED_MAIN = "__mp_main__"
"""What a program's own module, ``__main__``, is called in the processes that are spawned for it."""

STAND_IN = "legion_stand_in"
"""The app's attribute that holds the one that Celery has in its place, in a spawned pool process."""

CANVAS = ("chain", "group", "chord")


class Target:
    """A task's name, a task, a signature, a callable, a class, or a method, as it was written down at *place*.

    *home* is the app for which that was, None if that is not known. Nothing of a task is looked at before an app asks,
    since it may belong to one that does not exist yet.
    """

    __slots__ = ("args", "given", "home", "kwargs", "place")

    def __init__(
        self,
        given: Any,
        place: str,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
        home: Any = None,
    ) -> None:
        self.given, self.place, self.args, self.kwargs, self.home = given, place, args, kwargs, home

    def _check(self) -> None:
        given, place = self.given, self.place
        if isinstance(given, Signature) and given.get("subtask_type") in CANVAS:
            kind = given["subtask_type"]
            problem = f"a {kind} at {place} is several tasks; wrap it in one task that calls it, and schedule that"
            raise InvalidJobError(str(given.get("task")), problem)
        if not isinstance(given, (str, Signature, staticmethod, classmethod)) and not callable(given):
            raise InvalidJobError(
                repr(given), f"nothing at {place} can be called or is a task; give a task or a callable"
            )
        if is_task(given):
            return
        if inspect.isclass(given) and issubclass(given, Task):
            problem = f"the task class at {place} has no instance; give what app.register_task() returns for it"
            raise InvalidJobError(given.__qualname__, problem)
        if inspect.iscoroutinefunction(given):
            problem = f"the coroutine function at {place} needs a loop; wrap it in a function that runs one"
            raise InvalidJobError(given.__qualname__, problem)
        if is_unbound_method(given) and "<locals>" in given.__qualname__:
            problem = f"the method at {place} is of a class within a function; move the class to its module"
            raise InvalidJobError(given.__qualname__, problem)

    def action(self, app: Any, job_name: str | None) -> Action:
        """Return the action, with the task that it sends made known to *app*.

        Raises:
            NamelessActionError: A lambda, a nested function or an object without a job's name.
            InvalidJobError: Several tasks in one (a chain, group or chord), or nothing that can be called.
        """
        self._check()
        given = self.given
        if isinstance(given, str):
            return Action(given)
        if isinstance(given, Signature):
            return Action(str(given.task))
        if is_task(given):
            return Action(str(given.name))
        name = self._callable_name(app, job_name)
        known = vars(app).setdefault(KNOWN, {})
        if known.setdefault(name, _source(given)) != _source(given):
            problem = f"the callable at {self.place} has the same qualified name as another one, {name!r}; "
            raise InvalidJobError(job_name or name, problem + "make them Celery tasks with names of their own")
        if name not in app._tasks:
            app.task(name=name, shared=False)(self._runner())
        return Action(name, ActionKind.CALLABLE)

    def belongs_to(self, app: Any) -> bool:
        """Return whether *app* may run it: a task that another app has made is that one's.

        What is no app's own was written for the app that was current then, or one of its name (of each test, say); it
        is every app's if there was none, or if that one has no schedule of ours.
        """
        owner, home = _owner(self.given), self.home
        if owner is not None or home is None or home is app:
            return owner is None or owner is app or vars(owner).get(STAND_IN) is app
        return not has_legion(home) or app_name(home) == app_name(app)

    @property
    def options(self) -> Mapping[str, Any]:
        """What a signature brings along for ``apply_async``."""
        return dict(self.given.options) if isinstance(self.given, Signature) else NOTHING

    def arguments(self) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Return what the task is called with: a signature's own, then what the job adds."""
        if isinstance(self.given, Signature):
            return (*self.args, *self.given.args), {**self.given.kwargs, **self.kwargs}
        return self.args, self.kwargs

    def _callable_name(self, app: Any, job_name: str | None) -> str:
        owner = getattr(self.given, "__self__", None) if inspect.ismethod(self.given) else None
        if owner is not None and not inspect.isclass(owner) and job_name is not None:
            # A method of one object among others: its qualified name is that of all of them.
            return job_name
        if (name := qualified_name(self.given)) is not None:
            module, short = name
            if inspect.isclass(owner):
                # An inherited class method is another one for each class.
                module, short = owner.__module__, f"{owner.__qualname__}.{self.given.__name__}"
            if module == SPAWNED_MAIN:
                return f"{app.main or '__main__'}.{short}"
            return str(app.gen_task_name(short, module))
        if job_name is None:
            what = "a lambda" if getattr(self.given, "__name__", "") == "<lambda>" else _describe(self.given)
            raise NamelessActionError(what, self.place)
        return job_name

    def _runner(self) -> Callable[..., Any]:
        given = self.given
        if inspect.isclass(given):
            return _class_runner(given, self.place)
        if is_unbound_method(given):
            return _method_runner(given)
        if inspect.isfunction(given) and given.__name__.isidentifier():
            return given

        def run(*args: Any, **kwargs: Any) -> Any:
            return given(*args, **kwargs)

        run.__doc__ = getattr(given, "__doc__", None)
        return run


def stand_in(app: Any, other: Any) -> None:
    """Take what belongs to *app* for what belongs to *other*, too."""
    if app is not other:
        setattr(app, STAND_IN, other)


def _source(given: Any) -> tuple[object, ...]:
    """Return where a callable's code was written: the same for a module that is loaded again."""
    code = getattr(getattr(given, "__func__", given), "__code__", None)
    if code is None:
        return (getattr(given, "__module__", None), getattr(given, "__qualname__", None))
    return (code.co_filename, code.co_firstlineno, code.co_name)


def is_task(given: Any) -> bool:
    """Return whether *given* is a Celery task, without evaluating one that is still a promise."""
    return isinstance(type(given), type) and (issubclass(type(given), Proxy) or isinstance(given, Task))


def _owner(given: Any) -> Any:
    """Return the app that has made a task, None for what belongs to no app. Evaluates no promise."""
    if type(given) is PromiseProxy and not given.__evaluated__():
        return getattr(object.__getattribute__(given, "_Proxy__local"), "__self__", None)
    if type(given) is not Proxy and is_task(given):
        return given.app
    return None


def is_unbound_method(given: Any) -> bool:
    """Return whether *given* is a function written in a class's body."""
    if isinstance(given, (staticmethod, classmethod)):
        return True
    return inspect.isfunction(given) and "." in given.__qualname__.rpartition("<locals>.")[2]


def qualified_name(given: Any) -> tuple[str, str] | None:
    """Return module and qualified name of what can be found by them, None for lambdas, nested functions and objects."""
    module, name = getattr(given, "__module__", None), getattr(given, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return None
    return module, name


def has_legion(app: Any) -> bool:
    """Return whether ``Legion(app)`` stands in the app, and the app was not closed."""
    return bool(vars(app).get(ENABLED)) and app in _state._apps


def current_app() -> Any:
    """Return the app that is current, None if there is none yet. Makes none, unlike Celery's own."""
    return getattr(_state._tls, "current_app", None) or _state.default_app


def _describe(given: Any) -> str:
    name = getattr(given, "__qualname__", None)
    return f"the nested function {name.rpartition('.')[2]}" if isinstance(name, str) else f"a {type(given).__name__}"


def _class_runner(given: Any, place: str) -> Callable[..., Any]:
    method = next((name for name in METHODS if callable(getattr(given, name, None)) and _defines(given, name)), None)
    if method is None:
        raise InvalidJobError(given.__qualname__, f"the class at {place} has none of {', '.join(METHODS)}; add one")

    def run(*args: Any, **kwargs: Any) -> Any:
        return getattr(given(), method)(*args, **kwargs)

    run.__doc__ = given.__doc__
    return run


def _defines(given: Any, name: str) -> bool:
    # Every class can be called; what counts is whether its instances can.
    return any(name in vars(base) for base in given.__mro__)


def _method_runner(given: Any) -> Callable[..., Any]:
    function = getattr(given, "__func__", given)
    *owners, name = function.__qualname__.split(".")

    def run(*args: Any, **kwargs: Any) -> Any:
        owner: Any = sys.modules[function.__module__]
        for part in owners:
            owner = getattr(owner, part)
        if not isinstance(inspect.getattr_static(owner, name), (staticmethod, classmethod)):
            owner = owner()
        return getattr(owner, name)(*args, **kwargs)

    run.__doc__ = function.__doc__
    return run


def place_of_caller() -> str:
    """Return ``file:line`` of the nearest frame outside this package."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if not str(frame.f_globals.get("__name__", "")).startswith("celery_legion."):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"
