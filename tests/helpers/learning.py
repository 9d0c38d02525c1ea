"""What a model of any class must learn: a batch weighs its samples, and LoRA lowers the loss."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from numpro.models.training_batches import IGNORED


def mean_loss(model, samples, rel):
    """Return the loss of a batch, which is that of its samples by how many tokens each teaches."""
    with torch.no_grad():
        alone = [model.model(**model.collate([sample])).loss.item() for sample in samples]
        both = model.model(**model.collate(samples)).loss.item()
    counts = [sum(token != IGNORED for token in sample["labels"]) for sample in samples]
    assert both == pytest.approx(np.average(alone, weights=counts), rel=rel)
    return both


def train_lora(model, batch, rate, steps) -> tuple[PeftModel, list[str], float]:
    """Train LoRA on a batch; return the model, the names of what learns and the last loss."""
    config = LoraConfig(r=4, target_modules=model.lora_targets(), task_type="CAUSAL_LM")
    trained = get_peft_model(model.model, config)
    names = [name for name, weight in trained.named_parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), lr=rate)
    for _ in range(steps):
        loss = trained(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return trained, names, loss.item()
