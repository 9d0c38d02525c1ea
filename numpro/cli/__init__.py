"""The ``numpro`` command: one subcommand for each step of the way from video to score.

In come files and names on the command line. Out come files, and lines for people or JSON.
A command says what it wrote and where. With ``--json`` standard output carries JSON and nothing
else; progress always goes to standard error. Bad input ends in one line and a non-zero status.

What each command takes stands in ``options.yaml``, longer texts for people in ``text/``.
"""

from numpro.cli import flipbook, scores, tuning, videos, workbook
from numpro.cli.base import main

__all__ = ["flipbook", "main", "scores", "tuning", "videos", "workbook"]
