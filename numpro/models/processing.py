"""The processor a checkpoint brings: how it is read, and what each class has to be asked.

It is the transformers library's own class. Images are prepared by its Pillow variant where it has
one, so that a frame is the same with and without torchvision; videos need torchvision, but for
Qwen's.
"""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, PreTrainedConfig, ProcessorMixin

# from their own modules: the library's front (5.17) hides them where torchvision is missing
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.utils import is_torchvision_available
from transformers.video_utils import make_batched_metadata

from numpro.models import files
from numpro.models.base import warn_cropped
from numpro.models.pixels import quicken

# what all frames are, so that nothing is converted or guessed
_BYTES = {"do_convert_rgb": False, "input_data_format": "channels_last"}


def read_processor(folder: str, config: PreTrainedConfig, as_video: bool) -> ProcessorMixin:
    """Read a checkpoint's own processor.

    Parameters
    ----------
    folder
        The checkpoint: folder or hub id.
    config
        Its configuration.
    as_video
        Whether frames will go in as one video.

    Raises
    ------
    FileNotFoundError
        When a file it needs is not in the folder, naming the file.
    ImportError
        When the class needs a package that is not installed, naming the package.
    ValueError
        When the library has no processor for the class, or a checkpoint has no chat template.
    """
    kind = config.model_type
    if type(config) not in PROCESSOR_MAPPING:
        raise ValueError(f"transformers has no processor for {kind}, so frames cannot be given")
    files.need_file(folder, *files.TOKENIZER)
    files.need_file(folder, *files.PREPROCESSOR)
    try:
        theirs = PROCESSOR_MAPPING[type(config)]
    except ImportError as error:
        if is_torchvision_available():
            raise
        raise _needs_torchvision(kind, "") from error
    if as_video and "video_processor" not in theirs.get_attributes():
        raise ValueError(f"{kind} takes no video; use frames_as='images'")
    # Pillow's and the stand-ins of this file are not of the class the library looks for
    lenient = {"check_argument_for_proper_class": lambda *_: None, "__repr__": object.__repr__}
    made = type(theirs.__name__, (theirs,), lenient)
    parts = [_read_part(name, folder, config, as_video) for name in made.get_attributes()]
    settings, more = made.get_processor_dict(folder)
    processor = made.from_args_and_dict(parts, settings, **more)
    processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
    files.need_template(folder, processor.chat_template)
    if kind == "llava_next_video" and not as_video:
        PooledFrames.replace_images(processor, config)
    return processor


def _read_part(name: str, folder: str, config: PreTrainedConfig, as_video: bool) -> object:
    """Read one part of a processor by the name of its argument."""
    ours = {"trust_remote_code": False}
    if "tokenizer" in name:
        return AutoTokenizer.from_pretrained(folder, **ours)
    if name == "video_processor":
        return _read_video_part(folder, config, as_video)
    if name != "image_processor":
        from transformers import AutoFeatureExtractor

        return AutoFeatureExtractor.from_pretrained(folder, **ours)
    try:
        return quicken(AutoImageProcessor.from_pretrained(folder, backend="pil", **ours))
    except (ImportError, ValueError) as error:
        if is_torchvision_available():
            raise
        raise _needs_torchvision(config.model_type, "") from error


def _needs_torchvision(kind: str, advice: str) -> ImportError:
    needed = f"needs torchvision for {kind}; install the one that belongs to your torch"
    return ImportError(f"this checkpoint {needed}{advice}")


def _read_video_part(folder: str, config: PreTrainedConfig, as_video: bool) -> object:
    """Read the video processor; without torchvision, only its settings where they are enough."""
    if is_torchvision_available():
        from transformers import AutoVideoProcessor

        return AutoVideoProcessor.from_pretrained(folder, trust_remote_code=False)
    names = (files.PREPROCESSOR[0], "video_preprocessor_config.json", files.PREPROCESSOR[1])
    paths = [files.find_file(folder, name) for name in names]
    first, second, both = (files.read_json(Path(path)) if path else {} for path in paths)
    settings = both.get("video_processor", second or first)
    if not as_video:
        return _Settings(**settings)
    if settings.get("video_processor_type") not in files.FACTS["qwen_videos"]:
        raise _needs_torchvision(config.model_type, ", or use frames_as='images'")
    return QwenVideo(settings, config.vision_config)


def refuse_unknown_arguments(
    who: str, given: Mapping, known: Collection[str], where: str = ""
) -> None:
    """Refuse names that are not known, with those near them."""
    if unknown := sorted(set(given) - set(known)):
        near = {n for name in unknown for n in get_close_matches(name, known, 3, 0.5)}
        hint = f"; near are {', '.join(sorted(near))}" if near else ""
        raise ValueError(f"{who} has no argument {', '.join(unknown)}{where}{hint}")


