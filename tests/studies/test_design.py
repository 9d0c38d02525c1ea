"""The study of number styles reads real files, scores what CLIP sees, and picks by its rule."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from projects import longva_config

from numpro import NumberStyle, number_frames
from numpro.flipbook import COLOURS, SHAPES
from numpro.studies.design import (
    CaptionedPicture,
    ClipEncoder,
    choose,
    flipbook_pictures,
    folder_pictures,
    study,
)


@pytest.fixture(scope="module")
def clip_dir(tokenizer, tmp_path_factory):
    """A checkpoint folder of a tiny CLIP with random weights."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from numpro.flipbook.pretraining.tokenizer import make_tokenizer

    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = longva_config(tokenizer).vision_config.to_dict()
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    with torch.no_grad():  # so that texts and pictures differ
        model.text_model.embeddings.token_embedding.weight.normal_(std=0.5)
        model.vision_model.embeddings.patch_embedding.weight.normal_(std=0.2)
    model.save_pretrained(folder)
    make_tokenizer(ends=True).save_pretrained(folder)
    CLIPImageProcessorPil(size={"height": 96, "width": 96}, do_center_crop=False).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def encoder(clip_dir):
    return ClipEncoder(str(clip_dir), device="cpu")


@pytest.fixture(scope="module")
def drawn():
    return flipbook_pictures(12)


# --- pictures -----------------------------------------------------------------------------------


