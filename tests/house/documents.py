"""The Python code of the README and the guides, as the apps that a reader makes of it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = "import logging\nimport os\n"

READ_TOGETHER = (
    (
        "README.md",
        "docs/shell-commands.md",
        "docs/hooks.md",
    ),
    ("docs/first-ten-minutes.md",),
    ("docs/switch-an-existing-app.md",),
)
"""Documents whose blocks are one app, in this order."""

NOT_RUN = ("docs/pushing.md", "docs/security.md")
"""Documents whose blocks talk to a server, or want a password, and belong to the README's app."""


def code_of(*documents: str) -> str:
    """Return the Python blocks of *documents* as one program."""
    text = "\n".join((ROOT / name).read_text() for name in documents)
    return HEAD + "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
