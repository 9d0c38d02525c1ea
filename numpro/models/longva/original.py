"""LongVA-7B-DPO as it was published: a checkpoint in LLaVA's format, asked as our own LongVA."""

from pathlib import Path

from transformers import CLIPVisionModel, GenerationConfig

from numpro.models.longva.llava_format import (
    RENAMES,
    check_tensors,
    image_processor,
    read_config,
    read_tokenizer,
)
from numpro.models.longva.modeling import LongvaForConditionalGeneration
from numpro.models.longva.tensor_files import tensor_shapes, weight_files
from numpro.models.longva.video_model import Longva
from numpro.paths import find_model


def fetch(name: str) -> Path:
    """Return the folder of a checkpoint: here, or the hub's, which is fetched.

    Raises
    ------
    FileNotFoundError
        When it is neither.
    """
    where = find_model(name)
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    wanted = ["*.json", "*.txt", "*.safetensors", "*.bin"]
    try:
        return Path(snapshot_download(where, allow_patterns=wanted))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(f"no model at {name!r}: {error}") from error


def load_weights(folder: Path, vision_tower: str | None = None, **how) -> object:
    """Load a checkpoint in LLaVA's format into our class.

    Every name and shape is compared before a value is read; then the shards are read one by
    one into their places. Where the checkpoint has no tower inside, the one it names is loaded.

    Parameters
    ----------
    folder
        With ``config.json``, Qwen2's tokenizer and weights (safetensors or PyTorch).
    vision_tower
        Another place of the vision tower than ``config.json`` says.
    how
        As ``from_pretrained`` takes it: ``dtype``, ``attn_implementation``, ...

    Returns
    -------
    model : LongvaForConditionalGeneration
    tower : str
        The vision tower's name or folder.

    Raises
    ------
    ValueError
        For settings or tensors that are not LongVA's.
    FileNotFoundError
        When files, or the tower, are not there.
    """
    config, tower = read_config(folder, vision_tower)
    inside = check_tensors(folder, tensor_shapes(weight_files(folder)), config)
    model = LongvaForConditionalGeneration.from_pretrained(
        folder, config=config, key_mapping=RENAMES, **how
    )
    if not inside:
        how = {key: how[key] for key in ("dtype", "attn_implementation") if key in how}
        model.vision_tower = load_tower(tower, **how).to(model.device)
    text = config.text_config
    model.generation_config = GenerationConfig(
        eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
    )
    return model, tower


def load_tower(tower: str, **how) -> CLIPVisionModel:
    """Load the vision tower a checkpoint names but does not hold.

    Raises
    ------
    FileNotFoundError
        When its weights are neither here nor on the hub.
    """
    try:
        return CLIPVisionModel.from_pretrained(find_model(tower), **how)
    except OSError as error:
        raise FileNotFoundError(
            f"no vision tower at {tower!r}: the checkpoint names it and does not hold its weights; "
            f"fetch it: {error}"
        ) from error


class OriginalLongva(Longva):
    """LongVA in LLaVA's format (``lmms-lab/LongVA-7B-DPO``), optionally with its NumPro-FT.

    Prompts, sharing and answers are those of `Longva`. The published evaluation gives all
    frames as one ``<image>`` in the conversation "qwen_1_5"; its tokens are the same as here.
    """

    @classmethod
    def read(cls, name: str, how: dict, vision_tower: str | None = None) -> "OriginalLongva":
        """Read a checkpoint in LLaVA's format.

        `vision_tower` is another place of the tower than the checkpoint names.
        """
        folder = fetch(name)
        model, tower = load_weights(folder, vision_tower, **how)
        return cls(name, model, read_tokenizer(folder), image_processor(model.config, tower))
