"""A training's log as a picture."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from numpro.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "grad_norm": "norm of the gradient",
    "val_mIoU": "mIoU on held-out videos (%)",
}


@style.styled()
def training_curves(log: Sequence[Mapping], title: str | None = None) -> "Figure":
    """Show loss, learning rate, gradient norm and validation of one training against the step.

    Parameters
    ----------
    log : list of dicts
        As in an adapter's ``log.csv``; a panel without figures is left out.
    title : str, optional
        Above the picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        When there are no rows.
    """
    style.check_rows(log, ("step", "loss"))
    shown = [name for name in _PANELS if any(row.get(name) is not None for row in log)]
    fig = style.new_figure(2.6 * ((len(shown) + 1) // 2), layout="constrained")
    axes = np.ravel(fig.subplots((len(shown) + 1) // 2, 2, squeeze=False))
    for number, (ax, name) in enumerate(zip(axes, shown, strict=False)):
        pairs = [(row["step"], row[name]) for row in log if row.get(name) is not None]
        look = style.line_look(number) | {"marker": "o" if name == "val_mIoU" else None}
        ax.plot(*np.array(pairs, float).T, gid=name, **look)
        ax.set(ylabel=_PANELS[name], xlabel="training step", ylim=(0, None))
        ax.grid(axis="y")
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    if title:
        fig.suptitle(style.readable(title), x=0.01, ha="left", weight="bold", fontsize=11)
    return fig
