"""The plain ways to number a video that `video.py` is measured against, written for the purpose."""

import av
import decord
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from numpro.numbers.overlay import FONT


def number_every_frame(path, out):
    """OpenCV reads every frame, Pillow draws on it, and the film is encoded again (mp4v).

    The published Qwen2-VL script goes this way, font loading on every frame included.
    """
    import cv2

    film, writer, at = cv2.VideoCapture(str(path)), None, 0
    while True:
        there, frame = film.read()
        if not there:
            break
        page = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        draw, font = ImageDraw.Draw(page), ImageFont.truetype(FONT, 40)
        left, top, right, bottom = draw.textbbox((0, 0), str(at), font=font)
        w, h = right - left, bottom - top
        place = page.width - w, page.height - h - h / 3
        draw.text(place, str(at), font=font, fill="red")
        frame = cv2.cvtColor(np.asarray(page), cv2.COLOR_RGB2BGR)
        if writer is None:
            code, rate = cv2.VideoWriter_fourcc(*"mp4v"), film.get(cv2.CAP_PROP_FPS)
            writer = cv2.VideoWriter(str(out), code, rate, (page.width, page.height))
        writer.write(frame)
        at += 1
    writer.release()
    film.release()
    return at


def sample_sequentially(path, fps):
    """OpenCV reads every frame and every so-many-th is kept: no numbers yet."""
    import cv2

    film, kept, at = cv2.VideoCapture(str(path)), [], 0
    step = round(film.get(cv2.CAP_PROP_FPS) / fps)
    while True:
        there, frame = film.read()
        if not there:
            break
        if at % step == 0:
            kept.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        at += 1
    film.release()
    return kept


def bare_decord(path, indices):
    """Decord alone, told which frames."""
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    return reader.get_batch(indices).asnumpy()


def bare_pyav(path, stamps):
    """PyAV alone in one thread, told the times (pts): every frame decoded, the wanted converted."""
    wanted, kept = set(stamps), []
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        for frame in film.decode(stream):
            if frame.pts in wanted:
                kept.append(frame.to_ndarray(format="rgb24"))
                if len(kept) == len(wanted):
                    break
    return np.stack(kept)


def bare_sparing_pyav(path, stamps, size=None):
    """Leave out, besides, what is neither wanted nor predicted from (H.264).

    `size`: (width, height), resized by the decoder's own scaler, bicubic.
    """
    wanted, kept, how = set(stamps), [], {"format": "rgb24"}
    if size is not None:
        how |= {"width": size[0], "height": size[1], "interpolation": "BICUBIC"}
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        for packet in film.demux(stream):
            known = packet.pts is not None and packet.pts not in wanted
            stream.codec_context.skip_frame = "NONREF" if known else "DEFAULT"
            kept += [frame.to_ndarray(**how) for frame in packet.decode() if frame.pts in wanted]
    return np.stack(kept)
