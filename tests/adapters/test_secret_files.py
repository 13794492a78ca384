"""Secret files: nothing outside of the root, nothing half done after a crash, nothing readable by others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters import secret_files
from adapters.secret_files import Client, Config, Store, disk
from bot.core.errors import Permanent, Transient
from bot.core.secret import Secret
from tests.conformance.cases_local import NOBODY

SYSTEM_CALLS = ("mkdir", "fsync", "open", "rename", "symlink", "unlink", "rmdir")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def client(root: Path) -> Client:
    return Client(Config(root=root), NOBODY)


def test_versions_lie_beside_each_other(client: Client, root: Path) -> None:
    store = Store(client)
    assert store.put("team/key", Secret("one"), marker="m-1", label="ak-1") == "m-1"
    assert store.put("team/key", Secret("other"), marker="m-1", label="ak-9") == "m-1", "the first one stays"
    assert store.put("team/key", Secret("two"), marker="m-2", label="ak-2") == "m-2"
    assert (store.find("team/key", "m-1"), store.find("team/key", "m-3"), store.find("no/key", "m-1")) == (
        "m-1",
        None,
        None,
    )
    assert client.current("team/key") is None
    with pytest.raises(Permanent, match="no current version"):
        store.read("team/key", "")
    client.point("team/key", "m-2", "t", None)
    assert store.read("team/key", "") == Secret("two")
    assert store.read("team/key", "m-1") == Secret("one")
    assert os.readlink(root / "team/key/current") == "versions/m-2"
    with pytest.raises(Permanent, match="no version m-9"):
        store.read("team/key", "m-9")


def test_a_marker_that_is_no_folder_name_still_names_one_version(client: Client) -> None:
    store = Store(client)
    version = store.put("k", Secret("x"), marker="R-7/create #1", label="")
    assert version.startswith("v-")
    assert store.find("k", "R-7/create #1") == version
    assert store.find("k", "R-7/create #2") is None


def test_only_the_owner_may_read(client: Client, root: Path) -> None:
    client.put("team/key", Secret("one"), "v1", "ak-1")
    client.point("team/key", "v1", "t", None)
    for path in root.rglob("*"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc",
        "a//b",
        "",
        ".",
        "a/.",
        "a/versions",
        "current",
        "a/moves/b",
        "a\0b",
        "a b",
        "a/" * 9,
    ],
)
def test_paths_that_lead_elsewhere_are_refused(client: Client, root: Path, path: str) -> None:
    for attempt in (
        lambda: client.read(path, ""),
        lambda: client.put(path, Secret("x"), "m", ""),
        lambda: client.point(path, "v1", "t", None),
        lambda: client.remove(path, "v1"),
        lambda: client.current(path),
    ):
        with pytest.raises(Permanent):
            attempt()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("version", ["..", ".new-x", "", "a/b", "a\n"])
def test_versions_that_are_no_folder_are_refused(client: Client, version: str) -> None:
    client.put("k", Secret("x"), "v1", "")
    for attempt in (
        lambda: client.point("k", version, "t", None),
        lambda: client.remove("k", version),
        lambda: client.has("k", version),
    ):
        with pytest.raises(Permanent):
            attempt()


def test_links_are_not_followed(client: Client, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "versions" / "v1").mkdir(parents=True)
    (outside / "versions" / "v1" / "value").write_text("not yours")
    (root / "linked").symlink_to(outside)
    with pytest.raises(Permanent, match="link"):
        client.read("linked", "v1")
    with pytest.raises(Permanent, match="link"):
        client.put("linked", Secret("x"), "m", "")
    client.put("k", Secret("x"), "v1", "")
    (root / "k/versions/v2").symlink_to(outside / "versions" / "v1")
    with pytest.raises(Permanent):
        client.read("k", "v2")
    (root / "k/versions/v1/value").unlink()
    (root / "k/versions/v1/value").symlink_to(outside / "versions/v1/value")
    with pytest.raises(Permanent):
        client.read("k", "v1")
    (root / "k/current").symlink_to("../../outside/versions/v1")
    with pytest.raises(Permanent, match="does not point to a version"):
        client.read("k", "")
    assert sorted(path.name for path in outside.rglob("*")) == ["v1", "value", "versions"]


def test_odd_files_are_refused(client: Client, root: Path) -> None:
    client.put("k", Secret("x"), "v1", "")
    value = root / "k/versions/v1/value"
    value.write_bytes(b"x" * (disk.LARGEST + 1))
    with pytest.raises(Permanent, match="no ordinary file"):
        client.read("k", "v1")
    value.unlink()
    os.mkfifo(value)
    with pytest.raises(Permanent, match="no ordinary file"):
        client.read("k", "v1")
    (root / "k/current").mkdir()
    with pytest.raises(Permanent, match="no link"):
        client.current("k")


def test_the_pointer_moves_only_from_where_the_plan_saw_it(client: Client) -> None:
    for version in ("v1", "v2", "v3"):
        client.put("k", Secret(version), version, "")
    assert client.point("k", "v1", "first", None) == ""
    with pytest.raises(Permanent, match="points to v1, not to v3"):
        client.point("k", "v2", "second", "v3")
    assert client.point("k", "v2", "second", "v1") == "v1"
    assert client.point("k", "v2", "second", "v1") == "v1", "again is quiet"
    assert client.point("k", "v2", "stranger", "v1") is None, "it was there already"
    client.put_back("k", "v2", "stranger", None)
    assert client.current("k") == "v2", "who moved nothing puts nothing back"
    client.point("k", "v3", "third", None)
    client.put_back("k", "v2", "second", "v1")
    assert client.current("k") == "v3", "somebody went on meanwhile"
    client.put_back("k", "v3", "third", None)
    assert client.current("k") == "v2"
    with pytest.raises(Permanent, match="no version v9"):
        client.point("k", "v9", "fourth", None)
    client.put_back("k", "v2", "second", "v1")
    client.put_back("k", "v1", "first", None)
    assert client.current("k") is None


def test_the_version_in_use_is_not_removed(client: Client, root: Path) -> None:
    for version in ("v1", "v2"):
        client.put("k", Secret(version), version, "")
    client.point("k", "v2", "t", None)
    with pytest.raises(Permanent, match="clients of k read"):
        client.remove("k", "v2")
    client.remove("k", "v1")
    assert sorted(os.listdir(root / "k/versions")) == ["v2"]
    client.remove("nothing/here", "v1")
    client.point("k", "v2", "t2", None)
    with pytest.raises(Permanent, match="no version v1 any more"):
        client.put_back("k", "v2", "t2", "v1")


def test_two_writers_do_not_meet(client: Client, root: Path) -> None:
    client.put("k", Secret("x"), "v1", "")
    folder = os.open(root / "k", os.O_RDONLY)
    try:
        with disk.locked(folder), pytest.raises(Transient, match="somebody else"):
            client.put("k", Secret("y"), "v2", "")
    finally:
        os.close(folder)
    assert client.put("k", Secret("y"), "v2", "") == "v2"


def test_a_full_disk_is_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Transient, match="No space left") as caught:
            client.put("k", Secret("x"), "v1", "")
    assert caught.value.delay.total_seconds() == 60
    assert client.put("k", Secret("x"), "v1", "") == "v1"


def test_a_root_that_is_missing_is_said(tmp_path: Path) -> None:
    lost = Client(Config(root=tmp_path / "nowhere"), NOBODY)
    with pytest.raises(Permanent) as caught:
        lost.current("k")
    assert "root" in caught.value.hint


class Killed(BaseException):
    """The process died here."""


def killing(monkeypatch: pytest.MonkeyPatch, after: int) -> Callable[[], int]:
    """Die at the n-th change to the disk; returns how many there were."""
    count = 0

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > after:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for name in SYSTEM_CALLS:
        wrap(name)
    return lambda: count


@pytest.mark.parametrize("act", ["put", "point", "put_back", "remove"])
def test_killed_at_any_system_call_it_can_be_done_again(
    act: str, root: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions: dict[str, Callable[[str], object]] = {
        "put": lambda path: client.put(path, Secret("three"), "v3", "ak-3"),
        "point": lambda path: client.point(path, "v2", "t", "v1"),
        "put_back": lambda path: client.put_back(path, "v2", "t", None),
        "remove": lambda path: client.remove(path, "v1" if client.current(path) == "v2" else "v2"),
    }
    for after in range(200):
        path = f"key-{after}"
        for version in ("v1", "v2"):
            client.put(path, Secret(version), version, "")
        client.point(path, "v1", "earlier", None)
        if act == "put_back":
            client.point(path, "v2", "t", "v1")
        with monkeypatch.context() as patch:
            counted = killing(patch, after)
            try:
                actions[act](path)
                died = False
            except Killed:
                died = True
            total = counted()
        # Whatever happened, readers see a whole version, and nothing is half there.
        assert client.read(path, "") in (Secret("v1"), Secret("v2"))
        assert not client.has(path, "v3") or client.read(path, "v3") == Secret("three")
        actions[act](path)
        left = sorted(os.listdir(root / path / "versions"))
        expected = {"put": ["v1", "v2", "v3"], "remove": ["v1"]}.get(act, ["v1", "v2"])
        assert left == expected
        assert client.current(path) == ("v2" if act == "point" else "v1")
        if act == "point":
            assert client.moved(path, "t") == "v1", "what undo needs survives"
        if not died:
            assert total > 3
            return
    pytest.fail("it never came to an end")


def test_what_a_crash_left_is_swept_with_its_value(client: Client, root: Path) -> None:
    client.put("k", Secret("x"), "v1", "")
    left = root / "k/versions/.new-v7"
    left.mkdir()
    (left / "value").write_text("half a secret")
    client.put("k", Secret("y"), "v2", "")
    assert sorted(os.listdir(root / "k/versions")) == ["v1", "v2"]


def test_words_are_where_the_catalog_looks() -> None:
    assert {"Point", "Remove", "CurrentVersion", "Store", "Client", "Config"} <= set(vars(secret_files))
