"""Faster pixels: the same bits, and a processor that is stored as before."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil, Qwen2VLImageProcessorPil

from numpro.models.pixels import quicken


@pytest.mark.parametrize("kind", [CLIPImageProcessorPil, Qwen2VLImageProcessorPil])
def test_pixels_are_the_same_bits_and_settings_are_stored_as_before(kind, tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    plain, fast = kind(), quicken(kind())
    assert type(fast) is not kind and isinstance(fast, kind)
    made = [one(images=[Image.fromarray(frame)], return_tensors="np") for one in (plain, fast)]
    assert (made[0]["pixel_values"] == made[1]["pixel_values"]).all()
    assert json.loads(fast.to_json_string()) == json.loads(plain.to_json_string())
    fast.save_pretrained(tmp_path)
    assert kind.from_pretrained(tmp_path).to_dict() == plain.to_dict()


def test_a_class_with_steps_of_its_own_keeps_them():
    class Other(CLIPImageProcessorPil):
        def normalize(self, image, mean, std, **options):
            return image

    assert quicken(Other()).normalize(1, 2, 3) == 1
