"""Throw-away notebooks, and the configuration of a tiny LongVA."""

import os
import re
from pathlib import Path

PARAMETERS = """\
fps: float = 1.0  # frames a second
limit: int = 3  # how many
video: str = "film"  # which one
positions: list[str] = ["center"]  # where
adapter: str | None = None  # a fine-tuned one
seed: int = 7  # of everything
run_dir: str = "papermill_runs/interactive"  # where results go
"""
PATH_VARIABLES = {"PYTHONPATH": os.environ["PYTHONPATH"]}


def write_notebook(
    path: Path, *cells: str, parameters: str = PARAMETERS, needs: dict[str, dict] | None = None
) -> Path:
    """Write a notebook of a title, a parameters cell and the code `cells`."""
    import nbformat

    new = nbformat.v4
    tagged = new.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    book = new.new_notebook(
        cells=[new.new_markdown_cell(f"# {path.stem}"), tagged, *map(new.new_code_cell, cells)],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    if needs is not None:
        book.metadata["numpro"] = {"needs": needs}
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


def longva_config(tokenizer, **text):
    """The configuration of a LongVA so small that a test may run it many times."""
    from numpro.models.longva.modeling import LongvaConfig

    return LongvaConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 96,
            "patch_size": 16,
            "projection_dim": 16,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": 0.3,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **text,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )


MACHINE_PATHS = re.compile(
    r"(?<![\w.~])/(home|root|Users|tmp|work|opt|mnt|usr|var)/|[A-Z]:\\\\|site-packages"
)
