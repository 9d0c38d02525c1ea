"""Which arms are compared, and what a run folder's adapters are worth."""

import shutil

import pytest

from numpro.arms import choose_arms, encoding_arms, learning_curve, trained
from numpro.prompts import TIME_ENCODINGS
from numpro.runs import Run


@pytest.fixture
def tuned(longva, films, tmp_path):
    """A run folder as notebook 03 leaves it: two encodings, and one from a part of the films."""
    from numpro.finetune import finetune

    run = Run(tmp_path / "run")
    quick = {"steps": 1, "batch_size": 1, "lora_rank": 2, "lora_alpha": 4}
    first = run.path("adapters", "text-index-seed0")
    finetune(longva, films[:1], first, progress=False, time_encoding="none", **quick)
    for name in ("none-seed0", "none-1videos-seed0"):
        shutil.copytree(first, run.path("adapters", name))
    return run


def test_a_run_is_asked_for_every_adapter_it_has(tuned, longva_dir, films):
    arms = encoding_arms(tuned)
    assert [arm.time_encoding for arm in arms] == [*TIME_ENCODINGS, "none", "text-index"]
    assert [arm.method for arm in arms] == ["base"] * 5 + ["fine-tuned"] * 2
    assert len({arm.name for arm in arms}) == 7
    assert trained(tuned, "none", 1) == trained(tuned, "overlay-index") == ""
    assert [arm.name for arm in choose_arms("run", tuned)] == [
        "base",
        "base + numbers",
        "fine-tuned",
    ]
    with pytest.raises(ValueError, match="neither none-seed1 nor overlay-index-seed1"):
        choose_arms("run", tuned, seed=1)

    rows = learning_curve(tuned, films, films[:1], str(longva_dir))
    assert [row["queries"] for row in rows] == [
        len(films[0].queries),
        sum(len(v.queries) for v in films),
    ]
    assert all(row["n"] == len(films[0].queries) and row["adapter"] for row in rows)
    assert len(list(tuned.folder.glob("predictions/*.jsonl"))) == 2  # and not one file for both


def test_an_adapters_folder_is_an_arm(tuned):
    arms = choose_arms(str(tuned.folder / "adapters" / "none-seed0"), tuned)
    assert [arm.name for arm in arms] == ["base", "base + numbers", "fine-tuned + numbers"]
    with pytest.raises(ValueError, match="flipbook, run, none or a folder; got 'elsewhere'"):
        choose_arms("elsewhere", tuned)
