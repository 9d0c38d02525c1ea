"""What is seen of a training while it runs: a bar, and in a notebook the loss as it falls."""

from types import SimpleNamespace

import pytest

from numpro.training import trainer


@pytest.fixture
def displayed(monkeypatch):
    """What is displayed: each time whether it takes the place of the one before."""
    found = []

    def display(picture, display_id, update):
        assert picture.data.startswith(b"\x89PNG")
        found.append((display_id, update))

    monkeypatch.setattr("IPython.display.display", display)
    return found


def train(progress):
    """Call the callback as a Trainer does, for two steps of four."""
    watch, history = trainer.Watch(progress), []
    state = SimpleNamespace(is_world_process_zero=True, max_steps=4, log_history=history)
    state.global_step = 0
    watch.on_train_begin(None, state, None)
    for step in (1, 2):
        state.global_step = step
        watch.on_step_end(None, state, None)
        history.append({"step": step, "loss": 3.0 / step})
        watch.on_log(None, state, None)
    watch.on_train_end(None, state, None)


def test_in_a_notebook_that_is_open_one_picture_follows_the_loss(monkeypatch, displayed, capsys):
    monkeypatch.setattr(trainer, "in_live_notebook", lambda: True)
    train(progress=True)
    assert [update for _, update in displayed] == [False, True]
    assert len({name for name, _ in displayed}) == 1
    bar = capsys.readouterr().err
    assert "training: " in bar and "2/4" in bar and "loss 1.500" in bar


def test_elsewhere_there_is_no_picture_and_what_is_hidden_stays_so(displayed, capsys):
    train(progress=True)
    assert displayed == [] and "loss 1.500" in capsys.readouterr().err
    train(progress=False)
    assert displayed == [] and capsys.readouterr().err == ""
