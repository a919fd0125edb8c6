"""The shim: executes one command and leaves no process of it behind, whatever happens to whoever asked for it.

Run by path as ``python -I -S shim.py CONTROL STATUS``, in a session of its own; standard library only. CONTROL and
STATUS are pipes. The first line of CONTROL is the specification as JSON: argv, cwd, env, umask, nice, user, and timeout
in seconds. A later line ``{"stop": signal, "grace": seconds}`` ends the command. The end of CONTROL, or another parent,
means that whoever asked is dead: then all is killed at once.

STATUS gets a line each of JSON: ``{"pid": leader}`` once it runs, ``{"asked": true}`` when somebody asks by SIGUSR2 how
the command shall be ended, ``{"exit": code, "why": null | "timeout" | "stopped", "left": count}`` when no process is
left. An exit by signal N is -N. SIGTERM ends the command with SIGTERM and the usual grace, SIGUSR1 kills it.

The command's processes are found although they change their session or lose their parents: the shim is the
subreaper of them all (prctl(2), Linux), so whatever loses its parent becomes the shim's child. Elsewhere only
the command's process group is ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

POLL = 0.02
"""Seconds between two looks at processes that are being ended."""

TRIES = 50
"""Quick looks at the children, before all processes are looked through again."""

WATCH = 0.5
"""Seconds between two looks at the parent."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CANNOT_EXECUTE, NOT_FOUND = 126, 127
"""Exit codes of a command that cannot be executed, as a shell's (POSIX, section 2.8.2)."""

linux = sys.platform.startswith("linux")


def prctl(option: int, value: int) -> None:
    """Call prctl(2) where it exists."""
    if linux:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Return every living process below *root*; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if linux else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The name in parentheses may hold anything, also parentheses.
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state not in (b"Z", b"X"):
                children.setdefault(int(parent), []).append(int(name))
    found = []
    level = [root]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


