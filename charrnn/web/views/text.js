// View text: what one unit follows, over the text; all units at one place; places alike.
(function (charrnn) {
  "use strict";

  const CELL = 15; // pixels of a unit in the map
  const AROUND = 60; // places on either side of the chosen one in the curve
  const MAX_MATCHES = 50;
  const CHIPS = 3; // neurons of each model that are offered
  const element = (...args) => charrnn.element(...args);

  charrnn.views.text = { usesUnit: true, create };

  function create(root, page) {
    const diff = element("input", { type: "checkbox", id: "text-diff" });
    const threshold = element("input", { type: "range", min: 0.05, max: 0.95, step: 0.05, value: 0.3, id: "text-threshold" });
    const thresholdShown = element("output", { for: "text-threshold" });
    const map = element("div");
    const curve = element("div");
    const alike = element("p", { class: "fine" });
    const matches = element("div");
    diff.addEventListener("change", () => page.select({}));
    threshold.addEventListener("input", () => page.select({}, { isQuiet: true }));
    const chips = page.models.flatMap((model, k) =>
      charrnn.foundUnits(model).slice(0, CHIPS).map(({ name, unit }) => {
        const words = `${page.models.length > 1 ? `${model.name} ` : ""}${unit}: ${name}`;
        const chip = element("button", { type: "button" }, words);
        chip.addEventListener("click", () => page.select({ model: k, unit }));
        return chip;
      }));
    root.append(
      chips.length ? element("p", { class: "chips" }, element("span", { class: "fine" }, "Found by the search:"), ...chips) : "",
      element("div", { class: "tools" }, element("label", {}, diff, "colour how much it changes at each character")),
      element("div", { class: "columns" },
        element("div", { hidden: !page.isLive }, element("h3", {}, "Every neuron of this layer, here"), map, alike),
        element("div", {}, element("h3", {}, "This neuron around here"), curve)),
      element("div", { hidden: !page.isLive },
        element("h3", {}, "Where else is the network in the same state?"),
        element("p", { class: "fine" }, "Choose a stretch of text (drag, or Shift and the arrow keys). The neurons that stay beyond the threshold all through it are looked for elsewhere."),
        element("div", { class: "tools" }, element("label", {}, "threshold", threshold, thresholdShown)),
        matches),
    );

    let values = [];

    async function update() {
      const mark = page.mark();
      const found = await Promise.all(page.models.map((_, k) => page.values(k, page.units[k])));
      const scales = await Promise.all(page.models.map((_, k) => page.scale(k, page.units[k])));
      const scale = scales[page.model];
      if (page.isStale(mark)) return;
      values = found;
      found.forEach((list, k) => {
        page.paint(k, list && ((at) => page.lookOf(page.units[k], valueAt(list, at), scales[k])));
      });
      page.unitLegend(scale, diff.checked);
      hover(page.model, page.at);
      drawCurve(curve, page, found, scale);
      thresholdShown.textContent = threshold.value;
      if (page.isLive) {
        const trace = await page.trace(page.model);
        if (page.isStale(mark)) return;
        drawMap(map, page, trace, scale);
        showAlike(alike, page, trace);
        showMatches(matches, page, trace, Number(threshold.value));
      }
    }

    function valueAt(list, at) {
      return diff.checked ? list[at] - (at ? list[at - 1] : 0) : list[at];
    }

    function hover(model, at) {
      const list = values[model];
      if (!list) {
        page.readout(`The values of ${page.units[model]} are not in this page.`);
        return;
      }
      const name = page.valueName(page.units[model]);
      const what = diff.checked ? `change of ${name}` : name;
      page.readout(
        `After “${charrnn.named(page.symbols[at] ?? "")}” at place ${at}: ${what} = `,
        element("b", {}, charrnn.number(valueAt(list, at), 3)),
      );
    }

    return { update, hover };
  }

  function drawCurve(box, page, found, scale) {
    const low = Math.max(0, page.at - AROUND);
    const high = Math.min(page.ids.length - 1, page.at + AROUND);
    const isNeverBelow = "ifozr".includes(page.unit[0]) || page.models[page.model].config.nonlinearity === "relu";
    const curves = found.flatMap((list, k) => {
      if (!list) return [];
      const points = [];
      for (let t = low; t <= high; t++) points.push([t, list[t]]);
      return [{ points, name: page.models.length > 1 ? `${page.models[k].name} ${page.units[k]}` : page.units[k], dash: page.models.length > 1 ? undefined : "" }];
    });
    const svg = charrnn.chart({
      title: `${page.unit} around place ${page.at}`,
      across: { name: "place in the text", low, high: Math.max(high, low + 1) },
      up: { name: "value (of c: tanh c)", low: isNeverBelow ? 0 : -scale, high: scale },
      curves,
      walls: [{ value: page.at, name: `“${charrnn.named(page.symbols[page.at] ?? "")}”` }],
      width: 460,
      height: 260,
    });
    box.replaceChildren(svg);
    page.figure(svg, `curve-${page.unit}`, () => [
      ["place", "character", ...curves.map((curve) => curve.name)],
      ...(curves[0]?.points ?? []).map(([t], k) => [t, page.symbols[t], ...curves.map((c) => c.points[k][1])]),
    ]);
  }

  /** Return the value of each unit (H) of the array in view, after the chosen place. */
  function statesAt(page, trace, at) {
    const unit = page.parseUnit(page.unit);
    const size = page.models[page.model].config.hidden_size;
    const layer = trace.states[unit.layer - 1];
    const array = unit.array === "c" ? "c" : "h";
    const count = Math.min(at + 1, page.ids.length); // characters that were read
    const row = layer[array].slice(count * size, (count + 1) * size);
    return array === "c" ? row.map(Math.tanh) : row;
  }

  function drawMap(box, page, trace, scale) {
    const unit = page.parseUnit(page.unit);
    const array = unit.array === "c" ? "c" : "h";
    const states = statesAt(page, trace, page.at);
    const columns = Math.ceil(Math.sqrt(states.length * 1.6));
    const rows = Math.ceil(states.length / columns);
    const svg = charrnn.svg("svg", {
      viewBox: `0 0 ${columns * CELL} ${rows * CELL}`, class: "map", role: "img",
      "aria-label": `All ${states.length} neurons of ${array}, layer ${unit.layer}, after place ${page.at}`,
    });
    const colors = charrnn.colors.palette();
    states.forEach((value, k) => {
      const x = (k % columns) * CELL;
      const y = Math.floor(k / columns) * CELL;
      const isChosen = k === unit.number;
      const rect = charrnn.svg("rect", {
        x: x + 1, y: y + 1, width: CELL - 2, height: CELL - 2, rx: 2,
        fill: charrnn.colors.signed(value / scale),
        stroke: isChosen ? colors.accent : colors.grid, "stroke-width": isChosen ? 2.5 : 0.7,
      });
      const name = `${array}${unit.layer}.${k}`;
      rect.append(charrnn.svg("title", {}, `${name} = ${charrnn.number(value, 2)}`));
      rect.addEventListener("click", () => page.select({ unit: name }));
      svg.append(rect);
    });
    box.replaceChildren(svg);
    page.figure(svg, `neurons-at-${page.at}`, () => [
      ["unit", "value"], ...[...states].map((value, k) => [`${array}${unit.layer}.${k}`, value])]);
  }

  /** List the units whose values go with those of the chosen one over the text. */
  function showAlike(box, page, trace) {
    const unit = page.parseUnit(page.unit);
    const array = unit.array === "c" ? "c" : "h";
    const size = page.models[page.model].config.hidden_size;
    const rows = trace.states[unit.layer - 1][array];
    const found = correlations(rows, size, unit.number)
      .map((value, k) => [value, k])
      .filter(([value, k]) => k !== unit.number && Number.isFinite(value))
      .sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]))
      .slice(0, 5);
    const buttons = found.flatMap(([value, k]) => {
      const name = `${array}${unit.layer}.${k}`;
      const button = element("button", { type: "button" }, `${name} (${charrnn.number(value, 2)})`);
      button.addEventListener("click", () => page.select({ unit: name }));
      return [button, " "];
    });
    box.replaceChildren("Most alike over this text, with their correlation: ", ...buttons);
  }

  /** Return the correlation of each unit with one of them, over rows (T + 1, size). */
  function correlations(rows, size, chosen) {
    const count = rows.length / size - 1;
    const sums = new Float64Array(size);
    const squares = new Float64Array(size);
    const products = new Float64Array(size);
    for (let t = 1; t <= count; t++) {
      const own = rows[t * size + chosen];
      for (let j = 0; j < size; j++) {
        const value = rows[t * size + j];
        sums[j] += value;
        squares[j] += value * value;
        products[j] += value * own;
      }
    }
    const spread = (j) => Math.sqrt(Math.max(squares[j] / count - (sums[j] / count) ** 2, 0));
    return Array.from({ length: size }, (_, j) => {
      const shared = products[j] / count - (sums[j] / count) * (sums[chosen] / count);
      return shared / (spread(j) * spread(chosen));
    });
  }

  /** List other places where the units that stay on through the chosen stretch are on too. */
  function showMatches(box, page, trace, threshold) {
    if (!page.range || page.range[1] - page.range[0] < 2) {
      box.replaceChildren();
      return;
    }
    const unit = page.parseUnit(page.unit);
    const array = unit.array === "c" ? "c" : "h";
    const size = page.models[page.model].config.hidden_size;
    const rows = trace.states[unit.layer - 1][array];
    const value = (t, j) => (array === "c" ? Math.tanh(rows[(t + 1) * size + j]) : rows[(t + 1) * size + j]);
    const on = charrnn.unitsOn(value, size, page.range, threshold);
    const found = charrnn.matchPlaces(value, page.ids.length, on, page.range, threshold);
    const items = found.slice(0, MAX_MATCHES).map((match) => {
      const words = (from, to) => page.symbols.slice(Math.max(from, 0), to).map(charrnn.shown).join("");
      const button = element("button", { type: "button" },
        words(match.start - 24, match.start), element("b", {}, words(match.start, match.stop)),
        words(match.stop, match.stop + 24), ` — ${match.shared} of ${on.length} neurons`);
      button.addEventListener("click", () => page.select({ at: match.start, range: [match.start, match.stop] }));
      return element("li", {}, button);
    });
    const names = on.slice(0, 12).map(([j, sign]) => `${sign > 0 ? "+" : "−"}${array}${unit.layer}.${j}`).join(" ");
    box.replaceChildren(
      element("p", { class: "fine" }, on.length
        ? `${on.length} neurons stay beyond ±${threshold} through the stretch: ${names}${on.length > 12 ? " …" : ""}. ${found.length} other places share some of them.`
        : `No neuron stays beyond ±${threshold} through the stretch; lower the threshold.`),
      element("ul", { class: "matches" }, ...items),
    );
  }

  /** Return [unit, sign] of units whose value stays beyond a threshold through [start, stop). */
  charrnn.unitsOn = function (value, size, [start, stop], threshold) {
    const found = [];
    for (let j = 0; j < size; j++) {
      const sign = Math.sign(value(start, j));
      let isOn = sign !== 0;
      for (let t = start; isOn && t < stop; t++) isOn = sign * value(t, j) >= threshold;
      if (isOn) found.push([j, sign]);
    }
    return found;
  };

  /**
   * Return {start, stop, shared} of other stretches of the same length, best first: by how many of
   * the units are on all through them. Stretches do not overlap.
   */
  charrnn.matchPlaces = function (value, count, on, [start, stop], threshold) {
    const length = stop - start;
    const shared = new Int32Array(Math.max(count - length + 1, 0));
    for (const [j, sign] of on) {
      let run = 0;
      for (let t = 0; t < count; t++) {
        run = sign * value(t, j) >= threshold ? run + 1 : 0;
        if (run >= length) shared[t - length + 1] += 1;
      }
    }
    const order = [...shared.keys()].filter((t) => shared[t] > 0);
    order.sort((a, b) => shared[b] - shared[a] || a - b);
    const taken = new Uint8Array(count);
    taken.fill(1, start, stop);
    const found = [];
    for (const t of order) {
      if (taken[t] || taken[t + length - 1]) continue;
      taken.fill(1, t, t + length);
      found.push({ start: t, stop: t + length, shared: shared[t] });
    }
    return found;
  };
})((globalThis.charrnn ??= {}));
