"""The story that Dateline began with: a feed and its pages over real HTTP, through the whole product, on both logs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.pages import pages
from tests.stories import WORKERS, Told
from tests.support.installation import Installation
from worker import wire
from worker.enriched_document import EnrichedDocument

LAYOUT = "cards below"


class Site:
    """A news site on loopback: one feed with a teaser for each telling, and the pages behind it."""

    def __init__(self) -> None:
        documents: dict[str, tuple[str, str]] = {}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, text = documents.get(self.path.partition("?")[0], ("text/plain", ""))
                body = text.encode()
                self.send_response(200 if text else 404)
                self.send_header("Content-Type", f"{kind}; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        items = ""
        for told in WORKERS:
            link = f"{self.address}/{told.language}/workers"
            documents[f"/{told.language}/workers"] = (
                "text/html",
                pages(told.title, told.paragraphs, told.language)[LAYOUT],
            )
            items += (
                f"<item><title>{escape(told.title)}</title><link>{link}?utm_source=rss</link>"
                f"<description>{escape(told.paragraphs[0][:80])}…</description></item>"
            )
        documents["/rss"] = (
            "application/rss+xml",
            f'<?xml version="1.0"?><rss version="2.0"><channel><title>Example Herald</title><link>{self.address}</link>'
            f"<description>World news</description>{items}</channel></rss>",
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def published(installation: Installation) -> dict[str, EnrichedDocument]:
    """Return the enriched records by language."""
    documents = {}
    for record in installation.read([installation.topics.enriched]):
        document = wire.decode_enriched(record.value)
        assert isinstance(document, EnrichedDocument)
        documents[document.language] = document
    return documents


def test_the_workers_story_is_tagged_as_an_analyst_would(installation: Installation, site: Site) -> None:
    """CN and KP, their pair, three topics, three places; the summit is mentioned; the furniture says nothing."""
    feeds = installation.folder / "feeds.yaml"
    feeds.write_text(f"feeds:\n  - {{id: herald, url: '{site.address}/rss', fullText: always, private: true}}\n")

    ran = installation.run("run", "--once", "--feeds", str(feeds))

    assert ran.returncode == 0, ran.stderr.decode()
    documents = published(installation)
    assert set(documents) == {told.language for told in WORKERS}
    for told in WORKERS:
        check(told, documents[told.language])
    routed = installation.read([installation.topics.route("china-dprk"), installation.topics.route("sanctions")])
    assert len(routed) == 2 * len(WORKERS)


def check(told: Told, document: EnrichedDocument) -> None:
    said = document.dateline
    about = {region.code for region in said.regions if region.about}
    mentioned = {region.code for region in said.regions if not region.about}
    assert about == {"CN", "KP"}, told.language
    assert mentioned == {"US", "RU"}, told.language
    assert [pair.code for pair in said.pairs] == ["CN-KP"], told.language
    assert {"sanctions", "labour-migration", "diplomacy"} <= {topic.slug for topic in said.topics}, told.language
    places = {place.name for place in document.places if len(place.literal) > 2}
    assert {"Hunchun", "Dandong", "Shenyang"} <= places, told.language
    assert said.provenance.fetch == "page"
    for span in said.evidence:
        field = document.headlines[0].value if span.field == "title" else document.bodies[0].value
        assert field[span.start : span.end] == span.text
