"""The words of ``words.yaml``, patterns that name them by their meaning, and what is rewritten."""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

WORDS = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
_MEANINGS = {name: "|".join(forms.values()) for name, forms in WORDS["meanings"].items()}


def words(pattern: str) -> re.Pattern:
    """Compile a pattern in which ``@name`` stands for the words of that meaning."""
    while re.search("@[a-z]", pattern):  # words may name others
        pattern = re.sub("@([a-z]+)", lambda m: f"(?:{_MEANINGS.get(m[1], m[1])})", pattern)
    return re.compile(pattern)


def rewriter(name: str, **functions: Callable[[re.Match], str]) -> Callable[[str], str]:
    """Return what rewrites a text by the rules of a name; `functions` are those that rules name."""
    rules = [(rule.get("signs"), words(rule["find"]), rule) for rule in WORDS["rewritings"][name]]
    steps = [(s, p, functions[r["by"]] if "by" in r else r["put"]) for s, p, r in rules]

    def rewrite(text: str) -> str:
        for signs, pattern, new in steps:
            if not signs or any(sign in text for sign in signs):
                text = pattern.sub(new, text)
        return text

    return rewrite
