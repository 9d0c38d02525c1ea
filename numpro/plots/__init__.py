"""Every picture of the workbook, in one look.

Each function takes what the package made (clips, prediction rows, score rows, logs) and returns
a matplotlib Figure, to be saved with ``savefig`` or shown with ``plt.show()`` where pyplot was
imported before. Truth is a green bar with up-turned ends; what a model said is a hatched orange bar
below it. Nothing is told by colour alone.
"""

from numpro.plots.charts import design_heatmaps, loss_curves, saliency_plot, timelines
from numpro.plots.scores import length_curve, recall_curve, score_bars, score_table
from numpro.plots.strips import compare_strip, contact_strip, failure_gallery

__all__ = ["compare_strip", "contact_strip", "design_heatmaps", "failure_gallery", "saliency_plot"]
__all__ += ["length_curve", "loss_curves", "recall_curve", "score_bars", "score_table", "timelines"]
