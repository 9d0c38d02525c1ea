"""A model on videos: a whole dataset, resumable, or one video of your own.

In come `VideoQueries` and a `VideoModel`. Out come rows, one a query, appended to a file as they
are answered (`predict`), or for one video the moment, its seconds and the film of it.
"""

import lazy_loader

_NAMES = {
    "execution": ["Execution"],
    "prediction": ["predict"],
    "prediction_files": ["merge_shards", "read_rows"],
    "one_video": ["cut_out", "find_moment"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
