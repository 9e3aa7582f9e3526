"""What every store promises, tried on the one on a local disk."""

import errno
import os
import stat
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from rushes.artifacts import store as store_module
from rushes.artifacts.errors import StorageFull
from rushes.artifacts.store import ArtifactStore, open_store
from rushes.errors import InvalidInput, NotFound, Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my artifacts"


@pytest.fixture
def store(root: Path) -> ArtifactStore:
    return open_store(root.as_uri())


def put(store: ArtifactStore, *, content: bytes, name: str) -> str:
    source = store.scratch() / "claim-1.part"
    source.write_bytes(content)
    (url,) = store.publish((source, name))
    return url


def test_opening_a_store_touches_nothing(store: ArtifactStore, root: Path) -> None:
    assert not root.exists()


def test_a_published_file_can_be_read_by_its_url(store: ArtifactStore, root: Path) -> None:
    url = put(store, content=b"film", name="batch/1.mp4")

    with store.open(url) as file:
        assert file.read() == b"film"
    assert store.find_path(url) == root / "batch" / "1.mp4"
    assert list(store.scratch().iterdir()) == []


def test_a_file_published_again_replaces_the_old_one_for_new_readers(store: ArtifactStore) -> None:
    url = put(store, content=b"old", name="1.mp4")

    with store.open(url) as reader:
        assert put(store, content=b"newer", name="1.mp4") == url
        assert reader.read() == b"old"
    with store.open(url) as reader:
        assert reader.read() == b"newer"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_is_stored_where_folders_cannot_be_flushed(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on CIFS and on the shared folders of virtual machines."""
    warnings: list[str] = []
    flush = os.fsync

    def flush_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", flush_files_only)
    monkeypatch.setattr(store_module.log, "warning", lambda event, **_: warnings.append(event), raising=False)
    store_module._warn_once.cache_clear()
    for name in ("batch/1.mp4", "other/2.mp4"):
        url = put(store, content=b"film", name=name)
        assert store.find_path(url) is not None
    store.keep_removed([url])
    assert warnings == ["store.without_fsync"]


@pytest.mark.parametrize("name", ["../out.mp4", "/out.mp4", "a/../../out.mp4", "a\0b", "", ".incoming/x"])
def test_a_name_that_escapes_is_refused_and_the_file_stays(store: ArtifactStore, name: str) -> None:
    source = store.scratch() / "claim-1.part"
    source.write_bytes(b"film")

    with pytest.raises(InvalidInput):
        store.publish((source, name))

    assert source.read_bytes() == b"film"


def test_folders_are_open_to_readers(store: ArtifactStore, root: Path) -> None:
    mask = os.umask(0)
    try:
        put(store, content=b"film", name="a/b/1.mp4")
    finally:
        os.umask(mask)

    assert [(root / folder).stat().st_mode & 0o777 for folder in ("a", "a/b")] == [0o755, 0o755]


def test_files_are_on_disk_before_their_names_and_urls_are_given(
    store: ArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, content=b"film", name="a/0.mp4")
    sources = [store.scratch() / f"{name}.part" for name in ("poster", "video")]
    for source in sources:
        source.write_bytes(source.name.encode())
    poster, video, folder = *(source.stat().st_ino for source in sources), (root / "a").stat().st_ino
    done: list[object] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.fstat(descriptor).st_ino))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda old, new: done.append(new.name) or replace(old, new))

    urls = store.publish((sources[0], "a/1.jpg"), (sources[1], "a/1.mp4"))

    assert done == [poster, video, "1.jpg", "1.mp4", folder]
    assert [Path(url).name for url in urls] == ["1.jpg", "1.mp4"]


def test_no_file_is_moved_if_one_has_a_wrong_name(store: ArtifactStore) -> None:
    source = store.scratch() / "claim-1.part"
    source.write_bytes(b"film")
    with pytest.raises(InvalidInput):
        store.publish((source, "1.jpg"), (source, "../1.mp4"))
    assert source.exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.mp4",
        "s3://bucket/a.mp4",
        "file://elsewhere/a.mp4",
        "file:///etc/passwd",
        "{root}/a/../../outside.txt",
        "{root}/a/%2e%2e/%2e%2e/outside.txt",
        "{root}/a",
        "{root}/none.mp4",
        "{root}/%00",
        "{root}/a/1.mp4?download",
        "http://[",
        "",
    ],
)
def test_only_published_files_are_found(store: ArtifactStore, root: Path, url: str) -> None:
    put(store, content=b"film", name="a/1.mp4")
    (root.parent / "outside.txt").write_text("secret")
    url = url.format(root=root.as_uri())

    assert store.find_path(url) is None
    with pytest.raises(NotFound):
        store.open(url)


def test_a_removed_file_is_gone_and_removing_it_again_is_no_error(store: ArtifactStore) -> None:
    url = put(store, content=b"film", name="a/1.unverified")

    store.remove(url)
    store.remove(url)

    assert store.find_path(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.mp4",
        "{outside}",
        "{root}/a/%2e%2e/%2e%2e/outside.txt",
        "{root}/.incoming/claim-1.part",
        "{root}/%00",
        "{root}",
        "",
    ],
)
def test_only_published_files_are_removed(store: ArtifactStore, root: Path, url: str) -> None:
    outside, unfinished = root.parent / "outside.txt", store.scratch() / "claim-1.part"
    outside.write_text("secret")
    unfinished.write_bytes(b"film")

    with pytest.raises(InvalidInput):
        store.remove(url.format(root=root.as_uri(), outside=outside.as_uri()))

    assert outside.exists()
    assert unfinished.exists()


def test_files_that_a_dead_worker_left_are_removed_and_live_ones_kept(store: ArtifactStore) -> None:
    dead, live = store.scratch() / "dead.part", store.scratch() / "live.part"
    dead.write_bytes(b"")
    live.write_bytes(b"")
    os.utime(dead, (0, 0))

    assert store.remove_abandoned(older_than=timedelta(hours=1)) == 1

    assert not dead.exists()
    assert live.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_recognised(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    put(store, content=b"film", name="1.mp4")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StorageFull, match="RUSHES_ARTIFACTS_URL"):
        put(store, content=b"film", name="1.mp4")


def test_a_folder_of_another_user_names_ours(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    with pytest.raises(Unavailable, match=f"Permission denied for user {os.geteuid()}: give the folder to this user"):
        store.measure_room()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(Unavailable, match="cannot be written"):
        ArtifactStore(tmp_path / "file" / "root").scratch()


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/videos",
        "renders",
        "/srv/renders",
        "file:renders",
        "file://host/renders",
        "file:///a?b",
        "file:///a#b",
        "http://[",
        "",
    ],
)
def test_a_url_that_no_store_answers_to_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"RUSHES_ARTIFACTS_URL.*file://"):
        open_store(url)
