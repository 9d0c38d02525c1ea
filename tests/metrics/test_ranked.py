"""Scores of ranked moments, and how true their confidence is."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import benchmark, jsonl

from numpro import metrics
from numpro.metrics import ranked
from numpro.metrics.official import official_scores
from numpro.spans import temporal_iou

plain_scorer = benchmark("plain_scorer")
WINDOW = st.tuples(st.integers(0, 20), st.integers(1, 12)).map(lambda w: (w[0] / 2, sum(w) / 2))


def row(number, windows, truth, greedy=(), video=None, split="test", **changes):
    made = {"qid": number, "video": video or f"film {number}", "query": "a dog", "reason": None}
    made |= {"pred": [w[:2] for w in windows], "pred_relevant_windows": windows}
    made |= {"greedy": [*greedy], "truth": truth, "dataset": "made", "split": split}
    return made | changes


ROWS = [
    row(0, [[0, 4, 0.9], [4, 8, 0.3]], [[4, 8]], [[4, 8]]),
    row(1, [[2, 6, 0.8], [0, 9, 0.7]], [[2, 6]], [[2, 5]]),
    row(2, [], [[1, 2]], reason="no span found"),
]


def evaluated(path, rows, **options):
    found = metrics.evaluate_moment_predictions(jsonl(path / "rows.jsonl", rows), **options)
    json.dumps(found, allow_nan=False)
    return found


def test_ranked_rows_by_hand(tmp_path):
    scores = evaluated(tmp_path, ROWS)
    wanted = {"mIoU": 100 / 3, "R@0.7": 100 / 3, "R5@0.3": 200 / 3, "R5@0.7": 200 / 3}
    wanted |= {"best5_mIoU": 200 / 3, "moment_mAP": 50.0}  # right in the second place, the first
    assert {k: scores[k] for k in wanted} == pytest.approx(wanted)
    assert scores["unparsed"] == 1 and len(scores["intervals"]["R5@0.5"]) == 2
    rows = metrics.ranked_retrieval(ROWS, resamples=50)
    del wanted["R@0.7"]
    assert {k: rows[k][0] for k in wanted} == pytest.approx(wanted)
    assert rows["greedy_mIoU"][0] == pytest.approx(100 * 1.75 / 3) and rows["unparsed"] == 1
    # greedy is right where the first moment is not, and not quite where it is
    difference, low, high = scores["trust"]["against_greedy"]
    assert difference == pytest.approx(-25) and low < difference < high


def test_only_the_first_five_count(tmp_path):
    wrong = [[k, k + 1, 0.9 - k / 10] for k in range(5)]
    scores = evaluated(tmp_path, [row(0, [*wrong, [7, 9, 0.1]], [[7, 9]])])
    assert scores["R5@0.3"] == scores["best5_mIoU"] == 0
    assert scores["moment_mAP"] == pytest.approx(100 / 6, abs=0.01)  # of ten, as the script has it
    half = evaluated(tmp_path, [row(0, [[0, 5, 0.9]], [[0, 10]])])
    assert half["R5@0.5"] == 100, "an IoU of 0.5 counts"


@settings(max_examples=40)
@given(st.lists(st.tuples(st.lists(WINDOW, max_size=7), st.lists(WINDOW, min_size=1, max_size=3)),
                min_size=1, max_size=4))  # fmt: skip
def test_moment_map_is_the_official_scorers_and_the_best_five_are_searched(queries):
    windows = [[(*w, 1 / place) for place, w in enumerate(found, 1)] for found, _ in queries]
    truth = [true for _, true in queries]
    columns = ranked.ranked_columns(windows, truth)
    arrays = [np.array(w).reshape(-1, 3) for w in windows]
    official = official_scores((arrays, [np.array(t) for t in truth]), None, None, 1)
    assert 100 * columns["moment_mAP"].mean() == pytest.approx(
        official["brief"]["MR-full-mAP"], abs=0.0051
    )
    plain = plain_scorer.moment_scores(list(zip(windows, truth, strict=True)))
    average = plain["full"]["MR-mAP"]["average"]
    assert 100 * columns["moment_mAP"].mean() == pytest.approx(average, abs=0.0051)
    best = [max((temporal_iou(w, t) for w in found[:5] for t in true), default=0.0)
            for found, true in queries]  # fmt: skip
    assert columns["best5_mIoU"].tolist() == pytest.approx(best)
    assert columns["R5@0.5"].tolist() == [iou >= 0.5 for iou in best]


def test_further_moments_are_no_set_with_the_first(tmp_path):
    truth = [[0, 4], [10, 14]]
    scores = evaluated(tmp_path, [row(0, [[0, 4, 0.9], [4, 8, 0.3]], truth)])
    assert scores["set_mIoU"] == pytest.approx(50)  # of all windows together it would be 33.3
    assert scores["mIoU"] == 100 and scores["R5@0.7"] == 100
    other = {k: v for k, v in ROWS[0].items() if k not in ("pred", "greedy")} | {"truth": truth}
    assert evaluated(tmp_path, [other])["set_mIoU"] == pytest.approx(100 / 3)  # of a submission


def test_unscored_windows_gain_no_columns(tmp_path):
    plain = [{k: v for k, v in r.items() if k != "pred_relevant_windows"} for r in ROWS]
    for rows in (plain, [plain[0], *ROWS[1:]]):
        scores = evaluated(tmp_path, rows)
        assert not {"R5@0.5", "moment_mAP", "trust"} & scores.keys()
    with pytest.raises(ValueError, match="no windows with a confidence of 0 to 1, as predict"):
        evaluated(tmp_path, plain, min_confidence=0.5)
    logits = [row(0, [[0, 4, 3.7]], [[0, 4]])]  # a submission's scores need be no confidence
    assert "moment_mAP" in (scores := evaluated(tmp_path, logits)) and "trust" not in scores
    with pytest.raises(ValueError, match="must be 0 to 1; got the score 3.7"):
        metrics.confidences(logits)


# --- confidence ---
def drawn(temperature, count=4000, seed=0):
    """Answers that are right (IoU 1) as often as their confidence at this temperature says."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.02, 0.98, count)
    right = rng.random(count) < ranked.calibrate(confidence, temperature)
    return confidence, right.astype(float)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature):
    confidence, ious = drawn(temperature)
    fitted = ranked.fit_temperature(confidence, ious)
    assert fitted == pytest.approx(temperature, rel=0.12)
    assert ranked.calibration_error(ranked.calibrate(confidence, fitted), ious) < 0.03
    if temperature != 1:
        assert ranked.calibration_error(confidence, ious) > 0.07


