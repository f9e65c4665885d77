"""Language: script decides where it can, the feed's word where nothing else does."""

from __future__ import annotations

import pytest

from worker.edges.language_model import classify
from worker.stages.language import detect


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Talks between the two Koreas resume in Panmunjom", "en"),
        ("金正恩抵达北京访问", "zh"),
        ("金正恩氏が北京に到着", "ja"),
        ("김정은 위원장 베이징 도착", "ko"),
        ("北·中 정상회담 개최", "ko"),
        ("Лидер КНДР прибыл в Пекин с визитом", "ru"),
        ("Президент України заявив про нові санкції", "uk"),
        ("Правителството обяви нови мерки след срещата във вторник", "bg"),
        ("Le président français rencontre son homologue chinois à Paris", "fr"),
        ("Der Außenminister reist zu Gesprächen nach Peking", "de"),
        ("وصل الوزير إلى بكين لإجراء محادثات", "ar"),
        ("U.S. 与中国举行贸易谈判", "zh"),
    ],
)
def test_the_language_of_a_headline_is_told(text: str, language: str) -> None:
    assert detect(text, None, classify) == language


def test_a_headline_in_han_only_is_japanese_when_its_feed_is() -> None:
    assert detect("北朝鮮外相訪中", "ja", classify) == "ja"
    assert detect("北朝鮮外相訪中", None, classify) == "zh"


@pytest.mark.parametrize("text", ["", "12345 - 67", "🙂"])
def test_without_letters_the_feed_decides(text: str) -> None:
    assert detect(text, "ko-KR", classify) == "ko"
    assert detect(text, None, classify) == "und"


def test_a_hint_that_is_no_language_tag_is_ignored() -> None:
    assert detect("", "x" * 500, classify) == "und"
    assert detect("", "english (US)", classify) == "und"


def test_a_wrong_hint_does_not_overrule_the_text() -> None:
    assert detect("Правительство России объявило о новых мерах", "en", classify) == "ru"


def test_the_classifier_is_not_asked_when_script_or_frequent_words_decide() -> None:
    def never(text: str) -> tuple[str, float]:
        raise AssertionError(text)

    assert detect("김정은 위원장", None, never) == "ko"
    assert detect("The president said on Monday that the talks were over", None, never) == "en"
