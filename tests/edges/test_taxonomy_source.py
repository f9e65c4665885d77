"""The rules while a worker runs: what is right is taken over, what is wrong or away leaves those before in force."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from worker.edges.fetch import FetchSettings
from worker.edges.remote_file import RemoteFile
from worker.edges.taxonomy_source import MAX_BYTES, MAX_UNPACKED, ArchiveSource, FolderSource
from worker.edges.yaml_file import FileFaults
from worker.polling import RemoteAway

ROUTES = "routes:\n  - {name: ferries, when: {topic: ferries}}\n"
TOPIC = "names: {en: Ferries}\nterms: {en: {5: [ferry]}}\n"
FILES = {"./routes.yaml": ROUTES, "./topics/ferries.yaml": TOPIC}


def archive(files: Mapping[str, str], *, change: Callable[[tarfile.TarInfo], None] = lambda _: None) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as made:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            change(member)
            made.addfile(member, io.BytesIO(text.encode()))
    return body.getvalue()


class Handler(BaseHTTPRequestHandler):
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(type(self).body)))
        self.end_headers()
        self.wfile.write(type(self).body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def serving() -> Iterator[tuple[type[Handler], str]]:
    class Its(Handler):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Its)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Its, f"http://127.0.0.1:{server.server_address[1]}/rules.tar.gz"
    finally:
        server.shutdown()
        server.server_close()


def source(url: str, folder: Path, *, private: bool = True) -> ArchiveSource:
    remote = RemoteFile(url, private=private, fetch=FetchSettings(total_s=5.0), max_bytes=MAX_BYTES)
    return ArchiveSource(remote, folder=lambda: folder)


def test_rules_of_an_address_are_given_when_they_changed_and_the_last_good_ones_survive_a_restart(
    tmp_path: Path,
) -> None:
    with serving() as (server, url):
        server.body = archive(FILES)
        its = source(url, tmp_path)
        first = its.first()
        assert "ferries" in [route.name for route in first.routes]
        assert its.changed() is None
        server.body = archive(FILES | {"./routes.yaml": ROUTES.replace("ferries,", "boats,")})
        second = its.changed()
        assert second is not None
        assert "boats" in [route.name for route in second.routes]
        assert second.version != first.version
        assert its.changed() is not None, "given again until it is taken"
        its.take()
        assert its.changed() is None
        assert len(list(tmp_path.iterdir())) == 1
        server.body = archive(FILES | {"./topics/ferries.yaml": "nonsense: 1\n"})
        with pytest.raises(FileFaults) as caught:
            its.changed()
        assert f"{url} ferries.yaml" in str(caught.value)
        for status, body in ((503, b""), (200, server.body)):
            server.status, server.body = status, body
            assert source(url, tmp_path).first().version == second.version
        server.status = 503
        (tmp_path / "empty").mkdir()
        with pytest.raises(RemoteAway):
            source(url, tmp_path / "empty").first()


def _link(member: tarfile.TarInfo) -> None:
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0


@pytest.mark.parametrize(
    "body",
    [
        b"no archive",
        gzip.compress(b"no archive"),
        archive(FILES)[:-20],
        archive({}),
        archive({"../routes.yaml": ROUTES}),
        archive({"/etc/routes.yaml": ROUTES}),
        archive({"topics/../../routes.yaml": ROUTES}),
        archive({"rules/routes.yaml": ROUTES}),
        archive({"topics/ferries.yml": TOPIC}),
        archive({"topics/.hidden.yaml": TOPIC}),
        archive(FILES, change=_link),
        gzip.compress(bytes(MAX_UNPACKED + 1)),
    ],
)
def test_what_is_no_archive_of_a_taxonomy_is_refused_and_leaves_nothing(tmp_path: Path, body: bytes) -> None:
    with serving() as (server, url):
        server.body = body
        with pytest.raises(FileFaults, match=r"not a \.tar\.gz of a taxonomy"):
            source(url, tmp_path).first()
    assert list(tmp_path.iterdir()) == []


def test_an_address_in_a_private_network_is_asked_only_where_that_is_permitted(tmp_path: Path) -> None:
    with serving() as (server, url):
        server.body = archive(FILES)
        with pytest.raises(RemoteAway, match="ssrf"):
            source(url, tmp_path, private=False).first()


def test_a_folder_is_given_again_when_it_changed_and_right(tmp_path: Path) -> None:
    (tmp_path / "topics.ferries.yaml").write_text(TOPIC, "utf-8")
    (tmp_path / "routes.yaml").write_text(ROUTES, "utf-8")
    its = FolderSource(tmp_path)
    assert "ferries" in [route.name for route in its.first().routes]
    assert its.changed() is None
    (tmp_path / "routes.yaml").write_text("routes: [nonsense]\n", "utf-8")
    with pytest.raises(FileFaults):
        its.changed()
    (tmp_path / "routes.yaml").write_text(ROUTES.replace("ferries,", "boats,"), "utf-8")
    changed = its.changed()
    assert changed is not None
    assert "boats" in [route.name for route in changed.routes]
    its.take()
    assert its.changed() is None
    assert FolderSource(None).changed() is None
