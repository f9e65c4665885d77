"""
Words that tell page furniture: what stands over lists of other stories, and what such blocks are called in HTML.

Data for worker/html.py; whole headings and whole class names only, so that a sentence never matches.
"""

from __future__ import annotations

import re

# What stands over a list of other stories, in the languages we serve best and some more.
_PHRASES = r"""
    related(?:\ (?:stories|articles|news|topics|content|reading|posts|links|coverage))? | (?:also|see\ also|now)\ read
    | read\ (?:more|also|next|this\ next) | more\ (?:from|on|in|stories|news|articles|coverage|top\ stories)\b.{0,40}
    | most\ (?:read|popular|viewed|shared|commented|recent) | popular(?:\ (?:now|stories|articles|posts))? | trending(?:\ now)?
    | recommended(?:\ (?:for\ you|stories|articles|reading))? | you\ (?:may|might)\ (?:also\ )?(?:like|be\ interested).{0,20}
    | editor'?s?'?\ picks? | top\ stories | latest(?:\ (?:news|stories|headlines|articles))? | other\ (?:news|stories|headlines)
    | in\ other\ news | don'?t\ miss | what\ to\ read\ next | up\ next | around\ the\ web | from\ our\ partners | sponsored.{0,20}
    | headlines | more\ headlines | elsewhere(?:\ on.{0,30})? | newsletters? | comments? | share\ this.{0,20} | follow\ us.{0,20}
    | 관련\s?(?:기사|뉴스|글|콘텐츠) | 많이\s?본\s?(?:뉴스|기사) | (?:추천|인기|주요|최신|다른|이\s?시각)\s?(?:기사|뉴스|주요\s?뉴스|소식).{0,8}
    | 함께\s?(?:본|볼만한|읽으면).{0,10} | 더\s?보기 | 오늘의\s?(?:뉴스|주요).{0,8} | 핫\s?(?:뉴스|이슈) | 랭킹\s?뉴스
    | (?:相关|相關|延伸|推荐|推薦|更多|热门|熱門|最新|其他|其它)(?:阅读|閱讀|新闻|新聞|报道|報道|報導|文章|内容|內容|消息|推荐|推薦|链接|連結)?
    | (?:猜你喜欢|今日热点|今日熱點|排行榜|点击排行|點擊排行|大家都在看|人气排行|要闻|要聞|往期回顾|编辑推荐|編輯推薦|责任编辑.{0,10})
    | 関連(?:記事|ニュース|リンク|トピックス|する記事)? | (?:おすすめ|人気|新着|最新|注目|ほか)の?(?:記事|ニュース)?.{0,6}
    | (?:アクセス)?ランキング | あわせて読みたい | こちらも(?:読まれて|おすすめ).{0,8} | もっと(?:見る|読む) | 主要ニュース | 続きを読む
    | (?:читайте|смотрите)\ (?:также|ещ[её]|по\ теме).{0,20} | ещ[её]\ (?:по\ теме|новости) | по\ теме | материалы\ по\ теме
    | (?:другие|последние|главные|похожие|популярные|рекомендуемые)?\s?(?:новости|материалы|статьи).{0,20}
    | популярное | самое\ (?:читаемое|популярное|интересное) | главное(?:\ (?:за\ день|сегодня|сейчас))? | рекомендуем.{0,10}
    | lire\ aussi | à\ lire.{0,20} | sur\ le\ même\ sujet | les\ plus\ lus | te\ puede\ interesar | más\ (?:leídas|noticias)
    | lea\ también | noticias\ relacionadas | mehr\ zum\ thema | lesen\ sie\ auch | meistgelesen | اقرأ\ أيضا.{0,6} | الأكثر\ قراءة
"""
HEADING = re.compile(rf"^\W*(?:{_PHRASES})\W*$", re.IGNORECASE | re.VERBOSE)
LABEL = re.compile(
    r"(?:^|[\s_-])(?:related|recommend\w*|most-?(?:read|popular|viewed)|popular|trending|more-?(?:stories|news|from|on)|read-?more"
    r"|also-?read|see-?also|newsletter|subscri\w+|share|sharing|social|comments?|sidebar|promo\w*|teasers|outbrain|taboola"
    r"|breadcrumbs?|cookie\w*|advert\w*|ads?|banner|ranking|latest|headlines?-list|news-?list|link-?list|tags?)(?:$|[\s_-])",
    re.IGNORECASE,
)
