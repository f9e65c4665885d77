"""Add a feed to a list that a person wrote: comments and order stay, and only what is right is written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import yaml
from lxml import etree

from worker.edges import feed_list
from worker.edges.feed_settings import Defaults
from worker.edges.yaml_file import Fault, FileFaults
from worker.feed_config import FeedConfig


def add(path: Path, feed: Mapping[str, str], *, defaults: Defaults | None = None) -> FeedConfig:
    """
    Add *feed* (`url`, and by name what else a list may say of it) at the end of the list at *path*, which may be new.

    Raises: FileFaults: the list is wrong, or would be with it; nothing is written then.
    """
    try:
        before = path.read_bytes() if path.exists() else b""
        after = _with(before, feed, opml=path.suffix.lower() not in {".yaml", ".yml"}, file=str(path))
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".dateline-") as work:
            # Beside the old one: paths in it are relative, and the swap is one step.
            draft = Path(work) / path.name
            draft.write_bytes(after)
            feeds = _checked(draft, path, defaults)
            if before:
                draft.chmod(path.stat().st_mode & 0o777)
            draft.replace(path)
    except OSError as error:
        raise FileFaults([Fault(file=str(path), line=0, reason=error.strerror or str(error))]) from error
    return feeds[-1]


def _checked(draft: Path, path: Path, defaults: Defaults | None) -> tuple[FeedConfig, ...]:
    try:
        return feed_list.read(draft, defaults=defaults)
    except FileFaults as error:
        raise FileFaults(
            [Fault(file=str(path), line=fault.line, reason=fault.reason) for fault in error.faults]
        ) from error


def _with(before: bytes, feed: Mapping[str, str], *, opml: bool, file: str) -> bytes:
    if opml:
        return _opml(before or b'<opml version="2.0">\n  <body>\n  </body>\n</opml>\n', feed, file=file)
    try:
        return _yaml(before.decode("utf-8"), feed, file=file).encode()
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise FileFaults([Fault(file=file, line=0, reason=" ".join(str(error).split()))]) from error


def _yaml(text: str, feed: Mapping[str, str], *, file: str) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    feeds = None
    if isinstance(node, yaml.MappingNode):
        feeds = next((value for name, value in node.value if name.value == "feeds"), None)
    style: dict[str, Any] = {"default_flow_style": True, "allow_unicode": True, "sort_keys": False, "width": 10_000}
    item = yaml.safe_dump(dict(feed), **style).strip()
    if node is None or (isinstance(node, yaml.MappingNode) and feeds is None):
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}feeds:\n  - {item}\n"
    if not isinstance(feeds, yaml.SequenceNode) or not feeds.value:
        raise FileFaults([Fault(file=file, line=0, reason="its `feeds` are no list with a feed in it")])
    last = feeds.value[-1]
    if feeds.flow_style:
        end = last.end_mark.index
        return f"{text[:end]}, {item}{text[end:]}"
    # The end mark of a block lies behind the comments that follow it; the feed goes right behind its last value.
    end = text.find("\n", _last_index(last))
    end = len(text) if end < 0 else end
    dash = " " * feeds.start_mark.column
    return f"{text[:end]}\n{dash}- {item}{text[end:] or chr(10)}"


def _last_index(node: yaml.Node) -> int:
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _last_index(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_index(node.value[-1])
    return int(node.end_mark.index) - 1


def _opml(before: bytes, feed: Mapping[str, str], *, file: str) -> bytes:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        encoding = etree.fromstring(before, parser).getroottree().docinfo.encoding or "utf-8"
    except etree.XMLSyntaxError as error:
        raise FileFaults([Fault(file=file, line=int(error.lineno or 0), reason=error.msg or "not XML")]) from error
    text = before.decode(encoding)
    place = text.rfind("</body>")
    if place < 0:
        raise FileFaults([Fault(file=file, line=0, reason="not OPML with a <body>")])
    names = {"url": "xmlUrl", "title": "text"}
    told = {names.get(name, name): value for name, value in feed.items()}
    told = {"type": "rss", "text": told.pop("text", told["xmlUrl"]), **told}
    outline = " ".join(f"{name}={quoteattr(value)}" for name, value in told.items())
    indent = text[text.rfind("\n", 0, place) + 1 : place]
    indent = indent if not indent.strip() else ""
    return f"{text[:place]}  <outline {outline}/>\n{indent}{text[place:]}".encode(encoding, "xmlcharrefreplace")
