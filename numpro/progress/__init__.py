"""How far long work is: a bar in a notebook or on a terminal, lines in a log.

In come the items of a loop, or how many there will be. Out comes `tqdm`'s bar, in the form that
fits the place, or nothing where nobody looks.
"""

import lazy_loader

_NAMES = {"bars": ["Lines", "in_live_notebook", "progress_bar"]}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
