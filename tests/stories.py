"""The story that Dateline began with, told in our own words in three languages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One telling."""

    language: str
    title: str
    paragraphs: tuple[str, ...]


WORKERS = (
    Told(
        language="en",
        title="North Korean workers keep arriving in Chinese border cities despite sanctions",
        paragraphs=(
            "SHENYANG, China - About 3,000 North Korean workers have been sent to the Chinese border city of Hunchun in"
            " Jilin province since the spring, two traders with knowledge of the matter said, although United Nations"
            " Security Council sanctions forbid new work permits for them.",
            "Another 500 labourers reached Dandong in Liaoning province last month, where they sew clothes and sort"
            " seafood, according to the manager of one of the factories, who asked not to be named.",
            "Resolutions that the Security Council adopted in 2017 oblige all member states to send North Korean workers"
            " home. China's foreign ministry said that it fulfils its obligations, and that the two neighbours keep up"
            " friendly relations and exchanges.",
            "Diplomats in Shenyang said that officials of both sides had discussed the dispatch of labour at talks in"
            " Pyongyang. While the world looks at the summit between the United States and Russia, one of them said,"
            " Beijing and Pyongyang are quietly mending their ties.",
        ),
    ),
    Told(
        language="ko",
        title="제재에도 북한 노동자 중국 접경 도시로 속속 파견",
        paragraphs=(
            "(선양) 올봄 이후 북한 노동자 약 3천 명이 중국 지린성의 접경 도시 훈춘에 파견됐다고 사정을 아는 무역업자 두 명이"
            " 전했다. 유엔 안전보장이사회 대북 제재는 북한 노동자에 대한 신규 취업 허가를 금지하고 있다.",
            "지난달에는 또 다른 노동자 500명이 랴오닝성 단둥에 도착해 봉제 공장과 수산물 가공 공장에서 일하고 있다고 익명을"
            " 요구한 공장 관리인이 말했다.",
            "2017년 채택된 안보리 결의는 모든 회원국에 북한 노동자를 송환하도록 의무화했다. 중국 외교부는 의무를 이행하고"
            " 있으며 양국은 우호적인 관계와 교류를 유지하고 있다고 밝혔다.",
            "선양의 외교 소식통은 양국 당국자들이 평양 회담에서 노동자 파견 문제를 협의했다고 전했다. 그는 세계의 관심이 미국과"
            " 러시아의 정상회담에 쏠린 사이 북한과 중국이 조용히 관계를 회복하고 있다고 덧붙였다.",
        ),
    ),
    Told(
        language="zh",
        title="制裁之下朝鲜工人仍不断抵达中国边境城市",
        paragraphs=(
            "沈阳消息:两名知情的贸易商说,自春季以来,约三千名朝鲜工人被派往中国吉林省边境城市珲春,尽管联合国安理会制裁禁止"
            "向朝鲜工人发放新的工作许可。",
            "上个月又有五百名劳工抵达辽宁省丹东市,在服装厂和海产品加工厂工作,一名不愿具名的工厂经理说。",
            "安理会2017年通过的决议要求所有会员国遣返朝鲜工人。中国外交部表示中方履行自身义务,中朝两国保持友好关系和往来。",
            "在沈阳的外交官说,双方官员在平壤会谈时讨论了派遣劳工的问题。他说,当世界关注美国与俄罗斯的峰会时,北京和平壤正在悄悄"
            "修复关系。",
        ),
    ),
)
