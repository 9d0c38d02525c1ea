"""TimeLens-Bench (Zhang et al. 2026, arXiv 2512.14698): three test sets annotated again.

``charades-timelens.json``, ``activitynet-timelens.json`` and ``qvhighlights-timelens.json`` have
the form of `numpro.datasets.grouped_json` with ``spans`` and ``queries``; the splits are these
three. Videos lie in ``videos/charades`` and so on, as their archives unpack. (The authors' own
evaluation also takes the final period from a query; here it stays.)
"""

from numpro.datasets.grouped_json import GroupedJson


class TimelensBench(GroupedJson):
    """TimeLens-Bench as published; each of its test sets is a split."""

    files = {s: (f"{s}-timelens.json",) for s in ("charades", "activitynet", "qvhighlights")}
    folders = ("videos/{split}", "video_shards/{split}", "videos", ".")
