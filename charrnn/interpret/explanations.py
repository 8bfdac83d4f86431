"""What each view of `charrnn inspect` shows, for a reader who meets it for the first time.

The page and the documentation read these texts. A formula is MathML, which browsers draw by
themselves.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """A view in words.

    title: two or three words. question: what the view answers. reading: how to read its picture,
    and what to try. drawing: what its axes and colours are, in plain words. symbols: each
    letter of the formula as MathML, and what it means. words: terms of the picture or its numbers,
    and what they mean. formula: MathML. code: a line of this package that computes it, and `path`
    the module where it stands.
    """

    title: str
    question: str
    reading: str
    drawing: str
    symbols: tuple[tuple[str, str], ...]
    formula: str
    code: str
    path: str
    words: tuple[tuple[str, str], ...] = ()


def _id(name: str) -> str:
    return f"<mi>{name}</mi>"


def _op(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _sub(name: str, index: str) -> str:
    """Return a name with an index: "t", or "t-1"."""
    marks = "".join(
        f"<mn>{each}</mn>" if each.isdigit() else _op("−") if each == "-" else _id(each)
        for each in index
    )
    return f"<msub>{_id(name)}<mrow>{marks}</mrow></msub>"


def _of(name: str, *inside: str) -> str:
    """Return a function of something in brackets."""
    return "".join((_id(name), _op("("), *inside, _op(")")))


def _share(above: str, below: str) -> str:
    return f"<mfrac><mrow>{above}</mrow><mrow>{below}</mrow></mfrac>"


def _norm(inside: str) -> str:
    return f"{_op('‖')}{inside}{_op('‖')}"


def _math(*parts: str) -> str:
    return f'<math display="block"><mrow>{"".join(parts)}</mrow></math>'


def inline_math(*parts: str) -> str:
    """Return MathML that stands in a line of text."""
    return f"<math><mrow>{''.join(parts)}</mrow></math>"


_NEXT = _of("p", _sub("x", "t+1"), _op("∣"), _sub("x", "1"), _op("…"), _sub("x", "t"))
_THIN = '<mspace width="0.2em"/>'
_WIDE = '<mspace width="1em"/>'
_HELD_OUT = ("held-out", "text that was kept apart: the network never learned from it")
_NATS = ("nat", "a unit of surprise, as the bit is: one nat is 1.44 bits")
_FIVE_GRAM = (
    "5-gram",
    "a table of how often each group of five characters occurs; it looks back four characters",
)
_SEED = ("seed", "the number that random choices start from: the same seed gives the same result")
_GRADIENT_NORM = ("gradient norm", "the size of a gradient, all its numbers taken together")

EXPLANATIONS: dict[str, Explanation] = {
    "text": Explanation(
        title="Neurons over text",
        question="What does one neuron follow while the network reads?",
        reading=(
            "The network reads the text one character at a time. After each character every "
            "neuron has a value between −1 and 1. Here each character has the colour of one "
            "neuron's value: orange is positive, blue is negative, and without colour is zero. "
            "Look for a neuron that stays in one colour over many characters or changes slowly "
            "along a line: it remembers where it is. A neuron whose colour depends on the "
            "character alone remembers nothing."
        ),
        drawing=(
            "The text runs as in a book. The stronger the colour of a character, the further the "
            "neuron's value after it is from zero: orange up to 1, blue down to −1."
        ),
        symbols=(
            (
                inline_math(_sub("v", "t")),
                "what is shown: the value of the neuron after character t",
            ),
            (
                inline_math(_sub("c", "t")),
                "the memory cell of an LSTM, which tanh brings between −1 and 1",
            ),
            (inline_math(_sub("h", "t")), "the state: what the neuron passes on"),
        ),
        formula=_math(
            _sub("v", "t"), _op("="), _of("tanh", _sub("c", "t")),
            f'{_WIDE}<mtext>or</mtext>{_WIDE}', _sub("v", "t"), _op("="), _sub("h", "t"),
        ),
        code="values: Array = np.tanh(trace.memory(depth)[1:])",
        path="charrnn/interpret/units.py",
    ),
    "guesses": Explanation(
        title="Guesses",
        question="What does the network expect next, and where is it wrong?",
        reading=(
            "At every place the network gives each possible next character a probability. The "
            "stronger the colour of a character, the more it surprised the network, in bits. "
            "One bit is a coin toss; eight bits is one chance in 256. Choose a place to see the "
            "likeliest characters as bars; the one that really comes is outlined. The first letter "
            "of a word is often a surprise, and its last letters almost never are."
        ),
        drawing=(
            "The stronger the colour of a character, the more bits it cost: without colour it "
            "was sure to come. The bars below are the probabilities of the next character."
        ),
        symbols=(
            (
                inline_math(_NEXT),
                "the probability that the network gave to the character that really came, after "
                "all that it had read",
            ),
        ),
        formula=_math(
            "<mtext>surprise</mtext>", _op("="), _op("−"),
            "<msub><mi>log</mi><mn>2</mn></msub>", _NEXT,
        ),
        code="surprise_bits=-true[:, 0] * np.float32(bits_per_char(1)),",
        path="charrnn/interpret/guesses.py",
        words=(
            (
                "entropy",
                "the surprise that the network itself expects, in bits: how unsure it is",
            ),
            ("rank", "the place of the true character among the guesses: 1 is the first guess"),
        ),
    ),
    "gates": Explanation(
        title="Gates",
        question="Does a gate act as a switch or as a mixer, and how long does a neuron remember?",
        reading=(
            "A gate is a number between 0 (closed) and 1 (open) that multiplies something. An "
            "LSTM's forget gate f says how much of the memory is kept, i how much new is "
            "written, and o how much is shown; a GRU's z says how much is kept. In the picture "
            "each dot is one neuron: far right means that its gate is open (above 0.9) most of "
            "the time, high up that it is closed (below 0.1) most of the time. A dot near the "
            "lower left is a mixer, one near the diagonal is a switch. A time constant says "
            "after how many characters a memory has faded to about a third."
        ),
        drawing=(
            "Across: the share of characters at which the gate is open; up: the share at which "
            "it is closed. In the text, the stronger the colour, the more open the gate: without "
            "colour it is closed."
        ),
        symbols=(
            (inline_math(_sub("τ", "j")), "the time constant of neuron j, in characters"),
            (inline_math(_sub("f", "tj")), "what neuron j keeps at character t: the forget gate"),
            (inline_math(_id("ln")), "the natural logarithm"),
            (inline_math(_id("mean")), "the average over all characters"),
        ),
        formula=_math(
            _sub("τ", "j"), _op("="), _op("−"),
            _share("<mn>1</mn>", _of("mean", _of("ln", _sub("f", "tj")))),
        ),
        code="taus = [_time_constants(sums.logs / max(tokens, 1)) for sums in (own, other)]",
        path="charrnn/interpret/gates.py",
        words=(
            _HELD_OUT,
            ("before training", "the same network with random weights, as training starts"),
        ),
    ),
    "memory": Explanation(
        title="Memory",
        question="What is still there of each earlier character?",
        reading=(
            "Choose a place. The stronger the colour of a character before it, the larger its "
            "share of the memory that the network holds at that place; those without colour are "
            "forgotten. In an LSTM or GRU this split is exact: the parts of all characters add "
            "up to the memory. Move the place and watch the text fade. What a character did by "
            "opening or closing gates later is counted for the later characters. The charts ask "
            "the same in other ways: which context lowers the loss, what another word would have "
            "changed, and what can be read off the state. Memory shows what is stored, whether "
            "the next guess uses it or not; Links shows what it uses."
        ),
        drawing=(
            "The stronger the colour of a character, the larger its share of what is stored now. "
            "The charts go across by characters back, and up by what their left edge names."
        ),
        symbols=(
            (inline_math(_sub("c", "t")), "the memory at place t"),
            (inline_math(_id("s")), "an earlier character"),
            (inline_math(_sub("g", "s")), "the new value that it brought"),
            (inline_math(_sub("i", "s")), "how much of that was written: the input gate"),
            (
                inline_math(_sub("f", "r")),
                "how much was kept at each character r since then: the forget gate",
            ),
            (inline_math(_op("⊙")), "multiplied neuron by neuron"),
        ),
        formula=_math(
            _sub("c", "t"), _op("="),
            f"<munder>{_op('∑')}<mrow>{_id('s')}{_op('≤')}{_id('t')}</mrow></munder>",
            f"<munder>{_op('∏')}<mrow>{_id('s')}{_op('&lt;')}{_id('r')}{_op('≤')}{_id('t')}</mrow>"
            "</munder>",
            _sub("f", "r"), _op("⊙"), _sub("i", "s"), _op("⊙"), _sub("g", "s"),
        ),
        code="through = np.cumprod(kept[::-1], 0, dtype=np.float64)[::-1]",
        path="charrnn/interpret/ledger.py",
        words=(
            (
                "ledger",
                "the list of what each character wrote into the memory, and what is left of it",
            ),
            (
                "KL in bits",
                "how much the guesses change: 0 is not at all, 1 is as much as a coin toss tells",
            ),
            (
                "linear decoder",
                "a weighted sum of all neurons that is fitted to tell which character came k "
                "back; what it tells must be in the state",
            ),
            _FIVE_GRAM,
            _HELD_OUT,
        ),
    ),
    "gradients": Explanation(
        title="Gradients",
        question="How far back can a mistake teach the network?",
        reading=(
            "Training moves the weights along the gradient of the loss. The curve shows how "
            "large that gradient still is at the state k characters earlier; each line of the "
            "grid is a factor of 10. A curve that falls steeply is a vanishing gradient: the "
            "network cannot learn from what lies further back. One that rises explodes. The "
            "dotted curve is the same network before training, so the space between the two was "
            "learned. Gradients shows how far back a mistake could teach the network; Links "
            "shows which characters its guess rests on now."
        ),
        drawing=(
            "Across: characters back. Up: the size of the gradient, in powers of 10. In the "
            "text, the stronger the colour, the larger the gradient there."
        ),
        symbols=(
            (inline_math(_of("g", _id("k"))), "the size of the gradient k characters back"),
            (inline_math(_sub("ℓ", "t")), "the loss at place t: the surprise there, in nats"),
            (inline_math(_sub("h", "t-k")), "the state k characters earlier"),
            (
                inline_math(_op("∂")),
                "a small change: how much the loss changes when that state does",
            ),
            (
                inline_math(_norm(_op("…"))),
                "the length of a list of numbers: the root of the sum of their squares",
            ),
        ),
        formula=_math(
            _of("g", _id("k")), _op("="), "<msub>",
            f"<mrow>{_norm(_share(_op('∂') + _sub('ℓ', 't'), _op('∂') + _sub('h', 't-k')))}</mrow>",
            "<mn>2</mn></msub>",
        ),
        code="lengths: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(-1))",
        path="charrnn/interpret/gradients.py",
        words=(
            _GRADIENT_NORM,
            _NATS,
            (
                "Lyapunov exponent",
                "how fast two nearly equal states come together (below 0) or part (above 0), per "
                "character",
            ),
        ),
    ),
    "links": Explanation(
        title="Links",
        question="Which earlier characters made the network say this?",
        reading=(
            "Choose a place. The stronger the colour of a character before it, the larger its "
            "influence on the score of the next character: the guess would change most if that "
            "character were a little different. The last few characters nearly always matter "
            "most. An earlier one that stands out is what the guess rests on. All places share "
            "one scale unless you switch to relative. Links shows what the guess uses now; "
            "Memory shows what is stored, used or not."
        ),
        drawing=(
            "The stronger the colour of a character, the larger its influence on the chosen "
            "score. In the chart, across: characters back; up: the influence, where each line of "
            "the grid is a factor of 10 or more."
        ),
        symbols=(
            (
                inline_math(_of("c", _id("s"), _op(","), _id("t"))),
                "the influence of character s on the guess after character t",
            ),
            (
                inline_math(_sub("z", "t")),
                "the score (logit) of the next character, from which its probability is made",
            ),
            (
                inline_math(_sub("x", "s")),
                "character s, as the numbers (embeddings) that the network reads",
            ),
            (inline_math(_norm(_op("…"))), "the length of a list of numbers"),
        ),
        formula=_math(
            _of("c", _id("s"), _op(","), _id("t")), _op("="), "<msub>",
            f"<mrow>{_norm(_share(_op('∂') + _sub('z', 't'), _op('∂') + _sub('x', 's')))}</mrow>",
            "<mn>2</mn></msub>",
        ),
        code="found[:, s] = np.sqrt(((x @ gram) * x).sum(-1).clip(0))",
        path="charrnn/interpret/links.py",
    ),
    "neurons": Explanation(
        title="Search for neurons",
        question="Has the network learned where it is in a line or a word, and in which neuron?",
        reading=(
            "For each feature of the text the search takes the neuron that tells best where it "
            "is on. The score is measured on text that the search did not see. Compare it with "
            "the controls beside it: the same search on shifted labels, the last characters "
            "alone, and three untrained networks. Only a neuron that beats all of them by a "
            "margin is called a memory neuron."
        ),
        drawing=(
            "Across: the score, from what chance gives (left) to always right (right). The blue "
            "bar or dot is the neuron, the other marks are its controls."
        ),
        symbols=(
            (
                inline_math(_id("AUC")),
                "how well the neuron tells a yes-or-no feature: 0.5 = coin toss, 1 = always right",
            ),
            (inline_math(_sub("v", "1")), "its value at a place where the feature is on"),
            (inline_math(_sub("v", "0")), "its value at a place where it is off"),
            (
                inline_math(_of("p", _op("…"))),
                "how often that is so, over all pairs of such places",
            ),
        ),
        formula=_math(
            _id("AUC"), _op("="),
            _of("p", _sub("v", "1"), _op("&gt;"), _sub("v", "0")),
        ),
        code="return float(0.5 + np.rint(2 * above) / 2 / (ones * (count - ones)))",
        path="charrnn/interpret/rank_scores.py",
        words=(
            ("AUC", "the score of a yes-or-no feature: 0.5 = coin toss, 1 = always right"),
            (
                "ρ (rho)",
                "the score of a number, such as a column: 0 = unrelated, 1 = moves exactly "
                "together",
            ),
            (
                "shifted labels",
                "the feature moved along the text, where it means nothing: what luck alone finds",
            ),
            _HELD_OUT,
            _SEED,
        ),
    ),
    "neuron": Explanation(
        title="One neuron",
        question="What does this neuron do, and does the network use it?",
        reading=(
            "The card of one neuron: the text where its value is highest, text at random, and text "
            "at evenly spaced values. Do not judge by the highest ones alone: many rules fit "
            "those, and the samples in between show which is right. Below are the characters that "
            "write to it, the characters it makes likelier, and what changes when it is held at "
            "one value."
        ),
        drawing=(
            "The stronger the colour of a character, the further the neuron is from zero there: "
            "orange is positive, blue is negative. The bars show how much it rises (right) or "
            "falls (left)."
        ),
        symbols=(
            (inline_math(_id("Δ"), _id("v")), "how much one character changes the neuron"),
            (inline_math(_sub("v", "t")), "its value after that character"),
            (inline_math(_sub("v", "t-1")), "its value before"),
        ),
        formula=_math(
            _id("Δ"), _id("v"), _op("="), _sub("v", "t"), _op("−"), _sub("v", "t-1"),
        ),
        code="changes = np.diff(values)",
        path="charrnn/interpret/neuron.py",
        words=(
            ("quantile", "the value below which such a share of all values lies"),
        ),
    ),
    "step": Explanation(
        title="One step",
        question="What exactly is computed when one character is read?",
        reading=(
            "Every number of one step for one neuron, from the character's embedding to the "
            "probability of the next character, and then the gradient on its way back. Each sum "
            "shows its largest terms and the rest as one number, so that they add up to what is "
            "printed. Follow one line with a calculator: it is only sums, products, and the "
            "functions tanh and sigmoid."
        ),
        drawing=(
            "There are no axes: each box or line is one sum, with the numbers that go in and the "
            "number that comes out."
        ),
        symbols=(
            (inline_math(_sub("a", "t")), "the sum that goes into tanh or a sigmoid"),
            (
                inline_math(_sub("x", "t")),
                "the character, as a list of numbers (its embedding, and with n-grams theirs too)",
            ),
            (inline_math(_sub("h", "t-1")), "the state before"),
            (
                inline_math(_id("U"), _op(","), _id("W"), _op(","), _id("b")),
                "what was learned: two tables of weights, and a number for each neuron",
            ),
        ),
        formula=_math(
            _sub("a", "t"), _op("="), _id("U"), _sub("x", "t"), _op("+"), _id("W"),
            _sub("h", "t-1"), _op("+"), _id("b"),
        ),
        code="memory += gates[0] * gates[3]",
        path="charrnn/generation/cells.py",
        words=(
            _NATS,
        ),
    ),
    "unrolled": Explanation(
        title="Unrolled",
        question="How does the same small network read a whole text?",
        reading=(
            "A recurrent network is one small network that is used again for every character. "
            "Columns are characters and rows are layers. Arrows of one colour are the same matrix, "
            "used at every step. What goes from left to right is the state: all that the network "
            "knows of the text so far. The stronger the colour of a node, the larger its state."
        ),
        drawing=(
            "Across: the characters, in the order in which they are read. Up: the layers. The "
            "stronger the colour of a box, the larger its state: without colour it is 0."
        ),
        symbols=(
            (inline_math(_sub("h", "t")), "the state after character t"),
            (inline_math(_sub("h", "t-1")), "the state before it"),
            (inline_math(_sub("x", "t")), "the character, as a list of numbers"),
            (
                inline_math(_id("U"), _op(","), _id("W"), _op(","), _id("b")),
                "what was learned: the same at every step",
            ),
            (inline_math(_id("f")), "what a cell does with the sum: tanh, or the gates"),
        ),
        formula=_math(
            _sub("h", "t"), _op("="), _of("f", _id("U"), _sub("x", "t"), _op("+"), _id("W"),
                                          _sub("h", "t-1"), _op("+"), _id("b")),
        ),
        code="after.append(layer)",
        path="charrnn/generation/network.py",
        words=(
            (
                "root mean square",
                "the usual size of the numbers of a state: square them, average, take the root",
            ),
            (
                "cut",
                "where training stops sending the gradient further back; the state still goes on",
            ),
        ),
    ),
    "training": Explanation(
        title="Training",
        question="How did the network learn?",
        reading=(
            "The loss is the mean surprise per character; lower is better. One curve is measured "
            "on the text that the network learns from, the other on held-out text, which it "
            "never trains on; the light area is the gap between the two. While both fall, it "
            "learns. When the second rises again, it learns the training text by heart. The "
            "first held-out points can be better than training, as dropout, which switches "
            "neurons off at random, is on in training alone. The level lines show what a file "
            "compressor and a table of letter groups reach on the same text."
        ),
        drawing=(
            "Across: steps, characters read, or seconds. Up: the loss; lower is better. In the "
            "chart of the gradient each line of the grid is a factor of 10."
        ),
        symbols=(
            (inline_math(_id("L")), "the loss"),
            (inline_math(_id("T")), "how many characters were read"),
            (inline_math(_id("ln")), "the natural logarithm"),
            (
                inline_math(_NEXT),
                "the probability that the network gave to the character that came next",
            ),
        ),
        formula=_math(
            _id("L"), _op("="), _op("−"), _share("<mn>1</mn>", _id("T")),
            f"<munder>{_op('∑')}{_id('t')}</munder>", _id("ln"), _THIN, _NEXT,
        ),
        code="shifted: Array = logits - logits.max(-1, keepdims=True)",
        path="charrnn/interpret/trace.py",
        words=(
            _HELD_OUT,
            _FIVE_GRAM,
            ("gzip, xz", "file compressors: their lines are what they need per character"),
            _NATS,
            _GRADIENT_NORM,
        ),
    ),
    "errors": Explanation(
        title="Errors",
        question="What does the network still get wrong, and what did its memory gain?",
        reading=(
            "An error is a place where the true character had a probability below one half. The "
            "bar sorts the errors: each colour takes away what a simple rule would have got "
            "right, such as a table of letter groups, or a word that occurred shortly before. "
            "What is left at the end needs understanding. The second picture shows where the "
            "network beats a table of five-letter groups, and by how many bits; below 0 the "
            "table is better."
        ),
        drawing=(
            "Across: errors as a share of all characters; each colour is one cause. In the "
            "second picture, above 0 the network is better than the table, below 0 the table is "
            "better."
        ),
        symbols=(
            (
                inline_math(_NEXT),
                "the probability that the network gave to the character that really came",
            ),
        ),
        formula=_math(_NEXT, _op("&lt;"), "<mn>0.5</mn>"),
        code="left = probabilities < HALF",
        path="charrnn/interpret/errors.py",
        words=(
            _FIVE_GRAM,
            _HELD_OUT,
        ),
    ),
}  # fmt: skip
"""In the order in which a page shows them."""