def children() -> list[int]:
    """Return this process's children; empty where the kernel does not tell."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


class Shim:
    """One command, from its specification to its last process."""

    def __init__(self, control: int, status: int) -> None:
        self.control, self.status = control, status
        self.parent = os.getppid()
        self.leader = 0
        self.code: int | None = None
        self.why: str | None = None
        self.kill_at: float | None = None
        self.timeout_at: float | None = None
        self.leaving = False
        self.rest = b""
        self.wake, wake = os.pipe()
        for end in (self.wake, wake, control):
            os.set_blocking(end, False)
        for end in (control, status):
            # The command shall not hold them.
            os.set_inheritable(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> None:
        """Execute what CONTROL specifies."""
        specification = self.read_line()
        if specification is None:
            return
        self.start(json.loads(specification))
        try:
            self.watch()
        finally:
            self.kill_all()
        self.say(exit=self.code, why=self.why, left=len(self.alive()) or int(self.anything_left()))

    def read_line(self) -> bytes | None:
        """Return the first line of CONTROL, None if it ends before."""
        while b"\n" not in self.rest:
            select.select([self.control], [], [])
            data = os.read(self.control, 65536)
            if not data:
                return None
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def say(self, **fields: object) -> None:
        """Write one line to STATUS."""
        # Where nobody listens any more, CONTROL will say so too.
        with contextlib.suppress(OSError):
            os.write(self.status, json.dumps(fields).encode() + b"\n")

    def start(self, specification: dict[str, Any]) -> None:
        """Fork the leading process."""
        timeout = specification.get("timeout")
        self.leader = os.fork()
        if self.leader == 0:
            try:
                become(specification)
            except BaseException as exc:
                os.write(2, f"the command cannot be executed: {reason(exc)}\n".encode("utf-8", "replace"))
                missing = isinstance(exc, OSError) and exc.errno == errno.ENOENT
                os._exit(NOT_FOUND if missing else CANNOT_EXECUTE)
        # Readers of the command's output shall see its end when its last process is gone.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self.timeout_at = None if timeout is None else time.monotonic() + timeout
        self.say(pid=self.leader)

    def watch(self) -> None:
        """Return when no process of the command is left, or whoever asked for it is dead."""
        while True:
            left = self.anything_left()
            if self.code is not None:
                if not left:
                    return
                # The run is over with its leading process; what it left behind is ended.
                if not self.leaving:
                    self.leaving = True
                    self.stop(signal.SIGTERM, GRACE, self.why)
            now = time.monotonic()
            if self.kill_at is not None and now >= self.kill_at:
                return
            if self.timeout_at is not None and now >= self.timeout_at:
                self.stop(signal.SIGTERM, GRACE, "timeout")
            ready, _, _ = select.select([self.control, self.wake], [], [], self.pause(now))
            if self.wake in ready:
                self.hear(os.read(self.wake, 4096))
            if (self.control in ready and not self.listen()) or os.getppid() != self.parent:
                return

    def pause(self, now: float) -> float:
        """Return how long to wait for news."""
        if self.kill_at is not None:
            return max(0.0, min(POLL if self.code is not None else WATCH, self.kill_at - now))
        return max(0.0, WATCH if self.timeout_at is None else min(WATCH, self.timeout_at - now))

    def hear(self, numbers: bytes) -> None:
        """Act on signals."""
        if signal.SIGUSR1 in numbers:
            self.stop(signal.SIGKILL, 0.0, "stopped")
        if signal.SIGTERM in numbers:
            self.stop(signal.SIGTERM, GRACE, "stopped")
        if signal.SIGUSR2 in numbers:
            self.say(asked=True)

    def listen(self) -> bool:
        """Act on what whoever asked has written; False if that is dead."""
        try:
            data = os.read(self.control, 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            self.stop(int(order["stop"]), float(order["grace"]), "stopped")
        return True

    def stop(self, number: int, grace: float, why: str | None) -> None:
        """Send *number* to every process, and kill what is left after *grace*. Later only a shorter grace counts."""
        kill_at = time.monotonic() + grace
        if self.kill_at is None and self.code is None:
            self.why = why
        self.kill_at = kill_at if self.kill_at is None else min(kill_at, self.kill_at)
        self.timeout_at = None
        for pid in self.alive():
            send(pid, number)
            # A stopped process would not take it.
            send(pid, signal.SIGCONT)

    def anything_left(self) -> bool:
        """Collect the dead (the leader's exit is the command's), and return whether a process of the command lives.

        To look through /proc could miss one that forks meanwhile. That there is no child left is exact: whatever
        lives below a subreaper hangs on a child of it.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return not linux and bool(self.alive())
            if pid == 0:
                return linux or bool(self.alive())
            if pid == self.leader:
                self.code = os.waitstatus_to_exitcode(status)

    def alive(self) -> list[int]:
        """Return what is left of the command."""
        if linux:
            return descendants(os.getpid())
        return [-self.leader] if self.leader and send(-self.leader, 0) else []

    def kill_all(self) -> None:
        """Kill until nothing is left; what this user may not kill (a setuid program) is."""
        deadline = time.monotonic() + GRACE
        while self.anything_left() and time.monotonic() < deadline:
            # One that forks and exits again and again is a child here each time: only a quick look catches it.
            for _ in range(TRIES):
                for pid in children():
                    send(pid, signal.SIGKILL)
                if not self.anything_left():
                    return
            # Stopped first, so that nothing forks while the others are killed.
            alive = self.alive()
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in alive:
                    send(pid, number)
            time.sleep(POLL / 4)


def send(pid: int, number: int) -> bool:
    """Send a signal; False if there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reason(exc: BaseException) -> str:
    """Return why the command cannot be executed."""
    if isinstance(exc, OSError) and exc.filename is not None:
        return f"{exc.strerror} ({exc.filename})"
    return f"no user is named {exc}" if isinstance(exc, KeyError) else str(exc)


def become(specification: dict[str, Any]) -> None:
    """Turn the forked process into the command."""
    os.setpgid(0, 0)
    # Should the shim itself be killed, its command at least is.
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    env = dict(specification["env"])
    if specification.get("nice"):
        os.nice(specification["nice"])
    if specification.get("user"):
        switch_user(specification["user"], env)
        # Another user's process forgets what it wanted at its parent's death.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if specification.get("umask") is not None:
        os.umask(specification["umask"])
    if specification.get("cwd"):
        os.chdir(specification["cwd"])
    argv = specification["argv"]
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as exc:
        raise OSError(exc.errno, exc.strerror, argv[0]) from exc


def switch_user(name: str, env: dict[str, str]) -> None:
    """Become the user *name* with its groups, home and name, as cron(8) does."""
    import pwd

    user = pwd.getpwnam(name)
    if os.geteuid() != user.pw_uid:
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    env.update(HOME=user.pw_dir, LOGNAME=name, USER=name, SHELL=user.pw_shell or "/bin/sh")


if __name__ == "__main__":
    Shim(int(sys.argv[1]), int(sys.argv[2])).run()
