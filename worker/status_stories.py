"""One story of the status page as HTML: title, tags, the evidence in its text, verdict and times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from worker.marked_text import language_attributes, marked, safe
from worker.records import Evidence
from worker.status import StoryView

_MAX_FURTHER = 30
"""So many pieces of evidence behind the shown text are named."""


def story_item(story: StoryView) -> str:
    """Return *story* as an item of a list."""
    attributes = language_attributes(story.language)
    names = {f"place:{place.geoname}": place.name for place in story.tags.places}
    title = marked(story.title, _in(story, "title"), names) if story.title else "(no title)"
    if address := web_address(story.link):
        title = f'<a href="{safe(address)}" rel="noopener noreferrer nofollow">{title}</a>'
    lead = ""
    if story.lead:
        more = "…" if story.length > len(story.lead) else ""
        lead = f'<p class="lead" {attributes}>{marked(story.lead, _in(story, "body"), names)}{more}</p>'
    verdict = f"update, version {story.version}" if story.kind == "update" else story.kind
    return (
        f'<li class="story"><article><h3 {attributes}>{title}</h3>'
        f'<p class="meta"><span class="verdict {safe(story.kind)}">{safe(verdict)}</span> '
        f'<span>{safe(story.feed)}</span> <span title="language">{safe(story.language)}</span> {_times(story)}'
        f"{_spread(story)}</p>{_tags(story)}{lead}{_further(story, names)}</article></li>"
    )


def web_address(link: str | None) -> str | None:
    """Return *link* if it is an http or https address, which is all that may be followed from the page."""
    if link is None:
        return None
    try:
        parts = urlsplit(link)
    except ValueError:
        return None
    return link if parts.scheme in ("http", "https") and parts.netloc else None


def _in(story: StoryView, field: str) -> list[Evidence]:
    return [each for each in story.tags.evidence if each.field == field]


def _times(story: StoryView) -> str:
    times = [("seen", story.first_seen), ("out", story.enriched_at)]
    if story.published_at is not None:
        times.insert(0, ("published", story.published_at))
    return " ".join(f"<span>{label} {_time(moment)}</span>" for label, moment in times)


def _time(moment: datetime) -> str:
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{moment:%d %b %H:%M:%S}</time>'


def _spread(story: StoryView) -> str:
    said = []
    if story.sources > 1:
        said.append(f"{story.sources} sources")
    if story.copies:
        said.append(f"{story.copies} {'copy' if story.copies == 1 else 'copies'}")
    if story.routes:
        said.append(f"on {', '.join(story.routes)}")
    return "".join(f" <span>{safe(each)}</span>" for each in said)


def _tags(story: StoryView) -> str:
    tags = story.tags
    chips = [("region" if tag.about else "region mentioned", tag.code, tag.relevance) for tag in tags.regions]
    chips += [("pair", f"{tag.code} {tag.type}" if tag.type else tag.code, tag.relevance) for tag in tags.pairs]
    chips += [("topic", tag.slug, tag.relevance) for tag in tags.topics]
    listed = "".join(
        f'<li class="{kind}"><span class="unseen">{kind}: </span>{safe(name)}'
        f'<span class="unseen">, relevance </span> <b title="relevance">{relevance}</b></li>'
        for kind, name, relevance in chips
    )
    failed = "".join(f'<li class="failed">{safe(name)} failed</li>' for name in tags.failed)
    return f'<ul class="tags" aria-label="Tags">{listed}{failed}</ul>' if listed or failed else ""


def _further(story: StoryView, names: Mapping[str, str]) -> str:
    """Return the evidence that lies behind the shown text."""
    behind = [each for each in _in(story, "body") if each.end > len(story.lead)]
    if not behind:
        return ""
    attributes = language_attributes(story.language)
    items = "".join(
        f"<li><q {attributes}>{safe(each.text)}</q> <small>{safe(names.get(each.tag) or each.tag.partition(':')[2])}"
        f", at {each.start}</small></li>"
        for each in behind[:_MAX_FURTHER]
    )
    left = len(behind) - _MAX_FURTHER
    more = f"<li><small>and {left} more</small></li>" if left > 0 else ""
    return f"<details><summary>Evidence further down: {len(behind)}</summary><ul>{items}{more}</ul></details>"