def test_a_sure_confidence_does_not_break_the_fit():
    with np.errstate(all="raise"):
        assert np.isfinite(ranked.fit_temperature(np.array([1.0, 0.0, 1.0]), np.array([1, 0, 0.5])))
    assert ranked.calibrate(np.array([0.2, 0.5, 0.7]), 2.0).tolist() == pytest.approx(
        [1 / 3, 0.5, 0.604], abs=0.001
    )


def test_calibration_error_and_risk_by_hand():
    confidence, ious = np.array([0.95, 0.9, 0.15, 1.0]), np.array([0.5, 0.9, 0.05, 1.0])
    table = ranked.reliability(confidence, ious)
    assert table == pytest.approx(np.array([[0.15, 0.05, 1], [0.95, 0.8, 3]]))
    assert ranked.calibration_error(confidence, ious) == pytest.approx((0.1 + 3 * 0.15) / 4)
    curve = ranked.risk_coverage(confidence, ious)
    assert curve[:, 0].tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve[:, 1] == pytest.approx([0, 0.25, 0.2, 1 - 2.45 / 4])


def test_not_sure_leaves_answers_out_and_says_how_many(tmp_path):
    trust = evaluated(tmp_path, ROWS, min_confidence=0.85)["trust"]
    assert trust["coverage"] == pytest.approx(1 / 3) and trust["sure_mIoU"][0] == 0
    two = evaluated(tmp_path, ROWS, min_confidence=0.8)["trust"]["coverage"]
    assert two == pytest.approx(2 / 3)
    assert evaluated(tmp_path, ROWS, min_confidence=0.5)["trust"]["sure_mIoU"][0] == 50
    assert evaluated(tmp_path, ROWS, min_confidence=1.0)["trust"]["sure_mIoU"] is None
    with pytest.raises(ValueError, match="least confidence must be 0 to 1; got 1.5"):
        evaluated(tmp_path, ROWS, min_confidence=1.5)


def test_a_calibration_is_fitted_on_other_films_than_those_that_are_scored(tmp_path):
    val = [row(k, [[0, 4, c]], [[0, 4 * right or 9]], video=f"val {k}", split="val")
           for k, (c, right) in enumerate(zip(*drawn(3.0, 400), strict=True))]  # fmt: skip
    found = metrics.fit_calibration(val)
    assert found["temperature"] > 1.5 and found["n"] == 400 and found["dataset"] == ["made/val"]
    assert found["calibration_error"][1] < found["calibration_error"][0]
    trust = evaluated(tmp_path, ROWS, calibration=found)["trust"]
    assert trust["temperature"] == found["temperature"]
    assert trust["calibration_error"] != evaluated(tmp_path, ROWS)["trust"]["calibration_error"]
    with pytest.raises(ValueError, match="fitted on 400 of the scored videos, first 'val 0'"):
        metrics.trust(val, found)
    for split in ("test", "test_long", "train"):
        with pytest.raises(ValueError, match=f"validation films only; got made/{split}"):
            metrics.fit_calibration([row(0, [[0, 4, 0.5]], [[0, 4]], split=split)])


@pytest.mark.parametrize("given", [{"calibration": {"temperature": 2.0, "videos": []}},
                                   {"min_confidence": 0.0}])  # fmt: skip
def test_all_conventions_take_no_confidence(tmp_path, given):
    with pytest.raises(ValueError, match="'all' compares answers, not their confidence: score"):
        evaluated(tmp_path, ROWS, convention="all", **given)


def test_who_has_no_confidence_gets_none_by_a_temperature():
    sure = [row(k, [[0, 4, 0.6]], [[0, 4]], split="val") for k in range(4)]
    silent = [row(9, [[0, 4, 0.0]], [[8, 9]], split="val"), row(10, [], [[8, 9]], split="val")]
    alone, found = metrics.fit_calibration(sure), metrics.fit_calibration([*sure, *silent])
    assert found["temperature"] == alone["temperature"] and found["n"] == 6
    test = [r | {"video": "other"} for r in (*sure, *silent)]
    assert metrics.confidences(test, found)[0][-2:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="no row has a confidence"):
        metrics.fit_calibration(silent)
