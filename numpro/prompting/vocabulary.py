"""The words of ``words.yaml``, patterns that name them by their meaning, and what is rewritten."""

import re
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from numpro.paths import yaml_beside

WORDS = yaml_beside(__file__, "words.yaml")
_MEANINGS = {name: "|".join(forms.values()) for name, forms in WORDS["meanings"].items()}


def words(pattern: str) -> re.Pattern:
    """Compile a pattern in which ``@name`` stands for the words of that meaning."""
    while re.search("@[a-z]", pattern):  # words may name others
        pattern = re.sub("@([a-z]+)", lambda m: f"(?:{_MEANINGS.get(m[1], m[1])})", pattern)
    return re.compile(pattern)


def patterns(kind: str) -> SimpleNamespace:
    """Return the compiled patterns of a kind, by name."""
    listed = WORDS["patterns"][kind].items()
    return SimpleNamespace(**{name: words("".join(parts)) for name, parts in listed})


def rewriter(name: str, **functions: Callable[[re.Match], str]) -> Callable[[str], str]:
    """Return what rewrites a text by the rules of a name; `functions` are those that rules name."""
    steps = []
    for rule in WORDS["rewritings"][name]:
        new = functions[rule["by"]] if "by" in rule else rule["put"]
        if isinstance(new, str) and "\\" in new:  # read at a match only: most rules have none
            new = partial(lambda template, match: match.expand(template), new)
        steps.append((rule.get("signs"), words(rule["find"]).sub, new))

    def rewrite(text: str) -> str:
        for signs, substitute, new in steps:
            if not signs or any(sign in text for sign in signs):
                text = substitute(new, text)
        return text

    return rewrite
