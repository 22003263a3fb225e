"""A run that is killed, wherever, and started again ends as if nothing had happened: same bytes, same losses."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support import run_worker as worker
from support import tiny_models as tiny

pytest.importorskip("torch")

STEPS = 10
ALRIGHT: dict[str, Any] = {"method": "alright", "lora_dropout": 0.2}
STACKED: dict[str, Any] = {"method": "sequential", "lam": 0.5, "stack": True, "lora_dropout": 0.2}
# A run's options, and before which changes of files it is killed, one after the other: words of the path, and the
# number of its change. Together these are all kinds of state and all kinds of files.
CASES: dict[str, tuple[dict[str, Any], list[tuple[str, int]]]] = {
    "stacked": (STACKED, [("cut/run.json", 1), ("cut/stage1", 1), ("stage2", 5)]),
    "mix": (
        {"method": "mix", "lam": 0.3, "reference": "sft", "reference_steps": 3},
        [("/adapters/", 10), ("tensors.safetensors", 1)],  # of an older checkpoint, which is removed
    ),
    "blocks": ({**ALRIGHT, "block": 5}, [("/reference/", 20), ("cut/metrics.jsonl", 9)]),
    "maxright": (
        {"method": "maxright", "k": 3, "f_star": "compute", "optima_steps": 4},
        [("/optima/", 80), ("checkpoints/step-00000006", 1)],
    ),
    "pissa": (
        {
            **ALRIGHT,
            "lora": ["init_lora_weights=pissa_niter_2", "use_dora=true"],
            "keep_every": 4,
            "neftune_alpha": 5.0,
        },
        [("checkpoints/step-00000006", 1), ("cut/kept/", 9)],
    ),
    "three objectives": (
        {
            "method": "maxright",
            "k": 2,
            "lora_dropout": 0.2,
            "sft": None,
            "preference": None,
            "objective": [
                "chat=sft:{sft}",
                "safe=preference:{preference}",
                "brief=preference:{preference}",
                "loss=simpo",
                "weight=0.5",
                "batch=3",
            ],
        },
        [("cut/metrics.jsonl", 9), ("checkpoints/step-00000006", 1)],
    ),
    "three stages": (
        {
            "method": "sequential",
            "average": True,
            "sft": None,
            "preference": None,
            "order": "brief-chat-safe",
            "objective": ["chat=sft:{sft}", "safe=preference:{preference}", "brief=preference:{preference}"],
        },
        [("stage2", 1), ("checkpoints/step-00000009", 1)],
    ),
    "estimate": (
        {"method": "maxright", "k": 2, "schedule": "cosine", "optimizer": "sgd"},
        [("checkpoints/step-00000003", 2), ("cut/adapter_model", 1), ("cut/summary.json", 1)],
    ),
}


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a tiny run on files."""
    folder = tmp_path_factory.mktemp("sets")
    rows = {"sft": tiny.sft_rows(), "preference": tiny.preference_rows()}
    for name, values in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in values), encoding="utf-8")
    return {
        "model": str(tiny.base(folder / "base")),
        "sft": str(folder / "sft.jsonl"),
        "preference": str(folder / "preference.jsonl"),
        "steps": STEPS,
        "batch_sft": 4,
        "batch_preference": 4,
        "lora_rank": 4,
        "lr": 1e-2,
        "max_length": 64,
        "held_out": 0.2,
        "eval_every": 4,
        "save_every": 3,
        "reference": "base",
        "device": "cpu",
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_kills_before_changes_of_files_leave_no_trace(tmp_path: Path, common: dict[str, Any], case: str) -> None:
    own, kills = CASES[case]
    options, server = {**common, **own}, worker.server()
    options["objective"] = [text.format(**common) for text in options.get("objective", [])]
    options = {name: value for name, value in options.items() if value is not None}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    once = worker.command(whole, **options, cache=str(tmp_path / "cache_whole"))
    again = worker.command(cut, **options, cache=str(tmp_path / "cache_cut"))
    for path, n in kills:
        job = server.run(again, tmp_path / "log", kill_path=path, kill_at=n)
        assert job.status == -signal.SIGKILL, job.said
    job = server.run(again, tmp_path / "log", after=[once])
    assert job.status == 0, job.said
    assert worker.weights(cut) == worker.weights(whole)
    assert worker.lines(cut) == worker.lines(whole)
    assert [line["step"] for line in worker.lines(cut) if "objective" in line] == list(range(1, STEPS + 1))
    assert {p.name for p in cut.iterdir()} == {p.name for p in whole.iterdir()}
    assert {p.name for p in (cut / "checkpoints").iterdir()} == {"step-00000009", f"step-{STEPS:08d}"}


@pytest.mark.slow
def test_kills_at_any_moment_of_the_loop(tmp_path: Path, common: dict[str, Any]) -> None:
    own = {"method": "sequential", "lam": 0.4, "schedule": "linear", "warmup": 2}
    options = {**common, **own, "steps": 24, "save_every": 5, "cache": str(tmp_path / "cache")}
    server, whole, cut = worker.server(), tmp_path / "whole", tmp_path / "cut"
    again = worker.command(cut, **options)
    for least in (8, 19):
        job = server.start(again, tmp_path / "log")
        with worker.patience("metrics") as still:
            while _count(cut) < least:
                still()
        job.kill()
        assert server.wait(job) in (-signal.SIGKILL, 0), job.said
    job = server.run(again, tmp_path / "log", after=[worker.command(whole, **options)])
    assert job.status == 0, job.said
    assert worker.weights(cut) == worker.weights(whole)
    assert worker.lines(cut) == worker.lines(whole)


@pytest.mark.slow
def test_asked_to_stop_it_saves_the_step_and_goes_on_exactly(tmp_path: Path, common: dict[str, Any]) -> None:
    options = {**common, **STACKED, "steps": 40, "save_every": 1000, "cache": str(tmp_path / "cache")}
    server, whole, cut = worker.server(), tmp_path / "whole", tmp_path / "cut"
    lines, step, checkpoints = 0, 0, list[str]()
    again = worker.command(cut, **options)
    for number in (signal.SIGTERM, signal.SIGINT):
        job = server.start(again, tmp_path / "log")
        with worker.patience("metrics") as still:
            while _count(cut) < lines + 4:
                still()
        job.kill(number)
        assert server.wait(job) == 130, job.said
        earlier, step = step, max(line["step"] for line in worker.lines(cut))
        assert earlier + 3 <= step < 40
        assert job.said.splitlines()[-1] == (
            f"error: stopped after step {step} of 40, as asked; the same command resumes"
        )
        checkpoints.append(f"step-{step:08d}")
        assert sorted(p.name for p in (cut / "checkpoints").iterdir()) == checkpoints
        assert not (cut / "summary.json").exists()
        lines = _count(cut)
    job = server.run(again, tmp_path / "log", after=[worker.command(whole, **options)])
    assert job.status == 0, job.said
    assert worker.weights(cut) == worker.weights(whole)
    assert worker.lines(cut) == worker.lines(whole)


@pytest.mark.slow
def test_what_is_finished_is_returned_as_it_is(tmp_path: Path, common: dict[str, Any]) -> None:
    options = {**common, **ALRIGHT, "steps": 2, "cache": str(tmp_path / "cache")}
    server, folder = worker.server(), tmp_path / "run"
    first = server.run(worker.command(folder, **options), tmp_path / "log")
    assert first.status == 0, first.said
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    second = server.run(worker.command(folder, **options), tmp_path / "log")
    assert second.status == 0
    assert f"{folder} is finished; nothing to do (--overwrite begins anew)" in second.said
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"} == before


@pytest.mark.slow
def test_a_second_process_is_kept_out(tmp_path: Path, common: dict[str, Any]) -> None:
    from filelock import FileLock

    folder = tmp_path / "run"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        job = worker.server().run(worker.command(folder, **common, cache=str(tmp_path / "cache")), tmp_path / "log")
        assert (folder / ".lock").exists()  # still the first one's
    assert job.status == 2
    assert job.said.splitlines()[-1] == (
        f"error: out: another process is running in {folder}; wait for it, or give another folder"
    )


def _count(folder: Path) -> int:
    """Whole lines of metrics.jsonl so far."""
    path = folder / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0
