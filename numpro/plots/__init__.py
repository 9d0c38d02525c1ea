"""Every picture of the workbook, in one look.

In comes what the package made: clips, prediction rows, score rows, logs; a `ValueError` names what
is malformed. Out comes a matplotlib Figure, to be saved with `save` or shown in a notebook with
`show`. What is drawn by hand takes the same look inside ``with styled():``. Truth is a green
bar with up-turned ends; an answer is a hatched orange bar below it: never colour alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "compared": ["design_heatmaps", "dots", "run_scores"],
        "moments": ["answer_map", "attention_map", "moment_map", "saliency_plot", "timelines"],
        "scores": ["learning_curve", "length_curve", "recall_bars", "recall_curve", "score_bars"]
        + ["trust_curves"],
        "strips": ["compare_strip", "contact_strip", "failure_gallery"],
        "style": ["line_look", "save", "show", "styled"],
        "training": ["loss_curves", "training_curves"],
    },
)
