"""What a model is asked, and what its answer says.

In comes a query with the seconds of a clip. Out comes a `Prompt` (`build_prompt`); and of the text
that a model gives, the spans or highlights in it (`parse_moment`, `parse_highlights`).
"""

import lazy_loader

_NAMES = {
    "encodings": ["ENCODINGS", "TIME_ENCODINGS", "asked_unit"],
    "prompts": ["MOMENT", "HIGHLIGHTS_FT", "TASKS", "Prompt", "build_prompt", "render_prompt"],
    "answers": ["HighlightAnswer", "MomentAnswer", "parse_highlights", "parse_moment"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
