"""Every picture of the workbook, in one look.

Each function takes what the package made (clips, prediction rows, score rows, logs) and returns
a matplotlib Figure, to be saved with ``savefig`` or shown with ``plt.show()`` where pyplot was
imported before. Truth is a green bar with up-turned ends; what a model said is a hatched orange bar
below it. Nothing is told by colour alone.
"""

from numpro.plots.charts import (
    attention_map,
    design_heatmaps,
    loss_curves,
    saliency_plot,
    timelines,
)
from numpro.plots.compared import answer_map, run_scores
from numpro.plots.scores import learning_curve, length_curve, recall_curve, score_bars, score_table
from numpro.plots.strips import compare_strip, contact_strip, failure_gallery

__all__ = ["compare_strip", "contact_strip", "design_heatmaps", "failure_gallery", "saliency_plot"]
__all__ += [
    "answer_map",
    "attention_map",
    "learning_curve",
    "length_curve",
    "loss_curves",
    "recall_curve",
    "run_scores",
    "score_bars",
    "score_table",
    "timelines",
]
