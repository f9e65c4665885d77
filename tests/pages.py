"""Web pages around one story, each with the headlines of other stories placed in another way below or beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OTHERS: Mapping[str, Sequence[str]] = {
    "en": (
        "Vietnam doubles rice exports to the Philippines",
        "Air crash in Nepal kills twelve",
        "Lithuania closes its border with Belarus",
    ),
    "ko": ("베트남 쌀 수출 두 배로 늘어", "네팔 여객기 추락 12명 사망", "리투아니아 국경 폐쇄"),
    "zh": ("越南大米出口翻倍", "尼泊尔空难十二人死亡", "立陶宛关闭边境"),
}
OVER: Mapping[str, Sequence[str]] = {
    "en": ("Related stories", "Most read", "More from Asia"),
    "ko": ("관련 기사", "많이 본 뉴스", "이 시각 주요뉴스"),
    "zh": ("相关阅读", "热门新闻", "推荐阅读"),
}


def pages(title: str, paragraphs: Sequence[str], language: str) -> dict[str, str]:
    """Return, by name of the layout, the story as a page of its own with furniture in *language*."""
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    head = f"<h1>{title}</h1>"
    others = [(text, f"/other/{number}") for number, text in enumerate(OTHERS[language])]
    first, second, third = OVER[language]
    items = "".join(f'<li><a href="{link}">{text}</a></li>' for text, link in others)
    linked = "".join(f'<p><a href="{link}">{text}</a></p>' for text, link in others)
    bare = "".join(f"<p>{text}</p>" for text, _ in others)
    cells = "".join(f'<td><a href="{link}">{text}</a></td>' for text, link in others)
    cards = "".join(
        f'<div class="card"><h3><a href="{link}">{text}</a></h3><p>{text}. {text}, {text}.</p></div>'
        for text, link in others
    )
    layouts = {
        "labelled block": f'<article>{head}{body}</article><div class="related"><ul>{items}</ul></div>',
        "cards below": f"<main><article>{head}{body}</article><section><h2>{third}</h2>{cards}</section></main>",
        "cards inside the article": f"<article>{head}{body}<section><h2>{third}</h2>{cards}</section></article>",
        "list inside the article": f"<article>{head}{body}<h3>{first}</h3><ul>{items}</ul></article>",
        "linked paragraphs": f'<div id="content">{head}<div class="text">{body}</div><div>{linked}</div></div>',
        "bare paragraphs": f'<div id="main">{head}<div>{body}</div><div><h4>{second}</h4>{bare}</div></div>',
        "all on one level": f"{head}{body}{linked}<h4>{second}</h4>{bare}",
        "table of links": f"<div>{head}{body}<table><tr>{cells}</tr></table></div>",
        "line breaks": f"<div>{head}{'<br><br>'.join(paragraphs)}<br><br><h3>{first}</h3><ul>{items}</ul></div>",
        "strong heading": f"<article>{head}{body}<p><strong>{first}:</strong></p>{linked}</article>",
    }
    return {name: _whole(title, content) for name, content in layouts.items()}


def _whole(title: str, content: str) -> str:
    menu = '<header><nav><a href="/">Home</a> <a href="/de">Germany</a> <a href="/br">Brazil</a></nav></header>'
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head><body>{menu}{content}'
        "<footer>© Example Herald, Reykjavik, Iceland</footer></body></html>"
    )