def arrange_arguments(
    processor: ProcessorMixin, kind: str, as_video: bool, given: Mapping
) -> dict:  # fmt: skip
    """Return the arguments of a processor's call, each in the place the library reads it from.

    Parameters
    ----------
    processor, kind
        From `read_processor`; the model type of its checkpoint.
    as_video
        Whether frames go in as one video.
    given
        The user's ``processor_kwargs``; they go over the ``arguments`` of facts.yaml.

    Raises
    ------
    ValueError
        For a name that this processor does not take.
    """
    part = processor.video_processor if as_video else processor.image_processor
    place = "videos_kwargs" if as_video else "images_kwargs"
    every = processor.valid_processor_kwargs.__annotations__
    inner = {*every[place].__annotations__}
    inner |= {*getattr(getattr(part, "valid_kwargs", None), "__annotations__", {})}
    outer = {name for name in every if not name.endswith("_kwargs")}
    who = f"processor_kwargs: the processor of {kind}"
    refuse_unknown_arguments(who, given, inner | outer, f" for {place.removesuffix('_kwargs')}")
    ours = {**_BYTES, **files.FACTS["arguments"].get(kind, {})}
    every = {n: v for n, v in ours.items() if n in inner | outer} | dict(given)
    flat = {name: value for name, value in every.items() if name in outer}
    return flat | {place: {n: v for n, v in every.items() if n not in outer}}


class _Settings(SimpleNamespace):
    """A video processor's settings, which its processor looks into; nothing is asked of it."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class QwenVideo(SimpleNamespace):
    """What Qwen's video processors make of frames, without torchvision: the same bits.

    Resizing is torchvision's for bytes: bicubic, antialiased, rounded.
    """

    def __init__(self, settings: dict, vision: PreTrainedConfig):
        sizes = ("patch_size", "temporal_patch_size")
        given = {name: getattr(vision, name) for name in sizes}
        given["merge_size"] = getattr(vision, "spatial_merge_size", 2)
        edge = (given["patch_size"] * given["merge_size"]) ** 2
        given["size"] = {"shortest_edge": 128 * edge, "longest_edge": 768 * edge}
        given |= files.FACTS["qwen_videos"][settings["video_processor_type"]]
        super().__init__(**given | {k: v for k, v in settings.items() if v is not None})

    def _size(self, count: int, height: int, width: int, size: Mapping) -> tuple[int, int]:
        """Return rows and columns that frames are resized to."""
        least, most = (size[name] for name in ("shortest_edge", "longest_edge"))
        factor = self.patch_size * self.merge_size
        if self.video_processor_type == "Qwen2VLVideoProcessor":  # bounds of a frame, not of all
            return smart_resize(height, width, factor, least, most)
        from transformers.models.qwen3_vl.video_processing_qwen3_vl import smart_resize as resize

        return resize(count, height, width, self.temporal_patch_size, factor, least, most)

    def __call__(self, videos: list[np.ndarray], **options) -> BatchFeature:
        """Return the patches [N, D] of one video of frames [T, H, W, 3], and their grid."""
        (frames,) = videos
        size = options.get("size") or self.size
        rows, columns = self._size(*frames.shape[:3], size)
        video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        if video.shape[2:] != (rows, columns):
            video = torch.nn.functional.interpolate(
                video, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False
            )
        both = self.image_mean, self.image_std
        mean, std = (torch.tensor(each)[:, None, None] * 255 for each in both)
        video, pair = (video.float() - mean) / std, self.temporal_patch_size
        if missing := -len(video) % pair:
            video = torch.cat([video, video[-1:].expand(missing, -1, -1, -1)])
        patch, merge = self.patch_size, self.merge_size
        grid = len(video) // pair, rows // patch, columns // patch
        split = video.view(
            grid[0], pair, 3, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch
        )
        flat = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(int(np.prod(grid)), -1)
        times = make_batched_metadata([frames], video_metadata=options.get("video_metadata"))
        made = {"pixel_values_videos": flat, "video_grid_thw": torch.tensor([grid])}
        return BatchFeature(made | {"video_metadata": times})


class PooledFrames:
    """LLaVA-NeXT-Video's frames, each in its place by the class's video input.

    Every frame is pooled, as its training had it, and none is tiled: its image input would cut it
    into 1,176 tokens at 336 x 336 and not 144. Pixels are Pillow's.
    """

    def __init__(self, theirs: object, side: int):
        same = ("size", "crop_size", "resample", "image_mean", "image_std")
        self.plain = quicken(CLIPImageProcessorPil(**{n: getattr(theirs, n) for n in same}))
        self.theirs, self.side = theirs, side

    def __getattr__(self, name: str) -> object:
        return getattr(self.theirs, name)

    @classmethod
    def replace_images(cls, processor: ProcessorMixin, config: PreTrainedConfig) -> None:
        """Make a processor give its images by the video input."""
        side = config.vision_config.image_size
        each = (side // config.vision_config.patch_size // config.spatial_pool_stride) ** 2
        processor.image_processor = cls(processor.image_processor, side)
        processor.image_token, processor.video_token = processor.video_token, None
        token, processor.image_token_id = processor.image_token, processor.video_token_id
        processor.replace_image_token = lambda *_, **__: token * each

    def __call__(self, images: list, **_) -> BatchFeature:
        """Return pixels [1, T, 3, S, S] of the frames."""
        frames = np.stack(images[0] if isinstance(images[0], list) else images)
        warn_cropped("llava_next_video", frames, self.side)
        pixels = self.plain(list(frames), return_tensors="pt")["pixel_values"]
        return BatchFeature({"pixel_values_videos": pixels[None]})
