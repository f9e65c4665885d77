"""The dispatch on workers crossing the Tumen and the Yalu, in three languages and our own words."""

from __future__ import annotations

TITLES = {
    "en": "North Korea sends thousands of workers to northeast China despite UN sanctions",
    "ko": "북한, 유엔 제재에도 중국 동북지역에 노동자 수천 명 파견",
    "zh": "朝鲜不顾联合国制裁向中国东北派遣数千名工人",
}
BODIES = {
    "en": (
        "SHENYANG, June 18 (Newswire) - About 3,000 North Korean workers have arrived in Hunchun, a city in China's "
        "Jilin province, and another 500 in Dandong in Liaoning, two people who arrange their stay said.\n"
        "Chinese factories pay North Korea for the labour, which Security Council resolutions forbid. "
        "The workers sew clothes and clean fish, and buses bring them across the border at night.\n"
        "A trader in Dandong said that more North Korean crews were expected before the autumn.\n"
        "Analysts linked the arrivals to talk of a summit with the United States and Russia."
    ),
    "ko": (
        "(선양=새소식) 북한 노동자 약 3천 명이 중국 지린성 훈춘에 도착했고 "
        "랴오닝성 단둥에도 500명이 들어왔다고 소식통이 전했다.\n"
        "중국 공장은 북한 인력에 임금을 지급하지만 이는 안보리 결의 위반이다. "
        "북중 접경의 한 무역업자는 "
        "가을 전에 북한 노동자가 더 올 것이라고 말했다.\n"
        "전문가들은 미국, 러시아와의 정상회담 가능성을 거론했다."
    ),
    "zh": (
        "（沈阳6月18日电）约三千名朝鲜工人已抵达中国吉林省珲春市，另有五百人到达辽宁省丹东市，两名知情人士说。\n"
        "中国工厂为朝鲜劳工支付报酬，安理会决议禁止这样做。中朝边境的一名商人说，秋天以前还会有更多朝鲜工人过来。\n"
        "分析人士提到与美国和俄罗斯举行首脑会晤的可能。"
    ),
}
