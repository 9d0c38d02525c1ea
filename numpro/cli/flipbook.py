"""``numpro flipbook``: make the embedded world again."""

import click


@click.group()
def flipbook() -> None:
    """Make the embedded world: its films and its tiny models."""


@flipbook.command(epilog="\b\nExample:\n  numpro flipbook make --split test")
@click.option("--split", "splits", multiple=True, help="Only this split (may be given again).")
def make(splits: tuple[str, ...]) -> None:
    """Render the films; those that are there are kept."""
    from numpro.flipbook.films import make_films
    from numpro.flipbook.world import SPLITS
    from numpro.paths import relative

    if unknown := [split for split in splits if split not in SPLITS]:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {unknown[0]!r}")
    for split in splits or SPLITS:
        click.echo(f"wrote {relative(make_films(split))}")


@flipbook.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def pretrain(arguments: tuple[str, ...]) -> None:
    """Train the tiny models from nothing; the options are those of the trainer (--help)."""
    from numpro.flipbook.pretraining.command import main

    main(list(arguments))


@flipbook.command(epilog="\b\nExample:\n  numpro flipbook publish papermill_runs/flipbook_full")
@click.argument("run", type=click.Path())
@click.option("--seed", type=int, default=0, show_default=True, help="Of the adapters taken.")
def publish(run: str, seed: int) -> None:
    """Copy a full run's adapters to data/flipbook/models, in bfloat16."""
    from numpro.flipbook.pretraining.export import publish_adapters
    from numpro.paths import flipbook_dir, relative, resolve

    for folder in publish_adapters(resolve(run), flipbook_dir("models"), seed):
        click.echo(f"wrote {relative(folder)}")
