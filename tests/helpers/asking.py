"""`numpro.inference.predict` for tests: single options, sorted into the records they belong to."""

from dataclasses import fields

from numpro.inference import Execution
from numpro.inference.prediction import predict as predict_with_records
from numpro.models import Question
from numpro.video import Sampling


def predict(videos, model, out, **options):
    """Ask without a progress bar; options are single fields, such as ``fps=2`` or ``workers=0``."""
    given = {"progress": False} | options
    records = {}
    for name, kind in (("sampling", Sampling), ("question", Question), ("execution", Execution)):
        known = {field.name for field in fields(kind)}
        records[name] = kind(**{k: given.pop(k) for k in list(given) if k in known})
    return predict_with_records(videos, model, out, **records, **given)
