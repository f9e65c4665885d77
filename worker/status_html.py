"""The status page as HTML: values in, strings out. Every text goes through marked_text.safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from worker.marked_text import safe
from worker.status import FILTERS, Counter, FeedHealth, Feeds, PartitionLag, Status, StoryFilter, StoryView, choices
from worker.status_stories import story_item

_LABELS = {
    "read": "read",
    "new": "new",
    "update": "updates",
    "repeat": "repeats",
    "copy": "copies",
    "dead-letter": "dead letters",
    "fetches": "feeds fetched",
    "failed-fetches": "fetches failed",
    "entries": "new entries",
}
_BAD = {"dead-letter", "failed-fetches"}
_NOTHING = '<span aria-hidden="true">–</span><span class="unseen">none</span>'


def page(status: Status, wanted: StoryFilter, query: str) -> str:
    """Return the whole page; *query* is the filter as it stands in the address, for the updates to go on with."""
    stories = status.stories
    newest = stories[0].number if stories else 0
    body = [
        f'<section id="counters" class="counters" aria-label="Counters">{counters(status.counters)}</section>',
    ]
    if status.partitions is not None:
        body.append(
            f'<section id="partitions" aria-labelledby="partitions-title">{partitions(status.partitions)}</section>'
        )
    if stories is not None:
        body.append(_stories(stories, wanted))
    if status.feeds is not None:
        body.append(f'<section id="feeds" aria-labelledby="feeds-title">{feeds(status.feeds)}</section>')
    sections = (("partitions", status.partitions), ("stories", stories), ("feeds", status.feeds))
    links = "".join(f'<a href="#{name}">{name.capitalize()}</a>' for name, there in sections if there is not None)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex, nofollow">'
        f"<title>Dateline – {safe(status.process)}</title>"
        '<link rel="icon" href="/status.svg" type="image/svg+xml"><link rel="stylesheet" href="/status.css">'
        '<script src="/status.js" defer></script></head>'
        f'<body data-boot="{safe(status.boot)}" data-newest="{newest}" data-query="{safe(query)}">'
        '<a class="skip" href="#main">Skip to content</a><header class="top"><div><h1>Dateline</h1>'
        f'<p class="process">{safe(status.process)} <span>{safe(status.version)}</span></p></div>'
        f'<div id="readiness" role="status">{readiness(status.reasons)}</div>'
        '<div class="live"><p id="said" role="status" aria-live="polite">'
        f"<span>As of {_time(status.at)}; reload for more.</span></p>"
        '<button id="pause" type="button" hidden>Pause updates</button></div></header>'
        f'<nav aria-label="On this page">{links}</nav>'
        f'<main id="main">{"".join(body)}</main>'
        f"<footer><p>Running since {_time(status.started_at, day=True)}. All times are UTC. For machines: "
        '<a href="/status.json">status.json</a>, <a href="/metrics">metrics</a>.</p></footer></body></html>\n'
    )


def parts(status: Status) -> dict[str, str]:
    """Return by id the parts of the page that change and that no filter touches."""
    made = {"counters": counters(status.counters), "readiness": readiness(status.reasons)}
    if status.feeds is not None:
        made["feeds"] = feeds(status.feeds)
    if status.partitions is not None:
        made["partitions"] = partitions(status.partitions)
    return made


def readiness(reasons: Sequence[str]) -> str:
    """Return whether the process can work, and why not."""
    if not reasons:
        return '<p class="state good">Ready</p>'
    return (
        '<p class="state bad">Not ready</p><ul>' + "".join(f"<li>{safe(reason)}</li>" for reason in reasons) + "</ul>"
    )


def counters(counted: Sequence[Counter]) -> str:
    """Return each counter with its rate."""
    tiles = []
    for each in counted:
        bad = ' class="bad"' if each.name in _BAD and each.total else ""
        rate = "" if each.per_second is None else f'<span class="rate">{each.per_second:.1f}/s</span>'
        tiles.append(
            f"<div{bad}><dt>{safe(_LABELS.get(each.name, each.name))}</dt>"
            f'<dd><span class="total">{_number(each.total)}</span> {rate}</dd></div>'
        )
    return f"<dl>{''.join(tiles)}</dl>"


def partitions(owned: Sequence[PartitionLag]) -> str:
    """Return the partitions and how far behind each of them is."""
    behind = sum(each.lag or 0 for each in owned)
    said = f"{len(owned)} owned, {_number(behind)} records behind" if owned else "none owned now"
    boxes = "".join(
        f"<li{' class=behind' if each.lag else ''}><span>{each.partition}</span> "
        f"<b>{'?' if each.lag is None else _number(each.lag)}</b></li>"
        for each in owned
    )
    listed = f'<ul class="lags" aria-label="Lag by partition">{boxes}</ul>' if owned else ""
    return f'<h2 id="partitions-title">Partitions <span>{said}</span></h2>{listed}'


def feeds(known: Feeds) -> str:
    """Return the feeds as a table, the worst first."""
    failing = f", <b>{_number(known.failing)} failing</b>" if known.failing else ", all well"
    title = f'<h2 id="feeds-title">Feeds <span>{_number(known.total)}{failing if known.total else ""}</span></h2>'
    if not known.total:
        return f'{title}<p class="empty">No feeds are polled.</p>'
    heads = ("Feed", "State", "Last success", "Last new entry", "Next attempt", "Failures", "Last error")
    head = "".join(f'<th role="columnheader" scope="col">{each}</th>' for each in heads)
    more = known.total - len(known.shown)
    left = f'<p class="empty">{_number(more)} more feeds fare no worse and are not shown.</p>' if more else ""
    rows = "".join(_feed(each, heads) for each in known.shown)
    return (
        f'{title}<table role="table"><caption class="unseen">Health of the feeds, failing ones first</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead><tbody role="rowgroup">{rows}</tbody></table>{left}'
    )


def _feed(health: FeedHealth, heads: Sequence[str]) -> str:
    state = {"ok": "good", "failing": "bad"}.get(health.state, "idle")
    cells = (
        f'<span class="state {state}">{safe(health.state)}</span>',
        _when(health.last_success_at),
        _when(health.last_new_at),
        _when(health.next_poll_at),
        str(health.failures) if health.failures else _NOTHING,
        safe(health.last_error) if health.last_error else _NOTHING,
    )
    return (
        f'<tr role="row" class="{state}"><th role="rowheader" scope="row">{safe(health.feed)}</th>'
        + "".join(
            f'<td role="cell" data-label="{head}">{cell}</td>' for head, cell in zip(heads[1:], cells, strict=True)
        )
        + "</tr>"
    )


def _stories(stories: Sequence[StoryView], wanted: StoryFilter) -> str:
    admitted = [story for story in stories if wanted.admits(story)]
    said = f"{len(admitted)} of the last {len(stories)}" if wanted else f"the last {len(stories)}"
    empty = (
        "No story matches. Take a filter away."
        if wanted and stories
        else "No story yet: each appears here once it is committed."
    )
    none = f'<p id="no-stories" class="empty"{" hidden" if admitted else ""}>{empty}</p>'
    return (
        f'<section id="stories" aria-labelledby="stories-title"><h2 id="stories-title">Stories <span>{said}</span></h2>'
        f'{_form(stories, wanted)}{none}<ol id="story-list" class="stories">{story_items(admitted)}</ol></section>'
    )


def story_items(stories: Iterable[StoryView]) -> str:
    """Return *stories* as the items of a list."""
    return "".join(story_item(story) for story in stories)


def _form(stories: Sequence[StoryView], wanted: StoryFilter) -> str:
    fields = []
    for name in FILTERS:
        chosen = getattr(wanted, name)
        options = dict.fromkeys((*choices(stories, name), *([chosen] if chosen else [])))
        given = "".join(
            f'<option value="{safe(each)}"{" selected" if each == chosen else ""}>{safe(each)}</option>'
            for each in options
        )
        fields.append(
            f'<label>{name.capitalize()} <select name="{name}"><option value="">any</option>{given}</select></label>'
        )
    clear = '<a href="/">Show all</a>' if wanted else ""
    return (
        '<form method="get" action="/" aria-label="Filter the stories">'
        f'{"".join(fields)}<button type="submit">Filter</button>{clear}</form>'
    )


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _when(moment: datetime | None) -> str:
    return _NOTHING if moment is None else _time(moment, day=True)


def _time(moment: datetime, *, day: bool = False) -> str:
    shown = f"{moment:%d %b %H:%M:%S}" if day else f"{moment:%H:%M:%S}"
    return f'<time datetime="{moment.isoformat(timespec="seconds")}">{shown}</time>'
