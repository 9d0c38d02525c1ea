"""``numpro instructions``, ``finetune``, ``adapter`` and ``convert``: a model of one's own."""

from functools import partial
from pathlib import Path

from numpro import datasets
from numpro.cli import base
from numpro.cli.base import here, main, say, tell
from numpro.datasets import instructions as teaching
from numpro.prompting import ENCODINGS, TASKS
from numpro.training.presets import PRESETS, FinetuneConfig, parse_values
from numpro.training.processes import rank


@main.command()
def instructions(dataset, data_root, limit, split, task, form, videos, absent, out, **how) -> None:
    """Write questions with true answers for fine-tuning with another trainer.

    It also says what rounding seconds to labels costs: the mean IoU that is lost.

    Example:
      numpro instructions --format ms-swift --out train.jsonl --videos numbered
      numpro instructions --dataset didemo --data-root didemo --format llama-factory --out a.json
    """
    loaded = datasets.load_dataset(dataset, split, data_root, limit=limit)
    config = teaching.InstructionConfig(**how, highlight_fps=how["fps"])
    folder = Path(videos).absolute() if videos else None
    samples, report = teaching.build_samples(loaded, task, config, folder, not absent)
    if not samples:
        reasons = ["left out: {video}: {reason}".format(**row) for row in report["skipped"]]
        raise ValueError(f"no samples in {len(loaded)} videos; {(reasons or ['no queries'])[0]}")
    teaching.export(samples, Path(out).absolute(), form)
    unnumbered = ENCODINGS[how["time_encoding"]].drawn and not videos
    base.show({"out": out, "format": form} | report, "instructions", unnumbered=unnumbered)


@main.command()
def finetune(
    dataset, data_root, limit, split, model, preset, pairs, validation, validation_limit,
    question, dry_run, overwrite, out, **changes,
) -> None:  # fmt: skip
    """Fine-tune a model with LoRA on numbered clips; writes an adapter and its log.

    The same command goes on with a broken run: with save_every there are checkpoints in OUT. Of a
    finished one it says so, and trains nothing.
    On several GPUs: accelerate launch --num_processes 8 -m numpro finetune ...; for FSDP and
    ZeRO-2 with --config_file and one of numpro/training/configs.

    Example:
      numpro finetune --dataset flipbook --out adapters/mine --steps 50
      numpro finetune --preset paper -p learning_rate 5e-5 --validation val --out a --dry-run
    """
    from numpro.training.finetuning import finished, prepare, train

    changes = {name: value for name, value in changes.items() if value is not None}
    changes |= {"templates": {TASKS[0]: question}} if question else {}
    name, out = here(model), Path(out).absolute()
    load = partial(datasets.load_dataset, dataset, data_root=data_root)
    videos = load(split, limit=limit)
    watched = load(validation, limit=validation_limit) if validation else ()
    config = FinetuneConfig.of(PRESETS[preset], **changes | parse_values(pairs))
    again = not (dry_run or overwrite)
    if again and (done := finished(name, videos, out, config, watched)):
        done |= {"out": str(out), "config": config.as_json(), "finished": True}
        line = f"{out} is finished, with these values and data: nothing to do; --overwrite trains"
        if rank() == 0:
            say(done, f"{line} it anew")
        return
    samples, facts = prepare(name, videos, config)
    for title, values in facts.items() if rank() == 0 else ():
        tell(f"{title}: " + ", ".join(f"{k} {v}" for k, v in values.items()))
    if dry_run:
        return say(facts, *(f"{k}: {v}" for k, v in facts["plan"].items()))
    made = train(samples, out, watched)
    if rank() == 0:  # of several processes one speaks
        say({"out": str(out)} | facts | made, f"wrote {out}: adapter, log.csv and log.png")


@main.group()
def adapter() -> None:
    """Do something with an adapter that was fine-tuned."""


@adapter.command()
def merge(adapter, model, out) -> None:
    """Add ADAPTER to its base and write a plain model, which is loaded without adapter.

    The folder must be new or empty.

    Example:
      numpro adapter merge flipbook/numpro-ft --out models/numpro-merged
    """
    from numpro.models.merging import merge

    merge(here(adapter), Path(out).absolute(), here(model))
    say({"out": out}, f"wrote {out}: a plain model")


@adapter.command()
def export(adapter, model, out) -> None:
    """Write ADAPTER as vLLM loads it; refused, with the reason, where vLLM would.

    Example:
      numpro adapter export adapters/mine --out served/mine
    """
    from numpro.models.merging import export_for_vllm

    rank = export_for_vllm(here(adapter), Path(out).absolute(), here(model))
    serve = f"--enable-lora --max-lora-rank {rank} --lora-modules NAME={out}"
    say({"out": out, "rank": rank}, f"wrote {out}", f"vllm serve MODEL {serve}")


@main.command()
def convert(source, out, vision_tower) -> None:
    """Write LongVA-7B-DPO, or the released NumPro-FT adapter, in our format to the folder OUT.

    IN is a folder, or for the model a hub id. Both can also be used without this, as they are.

    Example:
      numpro convert pretrained/LongVA-7B-DPO models/longva-7b-dpo
      numpro convert checkpoints/longva_7b_dpo_NumPro_FT models/numpro-ft
    """
    from numpro.models.longva.convert import convert as written

    made = written(here(source), out, here(vision_tower))
    size = f"{made['tensors']} tensors, {made['bytes'] / 1e9:.2f} GB"
    say(made, f"wrote {out}: {made['kind']}, {size}")
