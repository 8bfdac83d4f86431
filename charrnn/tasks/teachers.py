"""The models that a run learns from: which there are, and whether they go with its text."""

from __future__ import annotations

from charrnn.checkpoint.model_file import Arrays
from charrnn.config import ModelConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import ConfigError
from charrnn.tasks.train_request import TrainRequest
from charrnn.training.world import World


def read_teachers(
    request: TrainRequest, text: Corpus, world: World
) -> list[tuple[ModelConfig, Arrays]]:
    """Return shapes and weights of the models that the run learns from, if any.

    Raises:
        ConfigError: one of them is no model of this text, or the run cannot learn from models.
    """
    if not request.teachers:
        if request.train.written_lanes is not None and request.resumed is None:
            raise ConfigError(
                "--written-lanes is for runs that learn from models, and this one does not; leave "
                "it out, or give --distill-from or --teachers"
            )
        return []
    if request.task != "text":
        raise ConfigError(
            f"--distill-from is for models of text, and this run is for {request.task}; leave it "
            "out"
        )
    if text.labels:
        raise ConfigError(
            "--distill-from is for texts without labels, as what teachers write has none; leave "
            "one of them out"
        )
    if world.world_size > 1:
        raise ConfigError("--distill-from trains in one process; start it without torchrun")
    if request.train.batch_size == 1:
        raise ConfigError(
            "--distill-from reads the text and what teachers write in lanes of their own; give "
            "--batch-size 2 or more"
        )
    for name, teacher in zip(request.run.distill_from, request.teachers, strict=True):
        if teacher.config.task != "text" or teacher.config.label_count:
            what = "has labels" if teacher.config.label_count else f"is for {teacher.config.task}"
            raise ConfigError(
                f"model {name!r} {what}; --distill-from is for models of text without labels"
            )
        if teacher.vocab != text.vocab:
            raise ConfigError(
                f"model {name!r} has another vocabulary than {text.name}; --distill-from takes "
                "models of the same text, read with the same settings"
            )
    return [(teacher.config, teacher.weights) for teacher in request.teachers]
