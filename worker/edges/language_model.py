"""Load py3langid's model, once in a process, when the first text needs it (0.5 s, 100 MB)."""

from __future__ import annotations

from functools import cache
from typing import Any

from worker.stages.language import LANGUAGES


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415  (numpy and the model: only if asked)

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier


def classify(text: str) -> tuple[str, float]:
    """Return (ISO 639-1 code, probability 0-1)."""
    language, probability = _identifier().classify(text)
    return str(language), float(probability)
