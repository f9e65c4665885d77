"""
The forms of names in Slavic languages and Arabic, by general rules: what a name may look like in any case.

Too many forms do no harm (nobody writes them), a missing one does. Pure functions over str.
"""

from __future__ import annotations

from itertools import product

LANGUAGES = frozenset({"ru", "uk", "pl", "cs", "bg"})
_NOUN: dict[str, tuple[tuple[str, str], ...]] = {
    # ending of the nominative -> endings of all cases; the longest that fits is taken
    "ru": (
        ("ия", "ия ии ию ией иею ий"),
        ("ье", "ье ья ью ьем"),
        ("а", "а ы и е у ой ою"),
        ("я", "я и е ю ей ёй"),
        ("ы", "ы  ов ам ами ах"),
        ("и", "и  ов ей ам ами ах"),
        ("ь", "ь я и ю ем ью е"),
        ("й", "й я ю ем е и"),
        ("во", "во ва ву вом ве"),
        ("но", "но на ну ном не"),
    ),
    "uk": (
        ("ія", "ія ії ію ією іє ій"),
        ("а", "а и і у ою"),
        ("я", "я і ю ею"),
        ("и", "и  ів ам ами ах"),
        ("ь", "ь я ю ем і ю"),
        ("й", "й ю єм ї я"),
        ("о", "о а у ом і"),
    ),
    "pl": (
        ("ia", "ia ii ię ią io"),
        ("ja", "ja ji ję ją jo"),
        ("ka", "ka ki kę ką ce"),
        ("ga", "ga gi gę gą dze"),
        ("ra", "ra ry rę rą rze"),
        ("na", "na ny nę ną nie"),
        ("da", "da dy dę dą dzie"),
        ("ta", "ta ty tę tą cie"),
        ("a", "a y i ę ą ie"),
        ("o", "o a u em ie"),
        ("y", "y  om ami ach ech"),
        ("n", "n na nu nem nie nowi"),
    ),
    "cs": (
        ("ie", "ie ii ií i"),
        ("o", "o a u em"),
        ("a", "a y ě e u ou"),
        ("y", "y  ů ům ech"),
        ("í", "í"),
    ),
    "bg": (("", " ът а я"),),
}
_CONSONANT = {"ru": " а у ом ем е", "uk": " у а ом і ові", "pl": " u a owi em ie", "cs": " u a em ě e i", "bg": ""}
_ADJECTIVE_IN_NAME: dict[str, tuple[tuple[str, str], ...]] = {
    "ru": (("ая", "ая ой ую ою"), ("ые", "ые ых ым ыми"), ("ий", "ий ого ому им ом"), ("ый", "ый ого ому ым ом"),
           ("ое", "ое ого ому ым ом"), ("ие", "ие их им ими")),
    "uk": (("а", "а ої ій у ою"), ("і", "і их им ими"), ("е", "е ого ому им"), ("ий", "ий ого ому им")),
    "pl": (("a", "a ej iej ą"), ("e", "e ych ym ymi ich im imi"), ("ie", "ie iego iemu im")),
    "cs": (("á", "á é ou"), ("í", "í"), ("é", "é ých ým ými ého ému ém")),
    "bg": (),
}  # fmt: skip
_ADJECTIVE = {
    "ru": "ий ая ое ие ого ому им ом ой ую ою их ими о и",
    "uk": "ий а е і ого ому им ої ій у ою их ими о",
    "pl": "i a ie iego iemu im iej ą ich imi u o y e ego emu ym ej ych ymi",
    "cs": "ý á é ého ému ým ou ých ými ém y o ý",
    "bg": "и ия ият а ата о ото ите",
}
_LETTERS_OF_VOWELS = "аеёиоуыэюяіїєaeiouyąęáéíóúýě"


def _endings(word: str, table: tuple[tuple[str, str], ...]) -> list[str] | None:
    for ending, forms in sorted(table, key=lambda row: -len(row[0])):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word[: len(word) - len(ending)]
            return [stem + form for form in dict.fromkeys(forms.split(" "))]
    return None


def noun(word: str, language: str) -> list[str]:
    """Return the forms of one noun; a word of another shape stands alone."""
    forms = _endings(word, _NOUN[language])
    if forms is None and word[-1:].isalpha() and word[-1].lower() not in _LETTERS_OF_VOWELS and not word.isupper():
        forms = [word + ending for ending in _CONSONANT[language].split(" ")]
    return list(dict.fromkeys([word, *(forms or [])]))


def name(words: str, language: str) -> list[str]:
    """Return the forms of a name of one or two words (adjective and noun); longer names are left as they are."""
    parts = words.split(" ")
    if len(parts) == 1:
        return noun(words, language)
    if len(parts) == 2 and (first := _endings(parts[0], _ADJECTIVE_IN_NAME[language])):
        return [" ".join(form) for form in product(dict.fromkeys([parts[0], *first]), noun(parts[1], language))]
    return [words]


def adjective(stem: str, language: str) -> list[str]:
    """Return the forms of an adjective given by its stem, in lower case and capitalised."""
    forms = [stem + ending for ending in _ADJECTIVE[language].split(" ")]
    return [*forms, *(form[0].upper() + form[1:] for form in forms)]


def inhabitant(word: str) -> list[str]:
    """Return the forms of a Russian noun for a person (китаец, россиянин, гречанка), lower case and capitalised."""
    if word.endswith("ец"):
        stem = word[:-2] + ("йц" if word[-3] in _LETTERS_OF_VOWELS else "ц")
        forms = [word, *(stem + ending for ending in "а у ем е ы ев ам ами ах".split())]
    elif word.endswith(("анин", "янин")):
        forms = [*noun(word, "ru"), *(word[:-2] + ending for ending in "е  ам ами ах".split(" "))]
    elif word.endswith("ка"):
        forms = [*noun(word, "ru"), word[:-2] + "ок", *(word[:-1] + ending for ending in "ам ами ах".split())]
    elif word.endswith("ие"):
        forms = [word[:-1] + ending for ending in "е х м ми".split()]
    else:
        forms = [*noun(word, "ru"), *(word + ending for ending in "ы и ов ам ами ах".split())]
    return [*forms, *(form[0].upper() + form[1:] for form in forms)]


def arabic(word: str) -> list[str]:
    """Return an Arabic name with the particles written onto it, and, of one word, its adjectives (روسيا: الروسية)."""
    forms = [word]
    if " " not in word and len(word) > 3:
        bare = word.removeprefix("ال")
        for ending in ("يا", "ة", "ا", "ي"):
            bare = bare.removesuffix(ending) if len(bare) - len(ending) > 1 else bare
        adjectives = [bare + ending for ending in ("ية", "يين", "يون", "يا")]
        if len(bare) > 3:
            adjectives.append(bare + "ي")
        forms += [form for adjective in adjectives for form in (adjective, "ال" + adjective)]
    attached = [particle + form for form in forms for particle in ("و", "ب", "ل", "ف")]
    attached += ["لل" + form.removeprefix("ال") for form in forms if form.startswith("ال")]
    return [*forms, *attached]
