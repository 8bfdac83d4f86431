"""A run that goes wrong though its numbers stay finite, and what to try instead.

A loss or gradient that is not finite moves no weight (step.py). Here a run is found whose model got
worse than one that has learned nothing, or far worse than it once was. Losses are in nats per
character.
"""

from dataclasses import dataclass

from charrnn.config import TrainConfig
from charrnn.training.plan import Plan, choose_learning_rate
from charrnn.training.stats import TrainingStats

_CLEAR_SHARE = 0.02  # of the loss of what the model is worse than: less is chance
_FAR_SHARE = 0.5  # of the best loss
_FAR_ABOVE = 3.0  # times the rate that the plan would choose
_LOWER = 0.3


@dataclass(frozen=True)
class Trouble:
    """The last model is worse than one that knows nothing, or far worse than an earlier one.

    worse_than: "guessing": all tokens are equally likely; "frequencies": each is as likely as it is
    frequent in the training text; "before": the run's best model. val_nats: of the last evaluation;
    limit_nats: of what it is worse than. is_rate_too_high: else the run has only begun to learn.
    learning_rate: to try instead, if any. is_clipped: gradients were clipped.
    """

    worse_than: str
    val_nats: float
    limit_nats: float
    is_rate_too_high: bool
    learning_rate: float | None
    is_clipped: bool


def find_trouble(
    stats: TrainingStats, naive_nats: dict[str, float], plan: Plan, config: TrainConfig
) -> Trouble | None:
    """Return what is wrong with the model that was scored last; None if nothing is.

    naive_nats: the losses of models that know nothing, by name, the worst first.
    """
    best = stats.best
    val_nats = stats.last_val_nats
    # An overfitted model may be as bad on held-out text, and is good on the training text.
    least_nats = min(val_nats, stats.train_nats or 0.0)
    limits = naive_nats | {"before": (1 + _FAR_SHARE) * max(best.val_nats, best.train_nats)}
    worse_than = next(
        (name for name, nats in limits.items() if least_nats > (1 + _CLEAR_SHARE) * nats), None
    )
    if worse_than is None:
        return None
    # A short run may not have learned anything yet: then it still gets better.
    rate = plan.learning_rate
    usual = choose_learning_rate(plan.model)
    is_too_high = worse_than == "before" or stats.got_worse or rate > _FAR_ABOVE * usual
    better = min(_LOWER * rate, usual) if is_too_high else usual
    return Trouble(
        worse_than=worse_than,
        val_nats=val_nats,
        limit_nats=best.val_nats if worse_than == "before" else limits[worse_than],
        is_rate_too_high=is_too_high,
        learning_rate=better if is_too_high or better > rate else None,
        is_clipped=config.clip_grad_norm > 0 or config.clip_grad_value > 0,
    )
