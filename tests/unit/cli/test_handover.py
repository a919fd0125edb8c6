"""The note of a running dev: who believes it, and when nobody does."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from celery import Celery

from celery_legion.cli import handover
from celery_legion.cli.handover import DevRunsError, adopt, birth, claim

URL = "redis://:secret@127.0.0.1:7000/0"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the notes, and an environment without a broker."""
    for name in handover.BROKER_VARIABLES:
        # Set first, so that what adopt sets is undone.
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "celery-legion"


def app(broker: str | None = None) -> Celery:
    return Celery("shop", broker=broker, set_as_current=False)


def adopted(broker: str | None = None) -> bool:
    adopt(app(broker))
    return os.environ["CELERY_BROKER_URL"] == URL


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "shop.json"
    path.write_text(text)
    path.chmod(mode)
    return path


def note(**changes: object) -> str:
    return json.dumps({"pid": os.getpid(), "born": birth(os.getpid()), "url": URL, **changes})


def test_a_live_dev_is_adopted_once_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    with claim("shop") as held:
        held.publish(URL)
        assert adopted()
        adopt(app())

    told = capsys.readouterr()
    assert told.err == f'using the server of "legion dev" (process {os.getpid()})\n'
    assert told.out == ""


def test_the_note_is_private_and_gone_with_its_dev(folder: Path) -> None:
    with claim("a/../b") as held:
        held.publish(URL)
        (path,) = folder.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    assert list(folder.iterdir()) == []


def test_a_dev_without_a_server_of_its_own_is_not_adopted() -> None:
    with claim("shop"):
        assert not adopted()


def test_an_app_with_a_broker_keeps_it() -> None:
    with claim("shop") as held:
        held.publish(URL)
        assert not adopted(broker="redis://elsewhere")


@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL"])
def test_a_broker_in_the_environment_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "redis://elsewhere")
    with claim("shop") as held:
        held.publish(URL)
        assert not adopted()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"pid": "x", "born": "1", "url": "u"}',
        '{"url": "u"}',
        "[" * 100_000,
        note(pid=2**22 + 1),
        note(pid=2**200),
        note(pid=-1),
        note(pid=0),
        note(born="1"),
        note(born=None),
    ],
    ids=range(13),
)
def test_a_broken_or_stale_note_is_passed_over(text: str, folder: Path) -> None:
    write(folder, text)

    assert not adopted()
    with claim("shop") as held:
        held.publish(URL)
        assert adopted()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_note_that_others_can_touch_is_not_believed(mode: int, folder: Path) -> None:
    write(folder, note(), mode)

    assert not adopted()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_that_others_can_touch_is_not_used(mode: int, folder: Path) -> None:
    write(folder, note())
    folder.chmod(mode)

    assert not adopted()
    with claim("shop") as held:
        held.publish("redis://other")
    assert json.loads((folder / "shop.json").read_text())["url"] == URL


def test_a_folder_of_somebody_else_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, note())
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)

    assert not adopted()


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    path = write(folder, note())
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    assert not adopted()

    path.unlink()
    write(folder, note())
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert not adopted()


def test_settings_that_cannot_be_read_are_for_others_to_tell() -> None:
    broken = app()
    broken.config_from_object("no.such.module")

    adopt(broken)


def test_a_second_dev_of_an_app_is_refused_with_the_first_ones_process(folder: Path) -> None:
    write(folder, note(pid=os.getppid(), born=birth(os.getppid())))

    with pytest.raises(DevRunsError, match=f"process {os.getppid()}"), claim("shop"):
        pass
    with claim("another"):
        pass


def test_at_its_end_a_dev_leaves_the_note_of_its_successor(folder: Path) -> None:
    with claim("shop"):
        write(folder, note(pid=os.getppid()))

    assert (folder / "shop.json").exists()
