"""The study of number styles: whether CLIP reads the number and still sees the picture.

Section 3.3 of the paper: numbers are drawn on captioned pictures; from the picture's embedding
the caption is told among all captions and the number among all number words. A style is good
when the number is read and the caption is not lost.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel
from transformers.utils import logging

from numpro.flipbook import scenes, world
from numpro.models import pick_device
from numpro.numbers import POSITIONS, NumberStyle, number_frames
from numpro.paths import find, find_model
from numpro.progress import progress_bar

SIZES = (20, 40, 60, 80)
COLORS = ("red", "blue", "green", "black")


class CaptionedPicture(NamedTuple):
    """A picture, uint8 [H, W, 3], and what it shows in words."""

    image: np.ndarray
    caption: str


def flipbook_pictures(count: int, seed: int = 0) -> list[CaptionedPicture]:
    """Draw pictures of the flipbook world with their captions, all captions different."""
    rng = np.random.default_rng([5, seed])
    found: dict[str, CaptionedPicture] = {}
    while len(found) < count:
        panel = scenes.loose_panels(rng, 1, numbered=False)[0]
        caption = scenes.describe(panel.named)
        if caption not in found:
            image = world.draw_panel(panel, (5, seed, len(found)), rng)
            found[caption] = CaptionedPicture(image, caption)
    return list(found.values())


def folder_pictures(
    folder: str, count: int, size: tuple[int, int] = (336, 336)
) -> list[CaptionedPicture]:
    """Read captioned pictures, such as COCO's: a folder with ``captions.json``.

    Parameters
    ----------
    folder
        Holds ``captions.json``: COCO's own layout (``images``, ``annotations``), or a plain
        object ``{"file name": "caption"}``. File names count from the folder.
    count
        Take the first that exist.
    size
        Pictures are resized to (width, height), 336 x 336 in the paper.

    Raises
    ------
    FileNotFoundError
        When there is no ``captions.json`` or no picture of it.
    ValueError
        When it has neither layout, or a name leads out of the folder.
    """
    base = find(folder)
    listed = base / "captions.json"
    if not listed.is_file():
        raise FileNotFoundError(f"{base} must hold captions.json (COCO's, or file name: caption)")
    captions = json.loads(listed.read_text(encoding="utf-8"))
    if not isinstance(captions, dict):
        raise ValueError(f"{listed} must be a JSON object; got {type(captions).__name__}")
    if "annotations" in captions:
        try:
            names = {image["id"]: image["file_name"] for image in captions["images"]}
            # of the captions of a picture the first counts
            rows = reversed(captions["annotations"])
            captions = {names[row["image_id"]]: row["caption"] for row in rows}
        except (KeyError, TypeError) as error:
            raise ValueError(f"{listed} is not laid out as COCO's: {error!r}") from error
    pictures = []
    for name, caption in sorted(captions.items()):
        path = (base / name).resolve()
        if not path.is_relative_to(base.resolve()):
            raise ValueError(f"{listed} names a file outside its folder: {name!r}")
        if path.is_file() and len(pictures) < count:
            with Image.open(path) as image:
                small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
            pictures.append(CaptionedPicture(np.asarray(small), str(caption).strip()))
    if not pictures:
        raise FileNotFoundError(f"none of the {len(captions)} pictures of {listed} is there")
    return pictures


def load_pictures(folder: str, count: int, seed: int = 0) -> list[CaptionedPicture]:
    """Return pictures of a folder (`folder_pictures`), or of the flipbook world for ``""``."""
    return folder_pictures(folder, count) if folder else flipbook_pictures(count, seed)


class ClipEncoder:
    """A CLIP checkpoint: pictures and texts to normalised embeddings."""

    def __init__(self, name: str, device: str = "auto"):
        logging.disable_progress_bar()
        folder = find_model(name)
        # float32: in bfloat16 neighbouring texts tie
        model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        self.model = model.to(pick_device(device)).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = CLIPImageProcessorPil.from_pretrained(folder)

    def see(self, images: Sequence[np.ndarray], batch: int = 64) -> np.ndarray:
        """Embed pictures: float32 [N, D], each of length 1."""
        return self._embed(images, batch, self.processor, self.model.get_image_features)

    def read(self, texts: Sequence[str], batch: int = 256) -> np.ndarray:
        """Embed texts: float32 [N, D], each of length 1."""
        most = self.model.config.text_config.max_position_embeddings
        shape = {"padding": True, "padding_side": "right", "truncation": True, "max_length": most}
        tokenize = partial(self.tokenizer, return_token_type_ids=False, **shape)
        return self._embed(texts, batch, tokenize, self.model.get_text_features)

    @torch.inference_mode()
    def _embed(
        self, items: Sequence, batch: int, prepare: Callable, features: Callable
    ) -> np.ndarray:
        """Return the unit embeddings of pictures or texts, prepared and encoded in batches."""
        parts = []
        for first in range(0, len(items), batch):
            inputs = prepare(list(items[first : first + batch]), return_tensors="pt")
            parts.append(features(**inputs.to(self.model.device)).pooler_output.cpu().numpy())
        vectors = np.concatenate(parts)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def study(
    clip: ClipEncoder, pictures: Sequence[CaptionedPicture], positions: Sequence[str] = POSITIONS,
    sizes: Sequence[int] = SIZES, colors: Sequence[str] = COLORS, numbers: int = 100, seed: int = 0,
    progress: bool | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Measure number and caption accuracy for every style.

    Parameters
    ----------
    clip
        Which CLIP looks.
    pictures
        Captioned pictures; picture i carries a seeded random number below `numbers`.
    positions, sizes, colors
        The styles: their product is measured.
    numbers
        How many numbers there are to choose from (the paper: 100).

    Returns
    -------
    pandas.DataFrame
        One row a style: position, size, color, number_accuracy, caption_accuracy (percent),
        and a first row without number (position ``"none"``) with the caption accuracy alone.
    """
    drawn = np.random.default_rng(seed).integers(0, numbers, len(pictures))
    order = np.arange(len(pictures))
    captions = clip.read([p.caption for p in pictures])
    words = clip.read([str(n) for n in range(numbers)])
    images = np.stack([p.image for p in pictures])
    rows = [("none", 0, "none", float("nan"), _accuracy(clip.see(images), captions, order))]

    styles = [NumberStyle(p, s, c) for c in colors for p in positions for s in sizes]

    def look(style: NumberStyle) -> np.ndarray:
        return clip.see(number_frames(images, style, drawn.tolist()))

    # pictures are drawn and made small on one core while the model looks on the other
    with ThreadPoolExecutor(2) as pool:
        bar = progress_bar(styles, "number styles", unit="style", progress=progress)
        for style, embeddings in zip(bar, pool.map(look, styles), strict=True):
            read, kept = _accuracy(embeddings, words, drawn), _accuracy(embeddings, captions, order)
            rows.append((style.position, style.size, style.color, read, kept))
    columns = ["position", "size", "color", "number_accuracy", "caption_accuracy"]
    return pd.DataFrame(rows, columns=columns)


def _accuracy(embeddings: np.ndarray, choices: np.ndarray, truth: np.ndarray) -> float:
    return 100.0 * float(((embeddings @ choices.T).argmax(1) == truth).mean())


def choose(table: pd.DataFrame) -> NumberStyle:
    """Return the style of best balance: the largest product of the two accuracies.

    The paper weighs by eye ("best balance"); the product is the share of pictures on which
    both would be right if the two were independent. Ties go to the earlier row.
    """
    styles = table[table["position"] != "none"]
    best = styles.loc[(styles["number_accuracy"] * styles["caption_accuracy"]).idxmax()]
    return NumberStyle(str(best["position"]), int(best["size"]), str(best["color"]))
