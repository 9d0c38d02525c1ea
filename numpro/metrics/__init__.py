"""Scores one can trust: with how many, how many unparsed, the interval, floor and ceiling."""

from numpro.metrics import baselines
from numpro.metrics.bootstrap import bootstrap_interval, paired_difference
from numpro.metrics.files import evaluate_highlight_predictions, evaluate_moment_predictions
from numpro.metrics.highlight_detection import highlight_detection, highlight_values
from numpro.metrics.moment_retrieval import moment_ious, moment_retrieval
from numpro.metrics.paper import PAPER_ROWS

__all__ = ["PAPER_ROWS", "baselines", "bootstrap_interval", "evaluate_highlight_predictions"]
__all__ += ["evaluate_moment_predictions", "highlight_detection", "highlight_values"]
__all__ += ["moment_ious", "moment_retrieval", "paired_difference"]
