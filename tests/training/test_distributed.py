"""Several processes learn what one learns; accelerate reads the configurations for more."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import numpro
from numpro.models import load_model
from numpro.training.finetuning import finetune
from numpro.training.presets import PRESETS

CONFIGS = Path(numpro.__file__).parent / "training" / "configs"
# two films with 7 queries, each asked for two things: an epoch is a step, with nothing left over
VALUES = {"learning_rate": 5e-3, "log_every": 1, "lora_rank": 8, "save_every": 2, "total_batch": 14}
TASKS = ("moment_retrieval", "highlight_detection")
STEPS = 3


def test_two_processes_give_the_loss_of_one(longva_dir, films, tmp_path):
    """`accelerate launch` of the command on two CPU processes (DDP over gloo).

    For accelerate ``--multi_gpu`` means several processes of its own; on CPUs alone it would want
    mpirun. The variable keeps them off any GPU.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--main_process_port", str(port), "--mixed_precision", "no"]
    command += ["--num_machines", "1", "--dynamo_backend", "no"]
    command += ["-m", "numpro", "finetune", "--split", "test", "--limit", "2", "--json"]
    command += ["--data-root", str(films[0].path.parents[2]), "--model", str(longva_dir)]
    command += ["--validation", "test", "--validation-limit", "2", "--steps", str(STEPS)]
    command += ["--out", str(tmp_path / "two"), "-p", "batch_size", "7"]
    command += ["-p", "tasks", ",".join(TASKS)]
    for name, value in VALUES.items():
        command += ["-p", name, str(value)]
    about = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=about)
    assert not done.returncode, done.stderr[-3000:]
    model = load_model(str(longva_dir), device="cpu", dtype="float32")
    changes = VALUES | {"steps": STEPS, "batch_size": 14, "tasks": TASKS}
    alone = finetune(model, films, tmp_path / "one", PRESETS["laptop"], False, films, **changes)
    two = json.loads(done.stdout)  # one process speaks, once
    assert two["plan"]["batch"] == 14 and two["notes"]["processes"] == 2
    for key in ("loss", "grad_norm", "learning_rate", "val_mIoU"):
        found, wanted = ([r[key] for r in log if r[key] is not None] for log in (two["log"], alone))
        assert found == pytest.approx(wanted, rel=1e-3) and wanted, key
    one, other = (load_file(tmp_path / n / "adapter_model.safetensors") for n in ("one", "two"))
    assert max((one[k].float() - other[k].float()).abs().max() for k in one) < 1e-3
    assert (tmp_path / "two" / "log.png").is_file()


# each of two processes met other videos that cannot be read; the first writes the notes
APART = """
import os, sys
from numpro.datasets import load_dataset
from numpro.training.finetuning import finetune
from numpro.models import load_model
from numpro.training.presets import FinetuneConfig
from numpro.training.samples import Samples
from numpro.training.validation import Validation

folder, films, out = sys.argv[1:]
rank, videos = os.environ["RANK"], load_dataset("flipbook", "test", films, limit=2)
both, mine = ({"video": name, "reason": "broken"} for name in ("both", f"of {rank}"))

def score(self):
    self.skipped += [mine, both]
    return 1.0

Validation.score = score
config = FinetuneConfig.of(None, steps=1, batch_size=1, lora_rank=2)
model = load_model(folder, device="cpu", dtype="float32")
samples = Samples(videos, model, config)
samples.skipped += [both, mine]
finetune(model, videos, out, config, False, videos, samples)
"""


def test_what_any_process_left_out_is_listed_once(longva_dir, films, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    place |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    arguments = [str(longva_dir), str(films[0].path.parents[2]), str(tmp_path)]
    command, ranks = [sys.executable, "-W", "ignore", "-c", APART, *arguments], ("0", "1")
    both = [
        subprocess.Popen(command, env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ranks
    ]
    assert [process.wait(timeout=400) for process in both] == [0, 0]
    notes = json.loads((tmp_path / "numpro.json").read_text())
    for skipped in (notes["data"]["skipped"], notes["validation_skipped"]):
        assert sorted(row["video"] for row in skipped) == ["both", "of 0", "of 1"]


@pytest.mark.parametrize(("name", "kind"), [("fsdp", "FSDP"), ("zero2", "DEEPSPEED")])
def test_configurations_for_many_gpus_are_read_by_accelerate(name, kind):
    from accelerate.commands.config.config_args import load_config_from_file

    path = CONFIGS / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.distributed_type.value == kind and config.mixed_precision == "bf16"
    assert config.num_processes == 8 and not config.use_cpu
    if kind == "DEEPSPEED":
        assert config.deepspeed_config["zero_stage"] == 2
    else:
        assert config.fsdp_config["fsdp_use_orig_params"] is True
    assert "not run" in path.read_text(encoding="utf-8")
