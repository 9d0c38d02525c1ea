"""Where the embedded models come from; only notebook A1 and the command need it.

In come made-up scenes and their questions. Out come checkpoints under ``data/flipbook/models``, in
four resumable legs, each with a gate.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, ["language", "lessons", "pretrain"], {"symbols": ["write_symbols"]}
)
