"""Where the score comes from: by the length and place of the span, and by the video."""

from collections.abc import Sequence

import numpy as np

from numpro.metrics.baselines import Videos, flat
from numpro.metrics.moment_retrieval import moment_retrieval
from numpro.spans import Span

_DOUBLING = (0.0, *2.0 ** np.arange(20))
_EDGES = {"span length (s)": _DOUBLING, "position of its middle": (0.0, 1 / 3, 2 / 3, 1.0),
          "video length (s)": _DOUBLING, "events in the video": _DOUBLING}  # fmt: skip


def breakdown(videos: Videos, predicted: Sequence[Span | None]) -> list[dict]:
    """Score moment retrieval apart by what the question was like.

    Parameters
    ----------
    videos
        A dataset with its truth; of several true spans of a query the first one counts here.
    predicted
        One span in seconds per query, in the flat order of the dataset; None is unparsed.

    Returns
    -------
    list of dict
        Rows with ``by`` (span length, position of its middle in the video, video length, or
        distinct true spans in the video), ``above`` and ``to`` (the bin without its lower and
        with its upper edge), and what `numpro.metrics.moment_retrieval` returns for its queries
        (of 500 resamples).
    """
    pairs = flat(videos)
    if len(predicted) != len(pairs):
        raise ValueError(f"{len(predicted)} predictions for {len(pairs)} queries")
    events = [len({span for query in video.queries for span in query.spans}) for video, _ in pairs]
    true = np.array([query.spans[0] for _, query in pairs])
    lengths = np.array([video.duration for video, _ in pairs])
    values = true[:, 1] - true[:, 0], true.mean(axis=1) / lengths, lengths, events
    rows = []
    for (name, edges), value in zip(_EDGES.items(), values, strict=True):
        places = np.clip(np.searchsorted(edges, value), 1, len(edges) - 1)
        for place in np.unique(places):
            here = np.flatnonzero(places == place)
            answers, truth = [predicted[i] for i in here], [pairs[i][1].spans for i in here]
            names = [pairs[i][0].video for i in here]
            scores = moment_retrieval(answers, truth, names, resamples=500)
            above, to = map(float, edges[place - 1 : place + 1])
            rows.append({"by": name, "above": above, "to": to, **scores})
    return rows
