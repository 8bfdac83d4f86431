// View unrolled: the network once with its loop, and once for each character around the place.
(function (charrnn) {
  "use strict";

  const COLUMNS = 12;
  const BEFORE = 8; // of them stand up to the place
  const NARROW = 640; // pixels of a window that has room for fewer
  const FEW_COLUMNS = 4;
  const FEW_BEFORE = 3;
  const FIRST = 78; // the middle of the first column
  const COLUMN = 74; // from one to the next
  const ROW = 78; // from one layer to the next
  const FOLDED = 240; // the width of the folded network
  const TOP = 40;
  const DECADES = 6; // of the gradient, from the widest arrow to the narrowest
  const LONGEST = 6; // characters of a name in a box
  const element = (...args) => charrnn.element(...args);
  const svg = (...args) => charrnn.svg(...args);

  charrnn.views.unrolled = { needsNetwork: true, create };

  function create(root, page) {
    const folded = element("input", { type: "checkbox", id: "unrolled-folded" });
    const gradient = element("input", { type: "checkbox", id: "unrolled-gradient", checked: true });
    const gates = element("ul", { class: "facts" });
    const box = element("div");
    const notes = element("p", { class: "fine" });
    for (const input of [folded, gradient]) {
      input.addEventListener("change", () => page.select({}, { isQuiet: true }));
    }
    root.append(
      element("div", { class: "tools" },
        element("label", {}, folded, "fold it up"),
        element("label", {}, gradient, "arrows as wide as the gradient that goes back")),
      gates, box, notes);

    async function update() {
      const mark = page.mark();
      if (!page.ids.length) return;
      const views = await Promise.all(page.models.map((_, model) => look(page, model)));
      if (page.isStale(mark)) return;
      box.replaceChildren();
      const options = { isFolded: folded.checked, hasGradient: gradient.checked, ...scalesOf(page, views) };
      views.forEach((view, model) => {
        const picture = draw(page, model, view, options);
        box.append(picture);
        page.figure(picture, `unrolled-${page.models[model].name}`, () => rowsOf(page, view));
      });
      notes.textContent = notesOn(page, options);
      say(views[page.model]);
      const facts = await gateFacts(page);
      if (!page.isStale(mark)) gates.replaceChildren(...facts);
    }

    function say({ start, guesses }) {
      const { at, model } = page;
      const [token, p] = guesses[at - start];
      page.readout(
        `It reads “${charrnn.named(page.symbols[at])}” at place ${at} and says “`,
        element("b", {}, charrnn.named(page.models[model].vocab[token])), `”, with ${charrnn.percent(p)}.`);
    }

    return { update };
  }

  /** Return what is drawn of a model: states, guesses and gradients around the place. */
  async function look(page, model) {
    const { at, ids } = page;
    const { num_layers: layers, hidden_size: size } = page.models[model].config;
    const isNarrow = globalThis.innerWidth < NARROW;
    const columns = isNarrow ? FEW_COLUMNS : COLUMNS;
    const before = isNarrow ? FEW_BEFORE : BEFORE;
    const start = Math.max(0, Math.min(at - before + 1, ids.length - columns));
    const stop = Math.min(start + columns, ids.length);
    const places = [...Array(stop - start).keys()].map((k) => start + k);
    const { states } = await page.trace(model);
    const strengths = places.map((t) => states.map(({ h }) => rootMeanSquare(rowOf(h, t + 1, size))));
    const chances = await Promise.all(places.map((t) => page.probabilities(model, t)));
    const guesses = chances.map((p) => charrnn.likeliest(p, 1)[0]);
    const target = ids[at + 1] ?? guesses[at - start][0];
    const norms = await page.ask(model, { kind: "gradients", at, target, reach: at - start + 1 });
    const gradients = places.map((t) =>
      [...Array(layers).keys()].map((depth) => (t <= at ? (norms[depth].h[at - t] ?? 0) : 0)),
    );
    return { start, columns, places, strengths, guesses, gradients };
  }

  /** Return what is drawn widest and darkest, the same for all models. */
  function scalesOf(page, views) {
    const isBounded = page.models.every(({ config }) => config.nonlinearity !== "relu");
    const largest = (values) => values.reduce((a, b) => Math.max(a, b), 0);
    return {
      most: largest(views.flatMap((view) => view.gradients.flat())),
      darkest: isBounded ? 1 : largest(views.flatMap((view) => view.strengths.flat())) || 1,
    };
  }

  function notesOn(page, { isFolded, hasGradient, darkest }) {
    if (isFolded) {
      const isNgram = page.models.some(({ config }) => config.ngram_rows);
      const read = `the character${isNgram ? " and the n-grams that end with it" : ""}`;
      return `One small network: U reads ${read}, W brings back the state of the step before, V says what comes next.`;
    }
    const states = `The number in a box is the usual size of the state (its root mean square). Without colour is 0; the strongest colour is ${charrnn.number(darkest, 2)}. Arrows of one colour in one row are the same matrix.`;
    if (!hasGradient) return states;
    return `${states} The wider an arrow to the right, the more the loss after place ${page.at} depends on the state that it brings: the widths go over ${DECADES} powers of ten.`;
  }

  const rowOf = (h, row, size) => h.subarray(row * size, (row + 1) * size);

  const rootMeanSquare = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length);

  /** Return the mean of each gate at the place, as facts. */
  async function gateFacts(page) {
    const { at, model } = page;
    const { num_layers: layers } = page.models[model].config;
    const facts = [];
    for (let depth = 0; depth < layers; depth++) {
      const message = { kind: "gates", depth, start: at, stop: at + 1 };
      const gates = await page.ask(model, message);
      for (const name of Object.keys(gates).filter((each) => "ifozr".includes(each))) {
        const mean = gates[name].reduce((sum, each) => sum + each, 0) / gates[name].length;
        facts.push(element("li", {}, `mean of ${name}${depth + 1} at place ${at}: `, element("b", {}, charrnn.number(mean, 2))));
      }
    }
    return facts;
  }

  function draw(page, model, view, { isFolded, hasGradient, most, darkest }) {
    const { name, config } = page.models[model];
    const layers = config.num_layers;
    const colors = charrnn.colors.palette();
    const [inColor, stateColor, outColor] = colors.curves;
    const bottom = TOP + ROW * (layers + 1);
    const height = bottom + 46;
    const y = (layer) => bottom - ROW * layer;
    const across = isFolded ? FOLDED : FIRST + COLUMN * (view.columns - 1) + 38;
    const root = svg("svg", {
      viewBox: `0 0 ${across} ${height}`, width: isFolded ? FOLDED : "100%",
      role: "img", class: "unrolled",
      "data-scale": isFolded ? "" : `Colour: usual size of the state, none at 0, strongest at ${charrnn.number(darkest, 2)}`,
      "aria-label": `The network ${name}, ${isFolded ? "folded" : `unrolled over ${view.places.length} characters`}`,
      "font-family": "system-ui, sans-serif", "font-size": 12,
    });
    root.append(svg("rect", { width: "100%", height, fill: colors.paper }));
    const text = (x, at, words, anchor = "middle", fill = colors.ink) =>
      root.append(svg("text", { x, y: at, "text-anchor": anchor, fill }, words));
    const arrow = (points, color, wide = 1.5, dash = "") => root.append(...arrowOf(points, color, wide, dash));
    const label = (x, at, words, color) =>
      root.append(svg("text", { x, y: at, fill: color, "font-weight": "bold" }, words));
    const boxOf = (x, at, size, words, fill = colors.paper, isChosen = false) =>
      root.append(...boxParts(x, at, size, words, fill, isChosen ? colors.accent : colors.pale, isChosen));

    if (isFolded) {
      drawFolded();
    } else {
      text(10, y(0) + 5, "reads", "start", colors.pale);
      text(10, y(layers + 1) + 5, "says", "start", colors.pale);
      for (let layer = 1; layer <= layers; layer++) text(10, y(layer) + 5, `h${layer}`, "start", colors.pale);
      view.places.forEach(drawColumn);
      const seqLen = page.models[model].reports.unrolled?.seq_len;
      view.places.forEach((at, t) => {
        if (seqLen && t && at % seqLen === 0) drawCut(FIRST + COLUMN * (t - 0.5));
      });
    }
    return root;

    function drawFolded() {
      const x = FOLDED / 2 - 20;
      boxOf(x, y(0), [76, 26], ["character"]);
      for (let layer = 1; layer <= layers; layer++) {
        boxOf(x, y(layer), [76, 34], [`h${layer}, ${config.hidden_size}`]);
        arrow([[x, y(layer - 1) - (layer > 1 ? 17 : 13)], [x, y(layer) + 17]], inColor, 2);
        label(x + 6, y(layer) + 38, `U${layer}`, inColor);
        const side = x + 38;
        arrow([[side, y(layer) - 6], [side + 26, y(layer) - 6], [side + 26, y(layer) + 8], [side, y(layer) + 8]], stateColor, 2);
        label(side + 30, y(layer) + 5, `W${layer}`, stateColor);
      }
      arrow([[x, y(layers) - 17], [x, y(layers + 1) + 13]], outColor, 2);
      label(x + 6, y(layers + 1) + 38, "V", outColor);
      boxOf(x, y(layers + 1), [76, 26], ["next"]);
    }

    function drawColumn(at, t) {
      const x = FIRST + COLUMN * t;
      const isAt = at === page.at;
      const isEnd = page.ids[at] === config.vocab_size - 1 && config.has_end;
      boxOf(x, y(0), [44, 26], [short(page.symbols[at])], colors.paper, isAt);
      text(x, y(0) + 32, String(at), "middle", colors.pale);
      for (let layer = 1; layer <= layers; layer++) {
        const below = y(layer - 1) - (layer === 1 ? 13 : 15);
        if (isEnd) {
          text(x, y(layer) + 30, "set back", "middle", colors.pale);
        } else {
          arrow([[x, below], [x, y(layer) + 15]], inColor);
          const wide = hasGradient && t ? widthOf(view.gradients[t - 1][layer - 1], at - 1) : 1.5;
          arrow([[x - COLUMN + 21, y(layer)], [x - 21, y(layer)]], stateColor, wide, t ? "" : "3 2");
        }
        const strength = view.strengths[t][layer - 1];
        const fill = charrnn.colors.magnitude(strength / darkest);
        boxOf(x, y(layer), [42, 30], [strength.toFixed(2)], fill, isAt);
      }
      arrow([[x, y(layers) - 15], [x, y(layers + 1) + 16]], outColor);
      const [token, p] = view.guesses[t];
      const words = [short(page.models[model].vocab[token]), charrnn.percent(p)];
      boxOf(x, y(layers + 1), [52, 34], words, colors.paper, isAt);
      const hit = svg("rect", { x: x - 26, y: TOP - 20, width: 52, height: height - TOP + 10, fill: "transparent" });
      hit.append(svg("title", {}, `place ${at}: ${charrnn.named(page.symbols[at])}`));
      hit.addEventListener("click", () => page.select({ at, model }));
      root.append(hit);
    }

    /** Draw where training cuts the gradient, with windows counted from the text's start. */
    function drawCut(x) {
      const line = { x1: x, x2: x, y1: y(layers) - 28, y2: y(0) - 14 };
      root.append(svg("line", { ...line, stroke: colors.ink, "stroke-dasharray": "4 3" }));
      text(x, y(layers) - 32, "cut");
    }

    /** Return how wide the arrow away from a state is: the logarithm of its gradient. */
    function widthOf(norm, at) {
      if (!(norm > 0) || at >= page.at) return 1;
      return 1 + 5 * Math.min(Math.max(1 + Math.log10(norm / most) / DECADES, 0), 1);
    }
  }

  function short(symbol) {
    const name = symbol === " " ? "␣" : charrnn.shown(symbol);
    return name.length <= LONGEST ? name : `${name.slice(0, LONGEST - 1)}…`;
  }

  /** Return the nodes of an arrow along points. */
  function arrowOf(points, color, wide, dash) {
    const [before, tip] = points.slice(-2);
    const length = Math.hypot(tip[0] - before[0], tip[1] - before[1]);
    const head = Math.max(6, 2 * wide);
    const along = [(tip[0] - before[0]) / length, (tip[1] - before[1]) / length];
    const base = [tip[0] - head * along[0], tip[1] - head * along[1]];
    const side = [(-along[1] * head) / 2, (along[0] * head) / 2];
    const list = (each) => each.map((point) => point.map((n) => n.toFixed(1)).join(",")).join(" ");
    const tips = [tip, [base[0] + side[0], base[1] + side[1]], [base[0] - side[0], base[1] - side[1]]];
    return [
      svg("polyline", {
        points: list([...points.slice(0, -1), base]), fill: "none", stroke: color,
        "stroke-width": wide.toFixed(1), "stroke-dasharray": dash,
      }),
      svg("polygon", { points: list(tips), fill: color }),
    ];
  }

  /** Return the nodes of a box with lines of words in its middle. */
  function boxParts(x, y, [wide, tall], words, fill, stroke, isChosen) {
    const ink = charrnn.colors.letter(fill);
    const first = y + 4 - 7 * (words.length - 1);
    return [
      svg("rect", {
        x: x - wide / 2, y: y - tall / 2, width: wide, height: tall, rx: 5, fill, stroke,
        "stroke-width": isChosen ? 3 : 1,
      }),
      ...words.map((word, k) => svg("text", { x, y: first + 14 * k, "text-anchor": "middle", fill: ink }, word)),
    ];
  }

  /** Return the rows of a table of what is drawn. */
  function rowsOf(page, { places, strengths, guesses, gradients }) {
    const layers = strengths[0].map((_, k) => k + 1);
    const head = ["place", "read", "guess_probability"];
    const named = [...layers.map((k) => `rms_of_h${k}`), ...layers.map((k) => `gradient_norm_by_h${k}`)];
    return [
      [...head, ...named],
      ...places.map((at, t) => [at, page.symbols[at], guesses[t][1], ...strengths[t], ...gradients[t]]),
    ];
  }
})((globalThis.charrnn ??= {}));
