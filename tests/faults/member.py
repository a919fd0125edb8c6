"""A beat or a worker of a site, and its ways to the servers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.servers.processes import Process
from tests.servers.proxy import Proxy


class Doors:
    """One process' ways to its broker and its store."""

    def __init__(self, broker: tuple[str, int], store: tuple[str, int]) -> None:
        self.broker, self.store = Proxy(broker), Proxy(store)

    @property
    def both(self) -> tuple[Proxy, Proxy]:
        return self.broker, self.store

    def close(self) -> None:
        for proxy in self.both:
            proxy.close()


@dataclass(slots=True)
class Member:
    """A beat or a worker of the site: its process of the moment, its doors, and what its end may be."""

    role: str
    number: int
    doors: Doors
    process: Process
    expected: set[int] = field(default_factory=set)
    held: bool = False
    starts: int = 1

    @property
    def pid(self) -> int:
        return self.process.pid
