"""Reports of a small run, as the displays are shown them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config import ModelConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened
from charrnn.training.plan import Plan
from charrnn.training.reports import Evaluation, Finished, Incident, Progress, Snapshot, Started
from charrnn.training.trouble import Trouble

BIT = math.log(2)  # nats
WEIGHTS = {"output.bias": np.zeros(5, np.float32)}
RUN = RunFolder(Path("checkpoints") / "tiny")
OPENED = Opened(RUN, corpus_from_text("abcde" * 300, name="book"), None, room_bytes=2_500_000)
STARTED = Started(
    plan=Plan(
        model=ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4, num_layers=2, dropout=0.1),
        seq_len=16,
        batch_size=8,
        learning_rate=4e-3,
        total_steps=200,
        eval_every=50,
    ),
    parameters=1234,
    state_bytes=20_000,
    model_bytes=5_000,
    micro_batches=1,
    device="cpu",
    precision="fp32",
    threads=2,
    train_chars=1350,
    val_chars=150,
)
PROGRESS = Progress(
    step=50,
    total_steps=200,
    epoch=1.5,
    chars_seen=6400,
    train_nats=2.75 * BIT,
    learning_rate=3e-3,
    gradient_norm=0.625,
    chars_per_second=12_345,
    elapsed_seconds=10,
    memory_bytes=123_000_000,
    is_milestone=True,
)
EVALUATION = Evaluation(
    step=50,
    chars_seen=6400,
    elapsed_seconds=10,
    train_nats=2.75 * BIT,
    train_eval_nats=None,
    val_nats=2.5 * BIT,
    best_val_nats=2.25 * BIT,
    is_best=False,
    weights=WEIGHTS,
)
WRITTEN = Written(50, "once upon a time\nthere was")
SNAPSHOT = Snapshot(50, STARTED.plan.model, WEIGHTS, {}, {})
FINISHED = Finished(
    best_val_compared_nats=2.25 * BIT,
    reason="length",
    step=200,
    best_step=150,
    chars_seen=25_600,
    epochs=4.0,
    got_worse=False,
    trouble=None,
    elapsed_seconds=75,
    train_nats=2 * BIT,
    best_val_nats=2.25 * BIT,
    best_train_nats=2.125 * BIT,
    best_train_eval_nats=2.125 * BIT,
    best_val_windowed_nats=1.625,
    best_weights=WEIGHTS,
    snapshot=SNAPSHOT,
)
RUN_FINISHED = RunFinished(RUN, FINISHED, {"gzip": 3.0, "xz": 3.5}, 150, bytes_per_char=2.0)
STOPPED = replace(
    FINISHED,
    reason="stopped",
    step=3,
    best_step=0,
    train_nats=math.nan,
    best_val_nats=None,
    best_train_nats=math.nan,
    best_train_eval_nats=None,
    best_val_windowed_nats=None,
    best_weights=None,
)
TROUBLE = Trouble(
    worse_than="guessing",
    val_nats=7.125 * BIT,
    limit_nats=6.625 * BIT,
    is_rate_too_high=True,
    learning_rate=0.002,
    is_clipped=False,
)
SPIKE = Incident(
    kind="spike",
    step=1234,
    epoch=2.5,
    position=56_789,
    lane_length=100_000,
    train_nats=5.25 * BIT,
    level_nats=1.5 * BIT,
)
