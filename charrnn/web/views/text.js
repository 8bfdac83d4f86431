// View text: what one unit follows, over the text; all units at one place; places alike.
(function (charrnn) {
  "use strict";

  const CELL = 15; // pixels of a unit in the map
  const AROUND = 60; // places on either side of the chosen one in the curve
  const MAX_MATCHES = 50;
  const MAX_PLACES = 2000; // that are looked at for matches
  const LONGEST = 2; // times the length of the stretch
  const AHEAD = 24; // characters around a match
  const SHOWN = 12; // names of neurons
  const SIDES = {
    above: (threshold) => `at ${threshold} or more`,
    below: (threshold) => `at −${threshold} or less`,
    either: (threshold) => `beyond ±${threshold}`,
  };
  const ARRAYS = {
    h: "what it shows", c: "its memory (h is what it shows of it)", i: "the gate for what is written", f: "the gate for what is kept",
    g: "what it would write", o: "the gate for what is shown", r: "the gate for what is heard of the old state",
    z: "the gate for what is kept", n: "its new value",
  };
  const CHIPS = 3; // neurons of each model that are offered
  const element = (...args) => charrnn.element(...args);

  charrnn.views.text = { usesUnit: true, create };

  function create(root, page) {
    const diff = element("input", { type: "checkbox", id: "text-diff" });
    const threshold = element("input", { type: "range", min: 0.05, max: 0.95, step: 0.05, value: 0.3, id: "text-threshold" });
    const thresholdShown = element("output", { for: "text-threshold" });
    const side = element("select", { id: "text-side" },
      ...Object.entries({ above: "high", below: "low", either: "high or low" }).map(([value, words]) => element("option", { value }, words)));
    const bounded = element("input", { type: "checkbox", id: "text-bounded" });
    const meaning = element("p", { class: "fine", id: "text-meaning" });
    const map = element("div");
    const curve = element("div");
    const alike = element("p", { class: "fine" });
    const matches = element("div");
    const showMap = makeMap(map, page);
    diff.addEventListener("change", () => page.select({}));
    for (const input of [threshold, side, bounded]) {
      input.addEventListener("input", () => page.select({}, { isQuiet: true }));
    }
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
      meaning,
      element("div", { class: "columns" },
        page.isLive ? element("div", {}, element("h3", {}, "Every neuron of this layer, here"), map, alike) : "",
        element("div", {}, element("h3", {}, "This neuron around here"), curve)),
    );
    if (page.isLive) {
      root.append(
        element("h3", {}, "Where else is the network in the same state?"),
        element("p", { class: "fine" }, "Choose a stretch of text: drag, or use Shift and the arrow keys. The neurons of all layers that stay high all through it are looked for elsewhere."),
        element("div", { class: "tools" },
          element("label", {}, "neurons that are", side), element("label", {}, "threshold", threshold, thresholdShown),
          element("label", {}, bounded, "off just before and after")),
        matches);
    }

    let values = [];
    let matched = ""; // what the matches were found for

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
      meaning.replaceChildren(...meaningOf(page));
      drawCurve(curve, page, found, scale);
      thresholdShown.textContent = threshold.value;
      if (page.isLive) {
        const trace = await page.trace(page.model);
        if (page.isStale(mark)) return;
        showMap(trace, scale);
        await showAlike(alike, page, trace, mark);
        if (page.isStale(mark)) return;
        updateMatches(trace);
      }
    }

    /** Find the matches again if what they depend on has changed. */
    function updateMatches(trace) {
      const how = { threshold: Number(threshold.value), side: side.value, isBounded: bounded.checked };
      const asked = JSON.stringify([page.model, page.range, how]);
      if (asked === matched && matches.trace === trace) return;
      matched = asked;
      matches.trace = trace;
      showMatches(matches, page, trace, how);
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

  /** Return what the name of the chosen unit means. */
  function meaningOf(page) {
    const { array, layer, number } = page.parseUnit(page.unit);
    const { cell, num_layers: layers } = page.models[page.model].config;
    const words = array === "h" && cell !== "lstm" ? "its state" : ARRAYS[array];
    const ending = array === "c" ? " Shown is its tanh, between −1 and 1." : "";
    return ["What ", element("code", {}, page.unit), ` means: ${array} = ${words}, layer ${layer} of ${layers}, neuron ${number} (the first is 0).${ending}`];
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

  /** Return a function that shows all units of a layer at the chosen place. */
  function makeMap(box, page) {
    let shown = { key: "" };

    return (trace, scale) => {
      const unit = page.parseUnit(page.unit);
      const array = unit.array === "c" ? "c" : "h";
      const states = statesAt(page, trace, page.at);
      const key = `${page.model} ${array}${unit.layer}`;
      if (shown.key !== key) shown = { key, ...drawMap(box, page, `${array}${unit.layer}`, states.length) };
      shown.states.splice(0, states.length, ...states);
      shown.svg.setAttribute("aria-label",
        `All ${states.length} neurons of ${array}, layer ${unit.layer}, after place ${page.at}`);
      const colors = charrnn.colors.palette();
      states.forEach((value, k) => {
        const isChosen = k === unit.number;
        const { rect, title } = shown.cells[k];
        rect.setAttribute("fill", charrnn.colors.signed(value / scale));
        rect.setAttribute("stroke", isChosen ? colors.accent : colors.grid);
        rect.setAttribute("stroke-width", isChosen ? 2.5 : 0.7);
        title.textContent = `${page.valueName(`${array}${unit.layer}.${k}`)} = ${charrnn.number(value, 2)}`;
      });
    };
  }

  /** Put a map of `count` units into a box; return {svg, cells: [{rect, title}], states: []}. */
  function drawMap(box, page, array, count) {
    const columns = Math.ceil(Math.sqrt(count * 1.6));
    const rows = Math.ceil(count / columns);
    const svg = charrnn.svg("svg", { viewBox: `0 0 ${columns * CELL} ${rows * CELL}`, class: "map", role: "img" });
    const cells = Array.from({ length: count }, (_, k) => {
      const x = (k % columns) * CELL + 1;
      const y = Math.floor(k / columns) * CELL + 1;
      const title = charrnn.svg("title");
      const rect = charrnn.svg("rect", { x, y, width: CELL - 2, height: CELL - 2, rx: 2 }, title);
      rect.addEventListener("click", () => page.select({ unit: `${array}.${k}` }));
      return { rect, title };
    });
    svg.append(...cells.map(({ rect }) => rect));
    box.replaceChildren(svg);
    const states = [];
    page.figure(svg, `neurons-of-${array}`, () => [
      ["unit", "value"], ...states.map((value, k) => [`${array}.${k}`, value])]);
    return { svg, cells, states };
  }

  /** List the units whose values go with those of the chosen one over the text. */
  async function showAlike(box, page, trace, mark) {
    const unit = page.parseUnit(page.unit);
    const array = unit.array === "c" ? "c" : "h";
    const size = page.models[page.model].config.hidden_size;
    const rows = trace.states[unit.layer - 1][array];
    const name = `alike ${page.model} ${array}${unit.layer}.${unit.number}`;
    const values = await page.remember(name, () => correlations(rows, size, unit.number));
    if (page.isStale(mark) || (box.values === values && box.hasChildNodes())) return;
    box.values = values;
    const found = values
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

  /** Show the stretches of text in which much the same units are on as in the chosen one. */
  function showMatches(box, page, trace, how) {
    if (!page.range || page.range[1] - page.range[0] < 2) {
      box.replaceChildren();
      return;
    }
    const { first, stop } = placesAround(page.ids.length, page.range);
    const { names, on } = unitsOfTrace(page, trace, [first, stop], how);
    const range = page.range.map((at) => at - first);
    const { selected, matches } = charrnn.findMatches(on, range, { isBounded: how.isBounded, count: MAX_MATCHES });
    const items = matches.map((match) => showMatch(page, match.start + first, match.stop + first,
      ` — ${match.shared} of ${selected.length}, and ${match.other} more`));
    const shown = selected.slice(0, SHOWN).map((unit) => names[unit]).join(" ");
    const isCut = stop - first < page.ids.length;
    const edges = how.isBounded ? " and not just before and after it" : "";
    box.replaceChildren(
      element("p", { class: "fine" }, selected.length
        ? `${selected.length} of ${names.length} neurons are ${SIDES[how.side](how.threshold)} all through the stretch${edges}: ${shown}${selected.length > SHOWN ? " …" : ""}. `
          + (matches.length ? "Below are stretches with much the same ones, the most alike and longest first; with each, how many of these neurons are on in it, and how many others."
            : "No other stretch has any of them on.")
          + (isCut ? ` Only places ${first} to ${stop - 1} were looked at.` : "")
        : `No neuron is ${SIDES[how.side](how.threshold)} all through the stretch${edges}; lower the threshold.`),
      element("ul", { class: "matches" }, ...items),
    );
  }

  function showMatch(page, start, stop, facts) {
    const words = (from, to) => page.symbols.slice(Math.max(from, 0), to).map(charrnn.shown).join("");
    const button = element("button", { type: "button" },
      words(start - AHEAD, start), element("b", {}, words(start, stop)), words(stop, stop + AHEAD), facts);
    button.addEventListener("click", () => page.select({ at: start, range: [start, stop] }));
    return element("li", {}, button);
  }

  /** Return the places {first, stop} that are looked at: those around a stretch of a long text. */
  function placesAround(count, [start, end]) {
    const middle = (start + end) >> 1;
    const first = Math.max(0, Math.min(middle - MAX_PLACES / 2, count - MAX_PLACES));
    return { first: Math.min(first, start), stop: Math.max(Math.min(first + MAX_PLACES, count), end) };
  }

  /** Return {names, on}: all units of h and c of all layers, and where which are on: `bitsOf`. */
  function unitsOfTrace(page, trace, [first, stop], { side, threshold }) {
    const size = page.models[page.model].config.hidden_size;
    const arrays = trace.states.flatMap((layer, depth) =>
      Object.entries(layer).map(([name, rows]) => ({ name: `${name}${depth + 1}`, rows, isMemory: name === "c" })));
    const names = arrays.flatMap(({ name }) => Array.from({ length: size }, (_, k) => `${name}.${k}`));
    const value = (t, unit) => {
      const { rows, isMemory } = arrays[Math.floor(unit / size)];
      const found = rows[(first + t + 1) * size + (unit % size)];
      return isMemory ? Math.tanh(found) : found;
    };
    return { names, on: charrnn.unitsOn(value, stop - first, names.length, threshold, side) };
  }

  /**
   * Return which of `units` are on at which of `places`, by value(t, unit): {places, units, words,
   * bits}, where bits has `words` numbers of 32 bits for each place.
   *
   * side: "above" means v ≥ threshold, "below" v ≤ −threshold, "either" one of them.
   */
  charrnn.unitsOn = function (value, places, units, threshold, side = "above") {
    const words = Math.ceil(units / 32);
    const bits = new Uint32Array(places * words);
    const isOn = {
      above: (v) => v >= threshold, below: (v) => v <= -threshold, either: (v) => Math.abs(v) >= threshold,
    }[side];
    for (let t = 0; t < places; t++) {
      for (let unit = 0; unit < units; unit++) {
        if (isOn(value(t, unit))) bits[t * words + (unit >> 5)] |= 1 << (unit & 31);
      }
    }
    return { places, units, words, bits };
  };

  /** Return how many bits of a number are 1. */
  function ones(number) {
    let n = number - ((number >>> 1) & 0x55555555);
    n = (n & 0x33333333) + ((n >>> 2) & 0x33333333);
    return Math.imul((n + (n >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }

  /**
   * Return {selected, matches}: the units that are on all through [start, stop), and the stretches
   * that match it, best first: [{start, stop, shared, missing, other, score}].
   *
   * The same as interpret/matching.py finds. A stretch has up to twice the length; the score is the
   * share of units on here and there, of those on here or there, times the length. Of the stretches
   * from a place only the best counts, and none overlap. isBounded: units count only where they are
   * off just before and just after. Time grows with places · units · length.
   */
  charrnn.findMatches = function (on, [start, stop], { isBounded = false, count = 50 } = {}) {
    const { places, words, bits } = on;
    const edge = (t, word) => (t < 0 || t >= places ? 0 : bits[t * words + word]);
    const wanted = new Uint32Array(words).fill(0xffffffff);
    for (let word = 0; word < words; word++) {
      for (let t = start; t < stop; t++) wanted[word] &= bits[t * words + word];
      if (isBounded) wanted[word] &= ~(edge(start - 1, word) | edge(stop, word));
    }
    const selected = Array.from({ length: on.units }, (_, unit) => unit)
      .filter((unit) => (wanted[unit >> 5] >>> (unit & 31)) & 1);
    if (!selected.length) return { selected, matches: [] };
    const best = Array.from({ length: places }, () => ({ score: 0 }));
    const through = bits.slice(); // which units are on through the stretch from each place
    for (let length = 1; length <= Math.min(LONGEST * (stop - start), places); length++) {
      for (let t = 0; t + length <= places; t++) {
        let shared = 0;
        let all = 0;
        for (let word = 0; word < words; word++) {
          const k = t * words + word;
          if (length > 1) through[k] &= bits[k + (length - 1) * words];
          const row = isBounded ? through[k] & ~(edge(t - 1, word) | edge(t + length, word)) : through[k];
          shared += ones(row & wanted[word]);
          all += ones(row);
        }
        const score = (shared / (selected.length + all - shared)) * length;
        if (score > best[t].score) {
          best[t] = { start: t, stop: t + length, shared, missing: selected.length - shared, other: all - shared, score };
        }
      }
    }
    return { selected, matches: withoutOverlaps(best, [start, stop], count) };
  };

  /** Return the best stretches that overlap neither each other nor what is taken. */
  function withoutOverlaps(best, taken, count) {
    const isTaken = new Uint8Array(best.length).fill(1, ...taken);
    const matches = [];
    const order = best.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score || a.start - b.start);
    for (const match of order) {
      if (matches.length === count) break;
      if (isTaken.subarray(match.start, match.stop).includes(1)) continue;
      isTaken.fill(1, match.start, match.stop);
      matches.push(match);
    }
    return matches;
  }
})((globalThis.charrnn ??= {}));
