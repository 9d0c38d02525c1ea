"""A tokenizer for prompts that are mostly visual tokens."""

import re
from collections.abc import Collection

from transformers import BatchEncoding, PreTrainedTokenizerBase


class RunTokenizer:
    """A tokenizer that reads a run of one visual token as one, and then repeats it.

    The tokens are the same, and it need not look through thousands of them for every question.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, visual: Collection[int]):
        self._inner, self._visual = tokenizer, visual
        tokens = "|".join(map(re.escape, tokenizer.convert_ids_to_tokens(sorted(visual))))
        self._runs = re.compile(rf"({tokens})\1*")

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def __call__(
        self, text: list[str], return_tensors: str | None = None, **kwargs
    ) -> BatchEncoding:
        """Tokenize texts, as a tokenizer of the library does."""
        counts = [len(run[0]) // len(run[1]) for one in text for run in self._runs.finditer(one)]
        short = [self._runs.sub(r"\1", one) for one in text]
        rest, rows = iter(counts), []
        for row in self._inner(short, **kwargs)["input_ids"]:
            runs = ([i] * next(rest) if i in self._visual else [i] for i in row)
            rows.append([i for run in runs for i in run])
        masks = [[1] * len(row) for row in rows]
        return BatchEncoding({"input_ids": rows, "attention_mask": masks}, None, return_tensors)
