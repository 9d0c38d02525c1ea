"""``numpro flipbook``: make the embedded world again."""

from numpro.cli.base import main, say, tell
from numpro.flipbook.world import SPLITS
from numpro.paths import flipbook_dir, relative, resolve


@main.group()
def flipbook() -> None:
    """Make the embedded world: its films and its tiny models."""


@flipbook.command()
def make(splits) -> None:
    """Render the films; those that are there are kept.

    Example:
      numpro flipbook make --split test
    """
    from numpro.flipbook.films import make_films

    made = [relative(make_films(split)) for split in splits or SPLITS]
    say({"out": made}, *(f"wrote {folder}" for folder in made))


@flipbook.command()
def pretrain(**options) -> None:
    """Make the tiny CLIP and the tiny LongVA from nothing, in resumable legs.

    The LEGS are language, eyes, align and sight; by default all, one after another.

    Example:
      numpro flipbook pretrain --work data/flipbook/pretraining --minutes 60
    """
    from numpro.flipbook.pretraining.command import pretrain_models

    made = [relative(folder) for folder in pretrain_models(**options, echo=tell)]
    say({"out": made}, *(f"wrote {folder}" for folder in made))


@flipbook.command()
def publish(run, seed) -> None:
    """Copy a full run's adapters to data/flipbook/models, in bfloat16.

    Example:
      numpro flipbook publish papermill_runs/flipbook_full
    """
    from numpro.flipbook.pretraining.export import publish_adapters

    made = [relative(f) for f in publish_adapters(resolve(run), flipbook_dir("models"), seed)]
    say({"out": made}, *(f"wrote {folder}" for folder in made))
