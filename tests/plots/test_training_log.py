"""A training's log becomes a picture."""

from numpro.plots import training_curves


def test_a_log_becomes_a_picture_of_what_it_holds():
    log = [
        {"step": s, "loss": 3 - s, "learning_rate": 1e-3, "grad_norm": 1.0, "val_mIoU": None}
        for s in (1, 2)
    ]
    shown = [ax for ax in training_curves(log).axes if ax.get_visible()]
    assert [ax.lines[0].get_gid() for ax in shown] == ["loss", "learning_rate", "grad_norm"]
    scored = [*log, dict.fromkeys(log[0]) | {"step": 2, "val_mIoU": 40.0}]
    last = training_curves(scored).axes[3].lines[0]
    assert last.get_gid() == "val_mIoU" and last.get_ydata().tolist() == [40.0]
