"""The words of ``words.yaml``, and patterns that name them by their meaning."""

import re
from pathlib import Path

import yaml

WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
_MEANINGS = {name: "|".join(forms.values()) for name, forms in WORDS["meanings"].items()}


def words(pattern: str) -> re.Pattern:
    """Compile a pattern in which ``@name`` stands for the words of that meaning."""
    while re.search("@[a-z]", pattern):  # words may name others
        pattern = re.sub("@([a-z]+)", lambda m: f"(?:{_MEANINGS.get(m[1], m[1])})", pattern)
    return re.compile(pattern)
