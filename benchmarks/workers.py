"""How many videos are read with so many workers, and in how much memory.

``python benchmarks/workers.py`` writes workers.json in less than two minutes. Films are generated;
throughput is by the clock, so the machine should do nothing else; CPU time is of all processes
together. Memory is the sum of what every process holds (RSS), which counts shared pages again.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from multiprocessing import Pipe, forkserver
from pathlib import Path

import numpy as np
import psutil

from numpro import write_video
from numpro.provenance import provenance
from numpro.video.workers import Request, read_many

SIZE = (336, 336)


def films(folder, count, seconds, width, height):
    """Write one film of moving noise and copies of it."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 8, width // 8 + 64, 3), np.uint8)
    noise = noise.repeat(8, axis=0).repeat(8, axis=1)
    frames = (noise[:, 2 * (n % 200) : 2 * (n % 200) + width] for n in range(30 * seconds))
    first = write_video(folder / "0.mp4", frames, fps=30)
    return [first] + [Path(shutil.copy(first, folder / f"{n}.mp4")) for n in range(1, count)]


def cpu_seconds():
    """Return the CPU time of this process and of the workers that have ended."""
    spent = time.process_time()
    if pid := forkserver._forkserver._forkserver_pid:
        times = psutil.Process(pid).cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def throughput(paths, workers):
    requests = [Request(path, {"fps": 1.0, "size": SIZE}) for path in paths]
    list(read_many(requests[:1], workers))  # what is started once is
    cpu, clock = cpu_seconds(), time.perf_counter()
    frames = sum(len(clip) for _, clip in read_many(requests, workers))
    clock, cpu = time.perf_counter() - clock, cpu_seconds() - cpu
    row = {"workers": workers, "videos": len(paths), "frames": frames, "seconds": clock}
    return row | {"videos_per_s": len(paths) / clock, "cpu_s": cpu}


def resident():
    """Return the bytes that this process and all that it started hold now."""
    total, here = 0, psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def memory(path, count, workers, parts=5):
    """Read one small film so many times; return the peak of each part."""
    peaks, at, done = [0] * parts, 0, threading.Event()

    def watch():
        while not done.wait(0.1):
            peaks[at] = max(peaks[at], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number, _ in enumerate(
        read_many([Request(path, {"fps": 4.0, "size": SIZE})] * count, workers)
    ):
        at = number * parts // count
    done.set()
    watcher.join()
    mib = [peak / 2**20 for peak in peaks]
    row = {"workers": workers, "videos": count, "peak_mib_by_part": mib}
    return row | {"last_to_first": mib[-1] / mib[0]}


def hand_over(folder, repeats=3):
    """Time what 240 frames cost on their way back, in CPU seconds of both ends."""
    frames = np.random.default_rng(0).integers(0, 256, (240, *SIZE, 3), np.uint8)
    reader, writer = Pipe(False)

    def by_pipe():
        thread = threading.Thread(target=writer.send, args=(frames,))
        thread.start()
        reader.recv()
        thread.join()

    def by_file():
        np.save(folder / "frames.npy", frames)
        np.load(folder / "frames.npy")

    row = {"mb": frames.nbytes / 1e6}
    for name, way in (("file", by_file), ("pipe", by_pipe)):
        tries = []
        for _ in range(repeats):
            began = time.process_time()
            way()
            tries.append(time.process_time() - began)
        row[f"{name}_cpu_s"] = min(tries)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    cores = len(psutil.Process().cpu_affinity()) if psutil.LINUX else psutil.cpu_count()
    parser.add_argument("--workers", type=int, default=cores, help="at most [cores]")
    parser.add_argument("--videos", type=int, default=24, help="films of 30 s, 640 x 360")
    parser.add_argument("--small", type=int, default=500, help="films of 4 s, for the memory")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("workers.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = films(Path(folder), 1, 4, 160, 96)[0]
        flat = memory(small, arguments.small, min(arguments.workers, 4))
        paths = films(Path(folder), arguments.videos, 30, 640, 360)
        rows = [throughput(paths, workers) for workers in range(arguments.workers + 1)]
        over = hand_over(Path(folder))
    about = provenance()
    print(f"{about['machine']['processor']}, {cores} cores")
    print("workers  videos/s  to one  CPU s  to none")
    for row in rows:
        row["to_one"] = row["videos_per_s"] / rows[1]["videos_per_s"]
        row["cpu_to_none"] = row["cpu_s"] / rows[0]["cpu_s"]
        line = f"{row['workers']:7d} {row['videos_per_s']:9.2f} {row['to_one']:7.2f} "
        print(line + f"{row['cpu_s']:6.2f} {row['cpu_to_none']:8.2f}")
    peaks = ", ".join(f"{mib:.0f}" for mib in flat["peak_mib_by_part"])
    print(f"peak MiB of all processes over {flat['videos']} videos, by fifths: {peaks}")
    costs = f"file {over['file_cpu_s']:.3f}, pipe {over['pipe_cpu_s']:.3f} CPU s"
    print(f"{over['mb']:.0f} MB handed over: {costs}")
    machine = {"processor": about["machine"]["processor"], "cores": cores}
    report = {
        "machine": machine,
        "versions": about["versions"],
        "rows": rows,
        "memory": flat,
        "hand_over": over,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"wrote {arguments.out.name}")


if __name__ == "__main__":
    main()
