"""Every picture of the workbook, in one look.

Each function takes what the package made (clips, prediction rows, score rows, logs) and returns
a matplotlib Figure, to be saved with ``savefig`` or shown in a notebook with `show`. What is drawn
by hand takes the same look inside ``with styled():``. Truth is a green bar with up-turned ends;
what a model said is a hatched orange bar below it. Nothing is told by colour alone.
"""

from numpro.plots.charts import design_heatmaps, loss_curves
from numpro.plots.compared import answer_map, dots, run_scores
from numpro.plots.moments import attention_map, saliency_plot, timelines
from numpro.plots.scores import learning_curve, length_curve, recall_curve, score_bars
from numpro.plots.strips import compare_strip, contact_strip, failure_gallery
from numpro.plots.style import line_look, show, styled
from numpro.plots.training import training_curves

__all__ = ["compare_strip", "contact_strip", "design_heatmaps", "failure_gallery", "saliency_plot"]
__all__ += [
    "answer_map",
    "attention_map",
    "dots",
    "learning_curve",
    "length_curve",
    "line_look",
    "loss_curves",
    "recall_curve",
    "run_scores",
    "score_bars",
    "show",
    "styled",
    "timelines",
    "training_curves",
]
