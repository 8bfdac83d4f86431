"""Whose speech is it? Speakers of a play as labels: what they save, and whether samples obey.

python benchmarks/speakers.py PLAY [--budget 2m] [--seeds 1 2 3] [--least 50] [--samples 1000]

PLAY has a line such as `ROMEO:` before each speech; speakers with fewer than --least speeches are
left out as labels. Two models train on the same speeches, one with the speakers and one without.
Then the first writes --samples speeches, as many of each speaker, and a naive Bayes classifier on
character 1- to 4-grams that has learned from the real training speeches says whose they are; what
it says of real held-out speeches is printed before. --label-strength 1 2: how much labels count;
--temperature 0.8.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from naive_bayes import NaiveBayes
from runs import one_line_errors

import charrnn
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.text.vocab import END

PATTERN = r"^(?P<speaker>[A-Za-z' ]+):$"


def speeches_of(corpus: Corpus, part: str) -> tuple[list[str], list[int]]:
    """Return the labelled speeches of a part, and their speakers."""
    texts = corpus.vocab.decode(getattr(corpus, part))[1:-1].split(END)
    rows = getattr(corpus, f"{part}_records").labels[:, 0].tolist()
    known = [(text, row - 1) for text, row in zip(texts, rows, strict=True) if row]
    return [text for text, _ in known], [row for _, row in known]


@one_line_errors()
def main() -> None:
    """Train in turn; print medians and what the classifier says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("play")
    parser.add_argument("--budget", default="2m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--least", type=int, default=50)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--label-strength", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--temperature", type=float, default=0.8)
    options = parser.parse_args()
    text = {"label_regex": PATTERN, "min_label_count": options.least}
    corpus = open_corpus([options.play], TextConfig(**text))
    speakers = corpus.labels.columns[0].values
    judge = NaiveBayes(*speeches_of(corpus, "train"), len(speakers))
    named = [judge.predict(speech) == own for speech, own in zip(*speeches_of(corpus, "val"))]  # noqa: B905
    times = len(speakers) * sum(named) / len(named)
    print(f"real held-out speeches: {sum(named)} of {len(named)} named, {times:.1f} times chance")
    nats: dict[str, list[float]] = {"with speakers": [], "without": []}
    with TemporaryDirectory() as folder:
        for seed in options.seeds:
            for name, dropout in (("with speakers", 0.1), ("without", 1.0)):
                result = charrnn.fit(
                    options.play,
                    **text,
                    budget=options.budget,
                    seed=seed,
                    label_dropout=dropout,
                    checkpoints=str(Path(folder, f"{name} {seed}")),
                    name="play",
                )
                loss = result.val_nats
                nats[name].append(loss)
                print(f"seed {seed}, {name}: {loss:.4f} nats per character held out", flush=True)
            labelled = Path(folder, f"with speakers {seed}", "play", "best.safetensors")
            for strength in options.label_strength:
                right = count = 0
                for number, speaker in enumerate(speakers):
                    models = charrnn.open_models(
                        labelled, labels={"speaker": speaker}, label_strength=strength
                    )
                    each = -(-options.samples // len(speakers))
                    written = models.generator.generate_many(
                        count=each, seed=seed, length=500, temperature=options.temperature
                    )
                    right += sum(judge.predict(sample.text) == number for sample in written)
                    count += each
                print(
                    f"seed {seed}, strength {strength:g}: the asked speaker is named in {right:,} "
                    f"of {count:,} samples, {len(speakers) * right / count:.1f} times chance",
                    flush=True,
                )
    for name, values in nats.items():
        print(f"{name}: median {statistics.median(values):.4f} nats per character")


if __name__ == "__main__":
    main()
