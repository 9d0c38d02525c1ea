"""The command: what it writes and says, and one clear line for bad input."""

import json
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner
from films import encode
from projects import write_notebook

from numpro import write_video
from numpro.cli import main


def all_commands(group=main, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(all_commands())


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Write four seconds of grey at 10 frames a second, 64 x 48."""
    frames = np.full((40, 48, 64, 3), 128, np.uint8)
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", frames, fps=10)


def test_the_commands_are_those_of_the_public_surface():
    assert {" ".join(path) for path in COMMANDS} >= {
        "number", "frames", "ask", "check-data", "predict", "evaluate moment-retrieval",
        "evaluate highlight-detection", "finetune", "run", "flipbook make", "flipbook pretrain",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_shows_an_example(path):
    text = invoke(*path, "--help").output
    assert f"Example:\n    numpro {' '.join(path)}" in text


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_a_help_or_says_it_by_its_name(path):
    plain = {"task", "seed"}
    for option in COMMANDS[path].params:
        if isinstance(option, click.Option):
            assert option.help or option.name in plain, option.name


def test_ask_says_the_span_and_draws_it_where_that_is_wanted(tmp_path, monkeypatch):
    from numpro.datasets import load_dataset

    film = load_dataset("flipbook", "test", limit=1)[0]
    picture = tmp_path / "answer.png"
    arguments = ("ask", film.path, film.queries[0].text, "--picture", picture)
    answer = json.loads(invoke(*arguments, "--json").stdout)
    assert answer["reason"] is None and answer["unit"] == "frame"
    (start, end), *_ = answer["spans"]
    assert 0 <= start <= end <= film.duration
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"{start:.2f} s to {end:.2f} s" in invoke(*arguments).stdout
    monkeypatch.chdir(tmp_path)
    picture.unlink()
    assert json.loads(invoke(*arguments[:3], "--json").stdout)["picture"] is None
    assert not list(tmp_path.iterdir()), "a picture that nobody wanted"


def test_ask_ranks_moments_and_can_say_not_sure(tmp_path):
    from numpro.datasets import load_dataset

    film = load_dataset("flipbook", "test", limit=1)[0]
    calibration = tmp_path / "calibration.json"
    calibration.write_text(json.dumps({"temperature": 2.0, "videos": ["val_0000"]}))
    ask = ("ask", film.path, film.queries[0].text, "--picture", tmp_path / "answer.png")
    answer = json.loads(invoke(*ask, "--top", 3, "--json").stdout)
    moments = answer["moments"]
    assert [m["rank"] for m in moments] == [1, 2, 3][: len(moments)] and answer["sure"]
    confidence = [m["confidence"] for m in moments]
    assert confidence == sorted(confidence, reverse=True) and 0 < confidence[-1] < 1
    assert answer["ranked_reason"] is None and 0 <= answer["left_out"] < 1
    assert answer["spans"] == json.loads(invoke(*ask, "--json").stdout)["spans"], "greedy stays"
    softer = json.loads(invoke(*ask, "--calibration", calibration, "--json").stdout)["moments"]
    assert len(softer) == 1, "as many as were wished for: the first"
    odds = (confidence[0] / (1 - confidence[0])) ** 0.5
    assert softer[0]["confidence"] == pytest.approx(odds / (1 + odds))
    text = invoke(*ask, "--top", 2, "--min-confidence", 1).stdout
    first = "{start:.2f} to {end:.2f}".format(**moments[0])
    assert f"not sure: a confidence of {confidence[0]:.2f}, below 1.00" in text
    assert "or was it here?" in text and f"1     {first}" in text
    calibration.write_text(json.dumps({"temperature": 2.0, "videos": [], "adapter": "other"}))
    bad = invoke(*ask, "--calibration", calibration, code=1).stderr
    assert "calibration.json is of adapter 'other'; got None: fit one by numpro calibrate" in bad
    calibration.write_text("[]")
    bad = invoke(*ask, "--calibration", calibration, code=1).stderr
    assert "calibration.json is no calibration: numpro calibrate writes one" in bad


def test_predict_ranks_moments_of_a_data_set(tmp_path):
    out = tmp_path / "ranked.jsonl"
    run = ("predict", "--limit", 1, "--workers", 0, "--read", "ranked", "--out", out)
    invoke(*run, "--top", 2)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows and all(1 <= len(r["pred_relevant_windows"]) <= 2 for r in rows)
    scores = json.loads(invoke("evaluate", "moment-retrieval", out, "--json").stdout)
    assert scores["n"] == len(rows) and {"R5@0.5", "moment_mAP", "trust"} <= scores.keys()
    assert "top: 2 there, 5 now" in invoke(*run, code=1).stderr


def test_ask_takes_windows_and_refuses_those_that_leave_frames_out(tmp_path):
    from numpro.datasets import load_dataset

    film = load_dataset("flipbook", "test", limit=1)[0]
    ask = ("ask", film.path, film.queries[0].text, "--picture", tmp_path / "answer.png")
    answer = invoke(*ask, "--windows", "6,3", "--json")
    assert len(json.loads(answer.stdout)["moments"]) == 1
    count = len(range(0, int(film.duration) + 1 - 6, 3)) + 1
    assert f"{count} windows of 6 frames, one every 3" in answer.stderr
    whole = invoke(*ask, "--windows", "whole", "--top", 1, "--json")
    assert "windows" not in whole.stderr
    for size in ("6,7", "1,1", "6", "a,b", "6;3"):
        refused = invoke(*ask, "--windows", size, code=1).stderr
        assert "windows must be (frames, stride)" in refused


@pytest.fixture
def predictions(tmp_path):
    file = tmp_path / "predictions.jsonl"
    rows = [
        {"qid": "a", "video": "v", "pred": [[0.0, 4.0]], "truth": [[0.0, 4.0]]},
        {"qid": "b", "video": "w", "pred": [], "truth": [[1.0, 2.0]]},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


class TestEvaluate:
    def test_moments(self, predictions):
        scores = json.loads(invoke("evaluate", "moment-retrieval", predictions, "--json").stdout)
        assert (scores["n"], scores["unparsed"], scores["mIoU"]) == (2, 1, 50.0)
        lines = invoke("evaluate", "moment-retrieval", predictions).stdout.splitlines()
        assert lines[0] == "n 2, unparsed 1"
        assert "mIoU    50.0 [0.0, 100.0]" in lines

    def test_ranked_moments_and_their_calibration(self, tmp_path):
        film = {"truth": [[0, 4]], "greedy": [[0, 2]], "dataset": "made"}
        for split, score in (("val", 0.9), ("test", 0.8)):
            rows = [film | {"qid": k, "video": f"{split} {k}", "split": split,
                            "pred": [[0, 4 - 3 * k]],
                            "pred_relevant_windows": [[0, 4 - 3 * k, score - k / 10]]}
                    for k in (0, 1)]  # fmt: skip
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / f"{split}.jsonl").write_text(text)
        config = {"model": "m", "adapter": None, "time_encoding": "none", "fps": 1}
        (tmp_path / "val.jsonl.config.json").write_text(json.dumps(config))
        val, test = tmp_path / "val.jsonl", tmp_path / "test.jsonl"
        fitted = invoke("calibrate", val).stdout
        path = tmp_path / "val.jsonl.calibration.json"
        found = json.loads(path.read_text())
        assert f"wrote {path}: temperature {found['temperature']:.2f} from 2 queries" in fitted
        assert found["videos"] == ["val 0", "val 1"]
        assert (found["model"], found["adapter"], found["time_encoding"]) == ("m", None, "none")
        how = ("evaluate", "moment-retrieval", test, "--min-confidence", 0.55)
        lines = invoke(*how).stdout.splitlines()
        assert "R5@0.5      50.0 [0.0, 100.0]" in lines
        assert "best5_mIoU  62.5 [25.0, 100.0]" in lines and "sure (0.55 or more)" in lines[-1]
        assert "calibration error 0.325 at temperature 1.00" in lines
        assert "first moment against greedy: +12.5 [-25.0, +50.0] mIoU" in lines
        trust = json.loads(invoke(*how, "--calibration", path, "--json").stdout)["trust"]
        assert trust["temperature"] == found["temperature"] != 1
        (tmp_path / "test.jsonl.config.json").write_text(json.dumps(config | {"model": "other"}))
        other = invoke(*how, "--calibration", path, code=1).stderr
        assert "is of model 'm'; got 'other': fit one by numpro calibrate" in other
        assert "validation films only; got made/test" in invoke("calibrate", test, code=1).stderr
        shared = invoke("evaluate", "moment-retrieval", val, "--calibration", path, code=1).stderr
        assert "fitted on 2 of the scored videos" in shared

    def test_all_conventions_beside_each_other(self, predictions):
        arguments = ("evaluate", "moment-retrieval", predictions, "--convention", "all")
        lines = invoke(*arguments).stdout.splitlines()
        assert lines[0] == "n 2" and lines[1].split()[:2] == ["convention", "mIoU"]
        assert lines[2].split() == ["numpro", *["50.00"] * 4, "1", "0"]
        assert "unitime: reads all numbers, two by two; an end before" in "\n".join(lines)
        scores = json.loads(invoke(*arguments, "--json").stdout)
        assert {row["convention"] for row in scores["conventions"]} >= {"vue-tr-v2", "lighthouse"}

    def test_what_a_reader_of_the_scores_must_know_is_told(self, predictions):
        rows = [{"qid": 1, "pred": [[4, 0]], "truth": [[0, 4], [4, 0]]}]
        predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        arguments = ("evaluate", "moment-retrieval", predictions)
        lines = invoke(*arguments).stdout.splitlines()
        assert {line.split()[0] for line in lines if line.split()[-1] == "100.0]"} >= {"set_mIoU"}
        assert "1 true spans end before they start: nothing overlaps them" in lines
        assert "1 answers end before they start" in lines
        assert any(line.startswith("1 answers are not clipped to their film") for line in lines)
        lines = invoke(*arguments, "--convention", "vue-tr-v2").stdout.splitlines()
        assert "recall_AUC  100.00" in lines

    def test_moments_against_annotations_in_the_working_folder(
        self, predictions, tmp_path, monkeypatch
    ):
        truth = [{"id": q, "video": "v", "start_time": 0, "end_time": 2} for q in "ab"]
        (tmp_path / "truth.json").write_text(json.dumps(truth))
        monkeypatch.chdir(tmp_path)
        arguments = ("moment-retrieval", predictions.name, "--annotations", "truth.json", "--json")
        assert json.loads(invoke("evaluate", *arguments).stdout)["mIoU"] == 25.0

    def test_highlights(self, tmp_path):
        predicted, true = tmp_path / "predicted.jsonl", tmp_path / "true.jsonl"
        predicted.write_text(json.dumps({"qid": 1, "pred_saliency_scores": [0.1, 3.0]}))
        row = {"qid": 1, "vid": "v", "duration": 4, "relevant_clip_ids": [1]}
        true.write_text(json.dumps(row | {"saliency_scores": [[4, 4, 4]]}))
        result = invoke("evaluate", "highlight-detection", predicted, true, "--json")
        assert json.loads(result.stdout)["brief"]["HL-min-VeryGood-mAP"] == 100.0
        text = invoke("evaluate", "highlight-detection", predicted, true).stdout
        assert "HL-min-VeryGood-Hit1" in text and "100.00" in text


class TestCheckData:
    @pytest.fixture
    def data(self, film, tmp_path):
        row = {"query": "q", "start_time": 0, "end_time": 1, "duration": 4}
        rows = [row | {"id": i, "video": v} for i, v in enumerate(("good", "gone", "good"))]
        (tmp_path / "test.json").write_text(json.dumps(rows))
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "good.mp4").write_bytes(film.read_bytes())
        return tmp_path

    def test_counts_what_is_there(self, data):
        arguments = ("check-data", "numpro-json", "--data-root", data)
        result = json.loads(invoke(*arguments, "--json", code=1).stdout)
        counts = {"split": "test", "queries": 3, "videos": 2, "present": 1, "readable": 1}
        assert result["splits"][0].items() >= counts.items()
        assert [row["video"] for row in result["missing"]] == ["gone"]
        film = (data / "videos" / "good.mp4").read_bytes()
        (data / "videos" / "gone.mp4").write_bytes(film)
        numbers = invoke(*arguments).stdout.splitlines()[1].split()
        assert numbers[:5] == ["test", "3", "2", "2", "2"]
        (data / "videos" / "gone.mp4").write_bytes(film[:100])
        text = invoke(*arguments, code=1).stdout
        assert text.splitlines()[1].split()[:5] == ["test", "3", "2", "2", "1"]
        assert "unreadable: test gone: " in text

    def test_a_split_asked_for_must_be_there(self, data):
        arguments = ("check-data", "numpro-json", "--data-root", data, "--split", "val")
        assert "annotations" in invoke(*arguments, code=1).stderr


def bad(*arguments, says, code=1):
    return pytest.param(arguments, says, code, id=" ".join(arguments[:3]))


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        bad("number", "gone.mp4", "out.mp4", says="gone.mp4"),
        bad("number", "{film}", "{film}", says="another file"),
        bad("number", "{film}", "out.mp4", "--width", "10", says="--height", code=2),
        bad("number", "{film}", "no/folder/out.mp4", says="no/folder"),
        bad("number", "{film}", "out.mp4", "--position", "middle", says="must be one of top_left"),
        bad("number", "{film}", "out.mp4", "--color", "reddish", says="reddish"),
        bad("number", "{film}", "out.mp4", "--fps", "0", says="fps"),
        bad("frames", "{text}", says="text.txt"),
        bad("frames", "{film}", "--fps", "fast", says="not a valid float", code=2),
        bad("ask", "gone.mp4", "a dog", says="gone.mp4"),
        bad("ask", "{film}", " ", says="QUERY is empty", code=2),
        bad("ask", "{film}", "a dog", "--time-encoding", "song", says="overlay-index", code=2),
        bad("ask", "{film}", "a dog", "--top", "0", says="not in the range x>=1", code=2),
        bad("ask", "{film}", "a", "--min-confidence", "2", says="not in the range 0<=", code=2),
        bad("predict", "--out", "p.jsonl", "--top", "0", says="not in the range x>=1", code=2),
        bad("predict", "--read", "best", "--out", "p.jsonl", says="'greedy', 'ranked'", code=2),
        bad("check-data", "charade", says="must be one of flipbook"),
        bad("check-data", "numpro-json", "--data-root", "gone", says="gone"),
        bad("predict", "--dataset", "x", "--out", "p.jsonl", says="must be one of flipbook"),
        bad("predict", "--split", "test", says="Missing option '--out'", code=2),
        bad("evaluate", "moment-retrieval", "gone.jsonl", says="gone.jsonl"),
        bad("evaluate", "moment-retrieval", "{text}", says="not JSON"),
        bad("evaluate", "highlight-detection", "{text}", "{text}", says="not JSON"),
        bad(
            "evaluate",
            "moment-retrieval",
            "{text}",
            "--convention",
            "unitme",
            says="got 'unitme': did you mean unitime?",
        ),
        bad("finetune", "--dataset", "x", "--out", "o", says="must be one of flipbook"),
        bad("finetune", "--preset", "x", "--out", "o", says="laptop", code=2),
        bad("flipbook", "make", "--split", "x", says="is not one of 'train'", code=2),
        bad("run", "gone.yaml", says="no recipe"),
        bad("run", "-p", "fsp", "1", says="unknown parameter fsp; did you mean fps?"),
        bad("run", "-p", "seed", "one", says="seed must be int; got 'one'"),
        bad("run", "--run", "../out", says="a name must be letters"),
        bad("run", "--resume", says="nothing to resume"),
        bad("sing", says="No such command", code=2),
    ],
)
def test_bad_input_ends_in_one_line(project, film, monkeypatch, arguments, says, code):
    write_notebook(project / "notebooks" / "01_a.ipynb")
    (project / "text.txt").write_text("no video, no JSON\n")
    monkeypatch.chdir(project)
    before = sorted(project.rglob("*"))
    filled = [a.format(film=film, text=project / "text.txt") for a in arguments]
    result = invoke(*filled, code=code)
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and says in last
    assert code == 2 or result.stderr.count("\n") == 1
    assert sorted(project.rglob("*")) == before


def test_traceback_shows_where_an_error_comes_from(project):
    result = CliRunner().invoke(main, ["--traceback", "frames", "gone.mp4"])
    assert isinstance(result.exception, (ValueError, OSError))


def test_run_prints_the_scores_and_the_report(project):
    from score_rows import make_row

    write_notebook(
        project / "notebooks" / "01_a.ipynb",
        f"from numpro.workbook import Run\n_ = Run(run_dir).add_scores([{make_row()}], '01_a')",
    )
    (project / "slow.yaml").write_text("fps: 0.5\n")
    recipe = project / "slow.yaml"
    result = invoke("run", recipe, "--run", "mine", "-p", "seed", "-1", "-p", "adapter", "None")
    assert "model  base    none           1         30.0 [25.0, 35.0]" in result.stdout
    assert result.stdout.splitlines()[-1] == "report:  papermill_runs/mine/report.html"
    assert "[1/1] 01_a: cell 3/3" in result.stderr
    results = json.loads(invoke("run", "--run", "mine", "--resume", "--json").stdout)
    assert results["parameters"] == {"fps": 0.5, "seed": -1, "adapter": None}
    assert results["folder"] == "papermill_runs/mine" and results["seed"] == -1


def start_light(*arguments):
    """Run the command in a new process, in which it may load none of the heavy packages."""
    code = (
        f"import sys, runpy\nsys.argv = {['numpro', *map(str, arguments)]}\n"
        "try:\n    runpy.run_module('numpro', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'decord', 'av', 'matplotlib', 'papermill', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_module_is_the_command_and_starts_light(project):
    assert start_light("--version").startswith("numpro, version 0.")


def test_help_and_scores_of_files_start_light(predictions):
    assert "moment-retrieval" in start_light("evaluate", "--help")
    text = start_light("evaluate", "moment-retrieval", predictions, "--convention", "all")
    assert "unitime" in text


def test_the_clock_is_an_option(tmp_path):
    late = encode(tmp_path / "late.mp4", start=50)
    with pytest.warns(UserWarning, match="its first picture comes at 2.00 s"):
        rows = json.loads(invoke("frames", late, "--json").stdout)
    assert [row["source_index"] for row in rows] == [0, 0, 0, 25]
    again = json.loads(invoke("frames", late, "--origin", "first-picture", "--json").stdout)
    assert [row["source_index"] for row in again] == [0, 25]
    wrote = invoke("number", late, tmp_path / "o.mp4", "--origin", "first-picture").stdout
    assert "2 numbered frames, 1.60 s" in wrote


def test_memory_that_is_not_there_is_one_line(monkeypatch, film):
    def much(*_):
        raise MemoryError("Unable to allocate 10.9 TiB")

    monkeypatch.setattr("numpro.cli.videos.list_frames", much)
    assert invoke("frames", film, code=1).output == "Error: Unable to allocate 10.9 TiB\n"
