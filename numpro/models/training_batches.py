"""What model classes share for training: sequences with labels, and batches of them."""

from collections.abc import Sequence

import torch

IGNORED = -100  # a label that adds nothing to the loss


def sequence(video: list[int], turns: Sequence[tuple[list[int], list[int]]], shared: bool) -> dict:
    """Return a video's tokens with questions and answers behind them, and what is learned of them.

    Parameters
    ----------
    video
        Tokens up to the end of the video.
    turns
        Tokens of each question, and of its answer with the token that ends it.
    shared
        Give ``segment`` and ``position_ids`` too: each turn attends to the video and to itself
        only, at the positions it would have alone (`shared_mask`).

    Returns
    -------
    dict
        ``input_ids`` and ``labels``, lists of one length; labels are `IGNORED` but on answers.
    """
    ids, start = list(video), len(video)
    labels, segment, positions = [IGNORED] * start, [0] * start, list(range(start))
    for number, (question, answer) in enumerate(turns, 1):
        length = len(question) + len(answer)
        ids += question + answer
        labels += [IGNORED] * len(question) + answer
        segment += [number] * length
        positions += range(start, start + length)
    sample = {"input_ids": ids, "labels": labels}
    return sample | {"segment": segment, "position_ids": positions} if shared else sample


def pad_batch(samples: Sequence[dict], pad: int, packed: bool = False) -> dict:
    """Pad samples of `sequence` to one batch, on the right.

    Their tensors are put in a row: along the dimension in which they differ, or the first; pixels
    that are `packed` (MiniCPM's strip of patches) along the last. Other lists say something of
    each token: 0 where padded.
    """
    lengths = torch.tensor([len(s["input_ids"]) for s in samples])
    longest = int(lengths.max())

    def padded(key: str, fill: int = 0) -> torch.Tensor:
        return torch.tensor([s[key] + [fill] * (longest - len(s[key])) for s in samples])

    batch = {"input_ids": padded("input_ids", pad), "labels": padded("labels", IGNORED)}
    batch["attention_mask"] = (torch.arange(longest)[None] < lengths[:, None]).long()
    if "segment" in samples[0]:
        batch["attention_mask"] = shared_mask(padded("segment", -1))
    for key, value in samples[0].items():
        if torch.is_tensor(value):
            shapes = zip(*(s[key].shape for s in samples), strict=True)
            differ = [dim for dim, sizes in enumerate(shapes) if len({*sizes}) > 1]
            dim = -1 if packed and key.startswith("pixel") else (*differ, 0)[0]
            batch[key] = torch.cat([s[key] for s in samples], dim)
        elif key not in (*batch, "segment"):
            batch[key] = padded(key)
    return batch


def shared_mask(segment: torch.Tensor) -> torch.Tensor:
    """Return which token attends to which, bool [B, 1, L, L], in rows of segments [B, L].

    All tokens of a row attend to segment 0, the video. -1 is padding: it attends to itself only,
    since a row of attention may not be empty, and nothing attends to it.
    """
    mask = (segment[:, :, None] == segment[:, None]) | (segment[:, None] == 0)
    mask &= torch.ones(mask.shape[1:], dtype=torch.bool).tril()
    return (mask | torch.eye(mask.shape[1], dtype=torch.bool))[:, None]


def answers_only(batch: dict) -> dict:
    """Ask for logits only where the loss needs them: before the answers' tokens.

    A video of 64 frames is 9,216 tokens, and logits over 152,064 words for each of them are 5.6 GB
    that teach nothing. The loss is the same: transformers' models take the places to keep, and
    compare each logit with the label one place later.
    """
    labels = batch["labels"]
    wanted = (labels[:, 1:] != IGNORED).any(0).nonzero()[:, 0]
    # the last place's logit is compared with nothing, the first label with no logit
    places = torch.cat([wanted, torch.tensor([labels.shape[1] - 1])])
    first = torch.full_like(labels[:, :1], IGNORED)
    kept = torch.cat([first, labels[:, wanted + 1]], 1)
    return batch | {"logits_to_keep": places, "labels": kept}
