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
    and what to try. formula: MathML. code: a line of this package that computes it, and `path` the
    module where it stands.
    """

    title: str
    question: str
    reading: str
    formula: str
    code: str
    path: str

    @property
    def where(self) -> str:
        """The module and the line, as a page shows them."""
        return f"{self.path}: {self.code}"


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


_NEXT = _of("p", _sub("x", "t+1"), _op("∣"), _sub("x", "1"), _op("…"), _sub("x", "t"))

EXPLANATIONS: dict[str, Explanation] = {
    "text": Explanation(
        title="Neurons over text",
        question="What does one neuron follow while the network reads?",
        reading=(
            "The network reads the text one character at a time. After each character every neuron "
            "has a value between −1 and 1. Here each character has the colour of one neuron's "
            "value: orange is positive, blue is negative, and zero has none. Look for a neuron "
            "that stays in one colour over a whole quotation, a line or a bracket: it remembers "
            "where it is. A neuron whose colour depends on the character alone remembers nothing."
        ),
        formula=_math(
            _sub("v", "t"), _op("="), _of("tanh", _sub("c", "t")), "<mtext> or </mtext>",
            _sub("v", "t"), _op("="), _sub("h", "t"),
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
        formula=_math(
            "<mtext>surprise</mtext>", _op("="), _op("−"),
            "<msub><mi>log</mi><mn>2</mn></msub>", _NEXT,
        ),
        code="surprise_bits=-true[:, 0] * np.float32(bits_per_char(1)),",
        path="charrnn/interpret/guesses.py",
    ),
    "gates": Explanation(
        title="Gates",
        question="Does a gate act as a switch or as a mixer, and how long does a neuron remember?",
        reading=(
            "A gate is a number between 0 (closed) and 1 (open) that multiplies something. An "
            "LSTM's forget gate f says how much of the memory is kept, i how much new is written, "
            "and o how much is shown; a GRU's z says how much is kept. In the picture each dot is "
            "one neuron: far right means that its gate is open (above 0.9) most of the time, high "
            "up that it is closed (below 0.1) most of the time. A dot near the lower left is a "
            "mixer, one near the diagonal is a switch. A time constant says after how many "
            "characters a memory has faded to about a third."
        ),
        formula=_math(
            _sub("τ", "j"), _op("="), _op("−"),
            _share("<mn>1</mn>", f"{_id('mean')}{_of('ln', _sub('f', 'tj'))}"),
        ),
        code="taus = [_time_constants(sums.logs / max(tokens, 1)) for sums in (own, other)]",
        path="charrnn/interpret/gates.py",
    ),
    "memory": Explanation(
        title="Memory",
        question="What is still there of each earlier character?",
        reading=(
            "Choose a place. The stronger the colour of a character before it, the larger its "
            "share of the memory that the network holds at that place; those without colour are "
            "forgotten. In an LSTM or GRU this split is exact: the parts of all characters add up "
            "to the memory. Move the place and watch the text fade. What a character did by "
            "opening or closing gates later is counted for the later characters. The charts ask "
            "the same in other ways: which context lowers the loss, what another word would have "
            "changed, and what can be read off the state."
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
    ),
    "gradients": Explanation(
        title="Gradients",
        question="How far back can a mistake teach the network?",
        reading=(
            "Training moves the weights along the gradient of the loss. The curve shows how large "
            "that gradient still is at the state k characters earlier; each line of the grid is a "
            "factor. A curve that falls steeply is a vanishing gradient: the network cannot learn "
            "from what lies further back. One that rises explodes. The dotted curve is the same "
            "network before training, so the space between the two was learned."
        ),
        formula=_math(
            _of("g", _id("k")), _op("="), "<msub>",
            f"<mrow>{_norm(_share(_op('∂') + _sub('ℓ', 't'), _op('∂') + _sub('h', 't-k')))}</mrow>",
            "<mn>2</mn></msub>",
        ),
        code="lengths: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(-1))",
        path="charrnn/interpret/gradients.py",
    ),
    "links": Explanation(
        title="Links",
        question="Which earlier characters made the network say this?",
        reading=(
            "Choose a place. The stronger the colour of a character before it, the larger its "
            "influence on the score of the next character: the guess would change most if that "
            "character were a little different. The last few characters nearly always matter most. "
            "An earlier one that stands out, such as an opening quote, is what the guess rests on. "
            "All places share one scale unless you switch to relative."
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
        question="Has the network learned brackets, quotes or line lengths, and where?",
        reading=(
            "For each feature of the text the search takes the neuron that tells best where it is "
            "on. A score of 1 is always right and 0.5 is a coin toss. The score is measured on "
            "text that the search did not see. Compare it with the controls beside it: the same "
            "search on shifted labels, the last character alone, and the untrained network. Only a "
            "neuron that beats all three is called a memory neuron."
        ),
        formula=_math(
            "<mtext>AUC</mtext>", _op("="),
            _of("p", _sub("v", "1"), _op("&gt;"), _sub("v", "0")),
        ),
        code="return float(0.5 + np.rint(2 * above) / 2 / (ones * (count - ones)))",
        path="charrnn/interpret/rank_scores.py",
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
        formula=_math(
            _id("Δ"), _id("v"), _op("="), _sub("v", "t"), _op("−"), _sub("v", "t-1"),
        ),
        code="changes = np.diff(values)",
        path="charrnn/interpret/neuron.py",
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
        formula=_math(
            _sub("a", "t"), _op("="), _id("U"), _sub("x", "t"), _op("+"), _id("W"),
            _sub("h", "t-1"), _op("+"), _id("b"),
        ),
        code="memory += gates[0] * gates[3]",
        path="charrnn/generation/cells.py",
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
        formula=_math(
            _sub("h", "t"), _op("="), _of("f", _id("U"), _sub("x", "t"), _op("+"), _id("W"),
                                          _sub("h", "t-1"), _op("+"), _id("b")),
        ),
        code="after.append(layer)",
        path="charrnn/generation/network.py",
    ),
    "training": Explanation(
        title="Training",
        question="How did the network learn?",
        reading=(
            "The loss is the mean surprise per character; lower is better. One curve is measured "
            "on the text that the network learns from, the other on text that it never trains on. "
            "While both fall, it learns. When the second rises again, it learns the training text "
            "by heart. The level lines show what a file compressor and a table of letter groups "
            "reach on the same text."
        ),
        formula=_math(
            _id("L"), _op("="), _op("−"), _share("<mn>1</mn>", _id("T")),
            f"<munder>{_op('∑')}{_id('t')}</munder>", _id("ln"), _NEXT,
        ),
        code="shifted: Array = logits - logits.max(-1, keepdims=True)",
        path="charrnn/interpret/trace.py",
    ),
    "errors": Explanation(
        title="Errors",
        question="What does the network still get wrong, and what did its memory gain?",
        reading=(
            "An error is a place where the true character had a probability below one half. The "
            "bars sort the errors: each takes away what a simple rule would have got right, such "
            "as a table of letter groups, or a word that occurred shortly before. What is left at "
            "the end needs understanding. The second picture shows where the network beats a table "
            "of five-letter groups, and by how many bits."
        ),
        formula=_math(_NEXT, _op("&lt;"), "<mn>0.5</mn>"),
        code="left = probabilities < HALF",
        path="charrnn/interpret/errors.py",
    ),
}  # fmt: skip
"""In the order in which a page shows them."""