def test_flipbook_pictures_have_captions_of_their_own(drawn):
    assert len({p.caption for p in drawn}) == 12
    for picture in drawn:
        assert picture.image.shape == (336, 336, 3) and picture.image.dtype == np.uint8
        words = picture.caption.replace(" and ", " ").split()
        assert set(words) <= {"a", *COLOURS, *SHAPES} and len(words) % 3 == 0
    again, other = flipbook_pictures(3), flipbook_pictures(3, seed=1)
    for i in range(3):
        assert again[i].caption == drawn[i].caption and (again[i].image == drawn[i].image).all()
    assert [p.caption for p in other] != [p.caption for p in again]


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different sizes and kinds."""
    for number, mode in enumerate(("RGB", "L", "RGBA")):
        Image.new(mode, (40 + 10 * number, 30), 80 * number).save(tmp_path / f"{number}.png")
    return tmp_path


def write(folder, captions):
    (folder / "captions.json").write_text(json.dumps(captions))
    return str(folder)


PLAIN = {"0.png": "a black wall ", "1.png": "a grey wall", "2.png": "a bright wall"}
COCO = {
    "info": {"year": 2017},
    "images": [{"id": 70 + n, "file_name": f"{n}.png", "height": 3} for n in (2, 1, 0)],
    "annotations": [
        {"id": 1, "image_id": 71, "caption": "a grey wall"},
        {"id": 2, "image_id": 70, "caption": "a black wall\n"},
        {"id": 3, "image_id": 71, "caption": "another caption of it"},
        {"id": 4, "image_id": 72, "caption": "a bright wall"},
    ],
}


@pytest.mark.parametrize("captions", [PLAIN, COCO], ids=["plain", "COCO"])
def test_a_folder_of_captioned_pictures(folder, captions):
    pictures = folder_pictures(write(folder, captions), 10, size=(48, 32))
    assert [p.caption for p in pictures] == ["a black wall", "a grey wall", "a bright wall"]
    assert all(p.image.shape == (32, 48, 3) and p.image.dtype == np.uint8 for p in pictures)
    assert [int(p.image[0, 0, 0]) for p in pictures] == [0, 80, 160]


def test_pictures_are_counted_when_they_are_there(folder):
    write(folder, {"gone.png": "not there", "-1.png": "nor this", **PLAIN})
    assert [p.caption for p in folder_pictures(str(folder), 2)] == ["a black wall", "a grey wall"]


@pytest.mark.parametrize(
    ("captions", "error", "message"),
    [
        (None, FileNotFoundError, "must hold captions.json"),
        ({"gone.png": "x"}, FileNotFoundError, "none of the 1 pictures"),
        ({}, FileNotFoundError, "none of the 0 pictures"),
        (["0.png"], ValueError, "must be a JSON object; got list"),
        ({"../0.png": "x"}, ValueError, "outside its folder: '../0.png'"),
        ({"/etc/hostname": "x"}, ValueError, "outside its folder"),
        ({"annotations": []}, ValueError, "not laid out as COCO's"),
        ({"images": [], "annotations": [{"image_id": 1}]}, ValueError, "not laid out as COCO's"),
        ({"images": [1], "annotations": []}, ValueError, "not laid out as COCO's"),
    ],
    ids=["none", "gone", "empty", "list", "up", "absolute", "no images", "no image", "numbers"],
)
def test_a_bad_folder_is_refused(folder, captions, error, message):
    if captions is not None:
        write(folder, captions)
    with pytest.raises(error, match=message):
        folder_pictures(str(folder), 10)


def test_broken_json_is_refused(folder):
    (folder / "captions.json").write_text("{")
    with pytest.raises(ValueError, match="line 1"):
        folder_pictures(str(folder), 10)


# --- CLIP ---------------------------------------------------------------------------------------


def test_the_encoder_is_clip(encoder, clip_dir, drawn):
    from transformers import AutoTokenizer, CLIPModel

    model = CLIPModel.from_pretrained(clip_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(clip_dir)
    images, texts = [p.image for p in drawn[:5]], [p.caption for p in drawn[:5]]
    pictures, read = encoder.see(images, batch=2), encoder.read(texts, batch=2)
    for vectors in (pictures, read):
        assert vectors.shape == (5, 16)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
    for number in range(5):  # one by one: no batch, no padding
        small = Image.fromarray(images[number]).resize((96, 96), Image.Resampling.BICUBIC)
        pixels = (torch.tensor(np.asarray(small)) / 255 - mean) / std
        ids = torch.tensor([tokenizer(texts[number]).input_ids])
        with torch.no_grad():
            out = model(input_ids=ids, pixel_values=pixels.permute(2, 0, 1)[None])
        np.testing.assert_allclose(pictures[number], out.image_embeds[0], atol=1e-5)
        np.testing.assert_allclose(read[number], out.text_embeds[0], atol=1e-5)


def test_a_long_caption_is_cut_to_what_clip_reads(encoder):
    long = "a red star and " * 40
    assert encoder.read([long, "a red star"]).shape == (2, 16)


# --- the study ----------------------------------------------------------------------------------


def test_accuracies_are_those_of_the_nearest_text(encoder, drawn):
    table = study(
        encoder, drawn, ("center",), (40, 80), ("red",), numbers=9, seed=3, progress=False
    )
    assert list(table.columns) == [
        "position",
        "size",
        "color",
        "number_accuracy",
        "caption_accuracy",
    ]
    assert table[["position", "size"]].values.tolist() == [
        ["none", 0],
        ["center", 40],
        ["center", 80],
    ]
    shown = np.random.default_rng(3).integers(0, 9, 12)
    captions = encoder.read([p.caption for p in drawn])
    words = encoder.read([str(n) for n in range(9)])
    for row in table.itertuples():
        right = {"number": 0, "caption": 0}
        for i, picture in enumerate(drawn):
            page = picture.image
            if row.position != "none":
                style = NumberStyle(row.position, row.size, row.color)
                page = number_frames(page, style=style, labels=int(shown[i]))
            (vector,) = encoder.see([page])
            right["caption"] += int(np.argmax([vector @ c for c in captions]) == i)
            right["number"] += int(np.argmax([vector @ w for w in words]) == shown[i])
        assert row.caption_accuracy == pytest.approx(100 * right["caption"] / 12)
        if row.position == "none":
            assert np.isnan(row.number_accuracy)
        else:
            assert row.number_accuracy == pytest.approx(100 * right["number"] / 12)


class Reader:
    """Sees the brightest colour of a picture only: 16 x 16 pixels or more of it."""

    def see(self, images):
        return np.eye(3)[[int((i > 200).sum((0, 1)).argmax()) for i in np.asarray(images)]]

    def read(self, texts):
        return np.eye(3)[
            [{"red": 0, "green": 1, "blue": 2}.get(t, int(t[0] == "1")) for t in texts]
        ]


def test_a_study_by_hand():
    plain = [np.zeros((64, 64, 3), np.uint8) for _ in range(3)]
    for channel, image in enumerate(plain):
        image[:20, :20, channel] = 255
    pictures = [
        CaptionedPicture(i, c) for i, c in zip(plain, ("red", "green", "blue"), strict=True)
    ]
    table = study(
        Reader(), pictures, ("bottom_right",), (2, 64), ("blue",), numbers=2, progress=False
    )
    assert table["caption_accuracy"].tolist()[:2] == [100, 100], "a tiny number hides nothing"
    # a large blue one makes all look blue, and blue is neither 0 (red) nor 1 (green)
    assert table["caption_accuracy"][2] == pytest.approx(100 / 3)
    assert table["number_accuracy"][2] == 0


def test_every_style_is_measured_once(encoder, drawn):
    table = study(
        encoder, drawn[:2], ("center", "top_left"), (20, 40), ("red", "blue"), progress=False
    )
    styles = list(zip(table["position"], table["size"], table["color"], strict=True))
    assert len(set(styles)) == len(styles) == 1 + 2 * 2 * 2
    assert table[["number_accuracy", "caption_accuracy"]][1:].stack().between(0, 100).all()


def table_of(*rows):
    columns = ["position", "size", "color", "number_accuracy", "caption_accuracy"]
    return pd.DataFrame([("none", 0, "none", float("nan"), 100.0), *rows], columns=columns)


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([("center", 80, "red", 100, 50), ("bottom_right", 40, "red", 75, 72)], 1),
        ([("center", 80, "red", 100, 60), ("bottom_right", 40, "red", 59, 100)], 0),
        ([("top_left", 20, "blue", 50, 80), ("center", 20, "red", 80, 50)], 0),
        ([("top_left", 20, "blue", 0, 99)], 0),
    ],
    ids=["balance", "largest product", "tie: the earlier", "only one"],
)
def test_the_best_balance_is_the_largest_product(rows, best):
    assert choose(table_of(*rows)) == NumberStyle(*rows[best][:3])
