"""The documents are whole: every command is shown, links lead somewhere, and nothing in them belongs to one machine."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from xml.etree import ElementTree

import pytest

from celery_legion.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGES = sorted((ROOT / "docs").rglob("*.svg"))
FENCED = re.compile(r"^(`{3,}).*?^\1$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
HOST = re.compile(r"\b[a-z]+://(?:[^\s/@\"'`]*@)?([\w.-]+)")
NEUTRAL = re.compile(
    r"localhost|127\.0\.0\.1|hc-ping\.com|www\.w3\.org|broker|redis|valkey|([\w-]+\.)*example(\.(com|org))?"
)
PLACE = re.compile(r"(?<![\w.~])/(?:work|root|tmp|Users|home/[a-z]+)/")


def headings(document: Path) -> list[str]:
    return re.findall(r"^#{1,6} +(.+?)\s*$", FENCED.sub("", document.read_text()), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return a heading's anchor as forges make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    return [inline or tag for inline, tag in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCED.sub("", text)))]


def broken_links(document: Path) -> list[str]:
    broken = []
    for link in links(document.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, wanted = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (wanted and wanted not in map(anchor, headings(target))):
            broken.append(link)
    return broken


def foreign_names(text: str) -> list[str]:
    found = [host for host in HOST.findall(text) if not NEUTRAL.fullmatch(host)]
    here = socket.gethostname()
    if here != "localhost":
        found += re.findall(rf"(?<![\w.-]){re.escape(here)}(?![\w.-])", text)
    return found + PLACE.findall(text)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_each_command_is_shown_in_the_documents(command: str) -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    found = re.search(rf"^## {re.escape(command)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)

    assert found is not None
    assert f"$ celery -A shop legion {command}" in found[1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_each_relative_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    assert broken_links(document) == []


@pytest.mark.parametrize("document", [*DOCUMENTS, *IMAGES], ids=name_of)
def test_no_document_names_a_machine_or_a_place_on_one(document: Path) -> None:
    assert foreign_names(document.read_text()) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# One `two`: three\n[a](a.md#one-two-three) [b](a.md#four) [c](gone.md) `[d](code.md)`\n")

    assert broken_links(document) == ["a.md#four", "gone.md"]


@pytest.mark.parametrize(
    "text", ["see https://forge.invalid/x", "in /" + "tmp/abc/shop", "redis://:pw@db7.internal:6379/0"]
)
def test_a_foreign_name_is_found(text: str) -> None:
    assert len(foreign_names(text)) == 1


@pytest.mark.parametrize("image", IMAGES, ids=name_of)
def test_each_picture_is_well_formed_and_asks_nobody_for_a_font(image: Path) -> None:
    root = ElementTree.parse(image).getroot()

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("viewBox")
    assert not re.search(r"@font-face|url\((?!#)|@import", image.read_text())
