"""A model for tests of windows: it sees which frame of a film each frame is."""

import re

import numpy as np

from numpro.models import NoAnswer, VideoModel


class Seeing(VideoModel):
    """A model that sees which frame of the film each frame is, and finds what it is asked for.

    A query is what is to be found, such as "20-30" or "5-9, 40-45": it names the part of the
    first of them that it sees. Where it sees none, it names the second to the fourth frame.
    """

    name, notes = "seeing", {}
    fails_at = breaks_at = None  # first frames of windows

    def __init__(self, number=lambda frame: int(frame[0, 0, 0])):
        self.asked_of, self.number = [], number

    def respond(self, frames, prompts, max_new_tokens):
        numbers = np.array([self.number(frame) for frame in frames])
        if numbers[0] == self.breaks_at:
            raise KeyboardInterrupt
        self.asked_of.append((int(numbers[0]), len(numbers)))
        if numbers[0] == self.fails_at:
            return [NoAnswer("out of memory: too much") for _ in prompts]
        return [self.find(numbers, prompt.text) for prompt in prompts]

    def find(self, numbers, text):
        for pair in re.findall(r"(\d+)-(\d+)", text):
            visible = np.flatnonzero((numbers >= int(pair[0])) & (numbers <= int(pair[1])))
            if len(visible) > 1:
                return f"From Frame {visible[0]} to Frame {visible[-1]}."
        return "From Frame 1 to Frame 3."
