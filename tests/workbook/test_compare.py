"""Runs beside each other."""

import json

import pytest
from click.testing import CliRunner

from numpro.cli import main
from numpro.workbook import comparison as compare

PLACE = {"dataset": "flipbook", "split": "test", "task": "moment_retrieval", "fps": 1.0, "n": 4}


def run(name, values, *scores):
    rows = [
        PLACE | {"method": m, "time_encoding": e, "model": "x", "unparsed": 0, "mIoU": [s, s, s]}
        for m, e, s in scores
    ]
    book = {"name": "05_measure", "parameters": values | {"run_dir": name}}
    return {"run": name, "notebooks": [book], "scores": rows}


ONE = run("one", {"fps": 1.0, "steps": 9}, ("base", "none", 10.0), ("whole-video", None, 30.0))
TWO = run("two", {"fps": 2.0, "steps": 9}, ("base", "none", 20.0), ("fine-tuned", "none", 50.0))


def test_what_was_set_otherwise_and_what_came_of_it():
    assert compare.differing([ONE, TWO]) == {"fps": [1.0, 2.0]}
    assert compare.differing([ONE, ONE]) == {}
    part = ONE | {"notebooks": ONE["notebooks"] + [{"parameters": {"query": None, "video": "a"}}]}
    assert compare.differing([part, ONE]) == {"query": [None, "-"], "video": ["a", "-"]}
    base, tuned = compare.compare([ONE, TWO])  # floors are no result of a run's settings
    assert base["scores"] == [[10.0] * 3, [20.0] * 3] and base["metric"] == "mIoU"
    assert tuned["method"] == "fine-tuned" and tuned["scores"] == [None, [50.0] * 3]


def test_all_ways_of_giving_the_time_stand_in_rows():
    """Of the two that both lists have, the scores over all films count."""
    few = run("", {}, ("base", "none", 70.0), ("base", "bar", 5.0))["scores"]
    few = [row | {"lookup": [40.0, 30.0, 50.0]} for row in few]
    one = ONE | {"notes": {"05_ways": few}}
    rows = compare.compare([one, TWO])
    scores = {(row["method"], row["time_encoding"]): row["scores"] for row in rows}
    assert scores["base", "none"] == [[10.0] * 3, [20.0] * 3]
    assert scores["base", "bar"] == [[5.0] * 3, None]
    looked = compare.compare([one, TWO], "lookup")
    assert [row["time_encoding"] for row in looked] == ["none", "bar"]
    assert all(row["scores"] == [[40.0, 30.0, 50.0], None] for row in looked)
    with pytest.raises(ValueError, match="metric must be one of lookup, mIoU; got 'mAP'"):
        compare.compare([one, TWO], "mAP")
    floors = compare.compare([one, TWO], roles=("floor", "ceiling"))
    assert [row["method"] for row in floors] == ["whole-video"]


@pytest.mark.parametrize(
    ("results", "metric", "says"),
    [
        ([ONE], None, "at least two runs; got 1"),
        ([ONE, TWO], "mAP", "metric must be one of mIoU; got 'mAP'"),
    ],
)
def test_what_cannot_be_compared(results, metric, says):
    with pytest.raises(ValueError, match=says):
        compare.compare(results, metric)


def test_the_command_prints_a_table_and_draws_a_picture(tmp_path):
    for one in (ONE, TWO):
        (tmp_path / one["run"]).mkdir()
        (tmp_path / one["run"] / "results.json").write_text(json.dumps(one))
    folders = [str(tmp_path / name) for name in ("one", "two")]
    out = tmp_path / "sweep.png"
    result = CliRunner().invoke(main, ["compare", *folders, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.read_bytes().startswith(b"\x89PNG")
    lines = result.output.splitlines()
    assert any(line.split() == ["fps", "1.0", "2.0"] for line in lines)
    assert any("10.0 [10.0, 10.0] 20.0 [20.0, 20.0]" in line for line in lines)
    assert any(
        line.split()[3:] == ["whole-video", "-", "mIoU", "30.0", "[30.0,", "30.0]", "-"]
        for line in lines
    )
    as_json = CliRunner().invoke(main, ["compare", *folders, "--json"])
    assert json.loads(as_json.stdout)["differs"] == {"fps": [1.0, 2.0]}
    missing = CliRunner().invoke(main, ["compare", folders[0], str(tmp_path / "none")])
    assert missing.exit_code and "none" in missing.output


def test_the_leaderboard_takes_most_queries_and_puts_the_best_trained_first(tmp_path):
    long = TWO["scores"][1] | {"split": "test_long", "mIoU": [5.0, 1.0, 9.0]}
    ways = [ONE["scores"][0] | {"time_encoding": e, "n": 2, "lookup": [60.0, 50.0, 70.0]}
            for e in ("none", "bar")]  # fmt: skip
    board = TWO | {"scores": [*TWO["scores"], long], "notes": {"05_ways": ways}}
    board |= {"started": "2026-01-02T03:04:05", "versions": {"numpro": "0.2"}}
    heads, rows = compare.leaderboard([ONE, board])
    assert heads[1:5] == ["time encoding", "base", "fine-tuned", "long films"]
    assert rows[0] == ["x", "none", "10.0", "50.0", "5.0", "60.0", "-", "4", "2026-01-02, 0.2"]
    assert [row[1] for row in rows] == ["none", "bar"] and rows[1][7] == "2"
    (tmp_path / "results.json").write_text(json.dumps(board))
    done = CliRunner().invoke(main, ["leaderboard", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "| x | none | 20.0 | 50.0 | 5.0 |" in done.output
