"""Score rows and results of a made-up run."""


def make_row(**changes):
    row = {
        "dataset": "flipbook", "split": "test", "task": "moment_retrieval", "method": "base",
        "model": "flipbook/longva", "time_encoding": "none", "fps": 1.0, "n": 10, "unparsed": 1,
        "mIoU": [30.0, 25.0, 35.0], "R@0.5": [28.0, 20.0, 36.0],
    }  # fmt: skip
    return row | changes


def floor(method, value, **changes):
    score = [value, value - 1, value + 1]
    blind = {"model": None, "time_encoding": None, "fps": None, "unparsed": 0}
    return make_row(method=method, **blind | {"mIoU": score, "R@0.5": score} | changes)


ROWS = [
    floor("frame-grid", 95.0),
    make_row(),
    make_row(time_encoding="overlay-index", method="fine-tuned", mIoU=[70.0, 64.0, 75.5]),
    make_row(method="fine-tuned", mIoU=[41.0, 36.0, 46.0]),
    floor("whole-video", 20.0),
    floor("best-fixed-window", 33.0),
    make_row(split="test_long", n=4),
    {
        **{k: v for k, v in make_row().items() if k not in ("mIoU", "R@0.5")},
        "task": "highlight_detection",
        "mAP": [12.0, 10.0, 14.0],
    },
]


RESULTS = {
    "run": "mine", "started": "2026-01-02T03:04:05+00:00", "seconds": 12.3, "seed": 7,
    "recipe": None, "commit": None, "dirty": None,
    "parameters": {"video": "<b>film</b>", "fps": 0.5, "positions": ["a b"], "adapter": None},
    "machine": {"processor": "some", "cores": 2, "accelerators": []},
    "versions": {"python": "3.11", "decord": None},
    "notebooks": [{"name": "00_start", "seconds": 1.0, "parameters": {"fps": 0.5}}],
    "notes": {"losses": [1.0, 0.5]}, "scores": ROWS,
}  # fmt: skip
