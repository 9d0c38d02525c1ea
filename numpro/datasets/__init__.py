"""Datasets: one record type for all of them, one file for each of them.

In comes an annotation file, whatever its format. Out come `VideoQueries`: a video, its queries and
their truth as annotated; nothing is dropped, clipped or put in order here.
"""

import lazy_loader

_NAMES = {
    "loading": ["Loader", "Row", "measured"],
    "records": ["Query", "Saliency", "VideoQueries", "fingerprint"],
    "registry": ["DATASETS", "label_end", "load_dataset", "loader"],
    "sources": ["downloads", "sources"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
