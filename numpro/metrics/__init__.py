"""Scores one can trust: with how many, how many unparsed, the interval, floor and ceiling.

In come answers and truth: spans or clip scores in the flat order of a dataset, or files of them,
one's own and others'. Out come scores in percent with 95 % intervals, score rows and their tables.
"""

from numpro.metrics import baselines
from numpro.metrics.bootstrap import bootstrap_interval, paired_difference
from numpro.metrics.breakdown import breakdown
from numpro.metrics.conventions import CONVENTIONS
from numpro.metrics.files import convention_cells, evaluate_moment_predictions
from numpro.metrics.highlight_detection import highlight_detection, highlight_values
from numpro.metrics.moment_retrieval import moment_ious, moment_retrieval
from numpro.metrics.official import evaluate_highlight_predictions, write_moment_detr
from numpro.metrics.paper import PAPER_ROWS, PAPER_STUDIES, beside_paper
from numpro.metrics.ranked import confidences, fit_calibration, ranked_retrieval, trust
from numpro.metrics.tables import group_scores, headline, table_cells

__all__ = ["CONVENTIONS", "PAPER_ROWS", "PAPER_STUDIES", "baselines", "beside_paper"]
__all__ += ["bootstrap_interval", "breakdown", "confidences", "convention_cells"]
__all__ += ["evaluate_highlight_predictions", "fit_calibration", "ranked_retrieval", "trust"]
__all__ += ["evaluate_moment_predictions", "group_scores", "headline", "highlight_detection"]
__all__ += ["highlight_values", "moment_ious", "moment_retrieval", "paired_difference"]
__all__ += ["table_cells", "write_moment_detr"]
