"""NumPro-FT: LoRA fine-tuning on numbered clips.

In come `VideoQueries` and a base model. Out comes an adapter folder with its notes, log and card;
a broken training goes on where its last whole checkpoint stands.
"""

import lazy_loader

_NAMES = {
    "samples": ["IGNORED", "Samples"],
    "finetuning": ["finetune", "plan", "read_log", "save_adapter", "train_or_take"],
    "presets": ["PRESETS", "FinetuneConfig"],
    "reward": ["METHODS", "RewardConfig", "answer_spans", "draw_answers", "equal_rewards"]
    + ["greedy_ious", "group_rewards", "grpo_loss", "learn_on"],
    "memory": ["predict_memory", "trainable_parameters"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_NAMES)
