"""Jobs by their tags, as commands take them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from celery_legion.errors import LegionError, did_you_mean
from celery_legion.job import Job


class UnknownTagError(LegionError, LookupError):
    """No job has any of the tags."""

    exit_code = 4

    def __init__(self, tag: str, known: Iterable[str]) -> None:
        known = tuple(known)
        super().__init__(tag, known)
        self.tag, self.known = tag, known

    def __str__(self) -> str:
        hint = did_you_mean(self.tag, self.known) or f"; there are: {', '.join(self.known) or 'none'}"
        return f"no job has the tag {self.tag!r}{hint}"


def tagged(jobs: Iterable[Job], tags: Collection[str]) -> list[Job]:
    """Return those of *jobs* that have one of *tags*; all, if there are no tags.

    Raises:
        UnknownTagError: One of the tags is no job's.
    """
    jobs = list(jobs)
    known = sorted({tag for job in jobs for tag in job.tags})
    for tag in tags:
        if tag not in known:
            raise UnknownTagError(tag, known)
    return [job for job in jobs if not tags or not set(tags).isdisjoint(job.tags)]
