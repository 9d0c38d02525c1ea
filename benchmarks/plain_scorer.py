"""QVHighlights' scores the obvious way: one query, one threshold, one window after another.

Written from the documented rules alone, to check `numpro.metrics.official` and to time it
against; nothing is clever here on purpose.
"""

import math

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
RANGES = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": (-math.inf, math.inf)}
LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}


def iou(a, b):
    shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else 0.0


def precisions_above(precisions):
    """Replace each precision by the best one at the same or a later place."""
    return [max(precisions[i:]) for i in range(len(precisions))]


def detection_ap(predicted, true, threshold):
    """Average precision of scored windows: each takes the best true window not yet taken."""
    taken, hits = set(), []
    for window in sorted(predicted, key=lambda w: -w[2]):
        best, choice = -1.0, None
        for i, other in enumerate(true):
            overlap = iou(window, other)
            if i not in taken and overlap >= threshold and overlap >= best:
                best, choice = overlap, i
        hits.append(choice is not None)
        taken.add(choice)
    precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
    best = precisions_above(precisions)
    return sum(p for p, hit in zip(best, hits, strict=True) if hit) / len(true)


def first_hit(predicted, true, threshold):
    """Tell whether the first window listed reaches the threshold with the best true one."""
    return bool(predicted) and max(iou(predicted[0], window) for window in true) >= threshold


def clip_ap(scores, positive):
    """Average precision of clips ranked by score; equal scores share one threshold."""
    if len(set(positive)) == 1:
        return float(positive[0])
    points = []
    for threshold in sorted(set(scores)):
        chosen = [p for p, s in zip(positive, scores, strict=True) if s >= threshold]
        points.append((sum(chosen) / sum(positive), sum(chosen) / len(chosen)))
    points.append((0.0, 1.0))
    best, found = 0.0, []
    for (recall, precision), (next_recall, _) in zip(points, points[1:], strict=False):
        best = max(best, precision)
        if next_recall != recall:
            found.append(best)
    return sum(found) / len(found)


def mean(values):
    values = list(values)
    return float(f"{100 * sum(values) / len(values):.2f}") if values else None


def moment_scores(rows):
    """Score ``(windows, true windows)`` of every query in each range of lengths."""
    scores = {}
    for name, (low, high) in RANGES.items():
        pairs = [(s, [w for w in true if low < w[1] - w[0] <= high]) for s, true in rows]
        pairs = [(predicted[:10], true) for predicted, true in pairs if true]
        ap = [[detection_ap(s, t, threshold) for threshold in THRESHOLDS] for s, t in pairs]
        r1 = [[first_hit(s, t, threshold) for threshold in THRESHOLDS] for s, t in pairs]
        scores[name] = {
            "MR-mAP": {str(t): mean(row[i] for row in ap) for i, t in enumerate(THRESHOLDS)}
            | {"average": mean(sum(row) / len(row) for row in ap)},
            "MR-R1": {str(t): mean(row[i] for row in r1) for i, t in enumerate(THRESHOLDS)},
        }
    return scores


def highlight_scores(rows):
    """Score ``(clip scores, three annotators' scores by clip, clips)`` of every query."""
    scores = {}
    for level, least in LEVELS.items():
        aps, hits = [], []
        for predicted, rated, clips in rows:
            fitted = (list(predicted) + [0.0] * clips)[:clips]
            first = predicted.index(max(predicted))
            for annotator in range(3):
                positive = [rated.get(i, (0, 0, 0))[annotator] >= least for i in range(clips)]
                aps.append(clip_ap(fitted, positive))
            hits.append(first < clips and max(rated.get(first, (0, 0, 0))) >= least)
        scores[f"HL-min-{level}"] = {"HL-mAP": mean(aps), "HL-Hit1": mean(hits)}
    return scores


def score(predictions, annotations):
    """Return all nested scores but ``brief``, which repeats some of them."""
    true = {row["qid"]: row for row in annotations}
    moments, highlights = [], []
    for row in predictions:
        wanted = true[row["qid"]]
        moments.append((row["pred_relevant_windows"], wanted["relevant_windows"]))
        rated = dict(zip(wanted["relevant_clip_ids"], wanted["saliency_scores"], strict=True))
        clips = int(wanted["duration"] // 2)
        highlights.append((row["pred_saliency_scores"], rated, clips))
    return moment_scores(moments) | highlight_scores(highlights)
