"""The times of frames, as a processor takes them, and as it writes them."""

from collections.abc import Mapping, Sequence

from transformers import ProcessorMixin


def describe_times(seconds: Sequence[float], shape: Sequence[int]) -> dict:
    """Return the metadata of a video whose frames [T, H, W, 3] are at these seconds, even or not.

    Times are the frame numbers of a video of 1000 frames a second, and its length is such that
    the mean rate is true.
    """
    if seconds is None:
        raise ValueError("frames_as='video' needs the frames' times; prompts must have seconds")
    count = len(seconds)
    step = (seconds[-1] - seconds[0]) / (count - 1) if count > 1 else 1.0
    return {
        "total_num_frames": max(1, round(1000 * step * count)), "fps": 1000.0,
        "duration": float(seconds[-1] + step), "height": shape[1], "width": shape[2],
        "frames_indices": [round(1000 * s) for s in seconds], "video_backend": None,
    }  # fmt: skip


def count_frames(data: Mapping, processor: ProcessorMixin) -> set[int]:
    """Return of how many frames a processed video may be: of pairs, the last may be filled up."""
    if "num_frames_per_video" in data:
        return {int(sum(data["num_frames_per_video"]))}
    for name in ("video_grid_thw", "video_grids"):
        if name in data:
            steps = int(data[name][0][0])
            pair = getattr(processor.video_processor, "temporal_patch_size", None) or 1
            # Ernie's frames are joined in the model, and only filled up to pairs before
            joined = hasattr(processor, "create_moe_mm_token_type_ids")
            whole = steps if joined else steps * pair
            return {*range(whole - pair + 1, whole + 1)}
    pixels = data["pixel_values_videos"] if "pixel_values_videos" in data else data["pixel_values"]
    return {pixels.shape[1]}


def to_number(mark: str) -> float:
    """Return a number, or a clock's seconds.

    >>> to_number("2.5"), to_number("01:02"), to_number("00:02:10.00")
    (2.5, 62.0, 130.0)
    """
    value = 0.0
    for part in mark.split(":"):
        value = 60 * value + float(part)
    return value
