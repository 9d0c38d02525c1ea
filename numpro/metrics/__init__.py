"""Scores one can trust: with how many, how many unparsed, the interval, floor and ceiling.

In come answers and truth: spans or clip scores in the flat order of a dataset, or files of them,
one's own and others'. Out come scores in percent with 95 % intervals, score rows and their tables.
"""

import lazy_loader

_NAMES = {
    "bootstrap": ["bootstrap_interval", "paired_difference"],
    "breakdown": ["breakdown"],
    "conventions": ["CONVENTIONS"],
    "files": ["convention_cells", "evaluate_moment_predictions"],
    "highlight_detection": ["highlight_detection", "highlight_values"],
    "moment_retrieval": ["moment_ious", "moment_retrieval"],
    "official": ["evaluate_highlight_predictions", "write_moment_detr"],
    "paper": ["PAPER_ROWS", "PAPER_STUDIES", "beside_paper"],
    "ranked": ["confidences", "fit_calibration", "ranked_retrieval", "trust"],
    "tables": ["group_scores", "headline", "table_cells"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["baselines"], _NAMES)
