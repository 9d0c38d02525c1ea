"""Runs of the notebooks, and what is made of their results.

In come notebooks and parameters. Out comes a run folder with executed notebooks, results.json and
a report; tables of runs beside each other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "comparison": ["leaderboard"],
        "exercises": ["Check"],
        "opening": ["load_benchmark", "open_run"],
        "markdown": ["markdown_table", "plain_text"],
        "runs": ["Run", "run_workbook"],
    },
)
