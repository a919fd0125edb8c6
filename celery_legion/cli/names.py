"""Names on the command line: what a shell completes."""

from __future__ import annotations

import click


class JobName(click.ParamType):
    """A job's name; the command says whether there is one of it."""

    name = "job"
