"""The logs of trainings as pictures: rows with ``step`` and figures, as in ``log.csv``."""

from collections.abc import Mapping

import numpy as np

from numpro.plots import style

_PANELS = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "grad_norm": "norm of the gradient",
    "val_mIoU": "mIoU on held-out videos (%)",
}


def _series(log: style.Rows, key: str) -> np.ndarray:
    """Return steps and figures [2, N] of the rows that have this figure."""
    pairs = [(row["step"], row[key]) for row in log if row.get(key) is not None]
    return np.array(pairs, float).reshape(-1, 2).T


@style.styled()
def loss_curves(logs: Mapping[str, style.Rows], title: str = "") -> style.Figure:
    """Show the loss of one or more trainings against the step.

    Parameters
    ----------
    logs : dict of lists of dicts
        For each training its log: rows with ``step`` and ``loss``. One of more than 40 rows is
        drawn faint, with its running mean over it. Rows with ``val_mIoU`` are drawn beside it.
        More than four trainings are named below the picture.
    title : str, optional
        Above the picture.
    """
    style.check_named(logs, "logs", ("step", "loss"))
    scores = {name: _series(log, "val_mIoU") for name, log in logs.items()}
    fig = style.new_figure(3.6)
    panels = 1 + any(series.size for series in scores.values())
    ax, *beside = np.ravel(fig.subplots(1, panels))
    for number, (name, log) in enumerate(logs.items()):
        steps, loss = _series(log, "loss")
        look = style.line_look(number)
        if len(loss) > 40:
            ax.plot(steps, loss, color=look["color"], lw=0.8, alpha=0.35, gid="raw")
            near = np.ones(len(loss) // 20)  # the mean over neighbours; fewer of them at both ends
            loss = np.convolve(loss, near, "same") / np.convolve(loss * 0 + 1, near, "same")
        look["label"] = style.readable(name)
        ax.plot(steps, loss, markevery=max(1, len(loss) // 10), **look)
        if scores[name].size:
            beside[0].plot(*scores[name], **look)
    ax.set(ylabel="loss", ylim=(0, None), title=style.readable(title))
    for panel in beside:
        panel.set(ylabel=_PANELS["val_mIoU"], ylim=(0, 100))
    for panel in (ax, *beside):
        panel.set(xlabel="training step")
        panel.grid(axis="y")
    if len(logs) > 4:  # more names than there is room for between the lines
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        fig.set_figheight(fig.get_figheight() + 0.25 * -(-len(logs) // 3))
    else:
        ax.legend()
    return fig


@style.styled()
def training_curves(log: style.Rows, title: str = "") -> style.Figure:
    """Show loss, learning rate, gradient norm and validation of one training against the step.

    Parameters
    ----------
    log : list of dicts
        As in `loss_curves`; a panel without figures is left out.
    title : str, optional
        Above the picture.
    """
    style.check_rows(log, ("step", "loss"))
    shown = {name: series for name in _PANELS if (series := _series(log, name)).size}
    down = 2 if len(shown) == 4 else 1  # no place stays empty
    fig = style.new_figure(2.6 * down)
    axes = np.ravel(fig.subplots(down, len(shown) // down, squeeze=False))
    for number, (ax, (name, series)) in enumerate(zip(axes, shown.items(), strict=True)):
        look = style.line_look(number) | {"marker": "o" if name == "val_mIoU" else None}
        ax.plot(*series, gid=name, **look)
        ax.set(ylabel=_PANELS[name], xlabel="training step", ylim=(0, None))
        ax.grid(axis="y")
    axes[0].set_title(style.readable(title))  # a title of the figure would cut the first label
    return fig
