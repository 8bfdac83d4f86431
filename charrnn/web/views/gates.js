// View gates: one gate over the text, the sums of one unit with their numbers, and how all units of
// a layer use that gate.
(function (charrnn) {
  "use strict";

  const OPEN = 0.9;
  const CLOSED = 0.1;
  // What a gate is for, and its letter in each cell.
  const MEANINGS = {
    kept: { words: "what is kept", lstm: "f", gru: "z" },
    written: { words: "what is written", lstm: "i" },
    shown: { words: "what is shown", lstm: "o" },
    heard: { words: "what the new value hears of the old state", gru: "r" },
  };
  const element = (...args) => charrnn.element(...args);

  charrnn.views.gates = { needsNetwork: true, usesUnit: true, keepsPicture: true, create };

  function create(root, page) {
    const cells = page.models.map((model) => model.config.cell);
    const known = Object.entries(MEANINGS).filter(([, each]) => cells.some((cell) => each[cell]));
    const choice = element("select", { id: "gate" }, ...known.map(([name, each]) => {
      const letters = [...new Set(cells.map((cell) => each[cell]).filter(Boolean))].join(" or ");
      return element("option", { value: name }, `${letters}: ${each.words}`);
    }));
    const sums = element("div");
    const scatter = element("div");
    choice.addEventListener("change", () => page.select({}));
    if (cells.includes("rnn")) {
      root.append(element("p", {}, "A plain RNN has no gates: its whole state is computed at every character. The picture shows how often its neurons are at their limits."));
    }
    if (known.length) {
      root.append(
        element("div", { class: "tools" }, element("label", {}, "colour the text by", choice)),
        element("div", { class: "columns" },
          element("div", {}, element("h3", {}, "This neuron, here, in numbers"), sums),
          element("div", {}, element("h3", {}, "All neurons of the layer on this text"), scatter)),
      );
    }
    let values = [];

    /** Return {letter, name} of the chosen gate of a model's chosen unit, or null. */
    function gateOf(model) {
      const letter = MEANINGS[choice.value]?.[cells[model]];
      const unit = page.parseUnit(page.units[model], model);
      return letter ? { letter, name: `${letter}${unit.layer}.${unit.number}` } : null;
    }

    async function update() {
      const mark = page.mark();
      if (!known.length || !page.ids.length) return;
      const gates = page.models.map((_, k) => gateOf(k));
      values = await Promise.all(gates.map((gate, k) => gate && page.values(k, gate.name)));
      if (page.isStale(mark)) return;
      values.forEach((list, k) => page.paint(k, list && ((at) => page.lookOf(gates[k].name, list[at]))));
      const steps = [0, 0.25, 0.5, 0.75, 1].map((v) => [charrnn.colors.magnitude(v), String(v)]);
      page.legend(steps, "gate closed", "open");
      hover(page.model, page.at);
      const gate = gates[page.model];
      sums.replaceChildren();
      scatter.replaceChildren();
      if (!gate) return;
      const unit = page.parseUnit(page.unit);
      const size = page.models[page.model].config.hidden_size;
      const all = await page.ask(page.model, { kind: "gates", depth: unit.layer - 1 });
      const trace = await page.trace(page.model);
      if (page.isStale(mark)) return;
      showSums(sums, page, unit, all, trace.states[unit.layer - 1], size);
      drawScatter(scatter, page, unit, all[gate.letter], gate.letter, size);
    }

    function hover(model, at) {
      const gate = gateOf(model);
      if (!gate || !values[model]) {
        page.readout(`${page.models[model].name} has no such gate.`);
        return;
      }
      if (page.isEnd(at, model)) {
        page.readout(`At place ${at} a record ends: the state is set back, and no gate is computed.`);
        return;
      }
      page.readout(
        `At “${charrnn.named(page.symbols[at])}”, place ${at}: ${gate.name} = `,
        element("b", {}, charrnn.number(values[model][at], 3)),
      );
    }

    return { update, hover };
  }

  function showSums(box, page, unit, gates, states, size) {
    if (page.isEnd(page.at)) {
      box.replaceChildren(element("p", {}, "A record ends here: the state is set back to the one before the text, and no gate is computed."));
      return;
    }
    const here = page.at * size + unit.number;
    const n = (value) => charrnn.number(value, 3);
    const at = (name) => gates[name][here];
    const { cell } = page.models[page.model].config;
    const lines = [];
    if (cell === "lstm") {
      const old = states.c[here];
      const now = states.c[here + size];
      lines.push(["c", "f · c before + i · g", `${n(at("f"))} · ${n(old)} + ${n(at("i"))} · ${n(at("g"))}`, n(now)]);
      lines.push(["h", "o · tanh c", `${n(at("o"))} · ${n(Math.tanh(now))}`, n(states.h[here + size])]);
    } else {
      lines.push(["h", "z · h before + (1 − z) · n",
        `${n(at("z"))} · ${n(states.h[here])} + ${n(1 - at("z"))} · ${n(at("n"))}`, n(states.h[here + size])]);
    }
    const rows = lines.map(([name, form, numbers, result]) => element("li", {},
      element("code", {}, `${name} = ${form}`), element("br"), element("code", {}, `= ${numbers}`),
      element("br"), element("code", {}, "= "), element("b", {}, result)));
    const facts = Object.keys(gates).filter((name) => name !== "n_h").map((name) =>
      element("li", {}, `${name} `, element("b", {}, n(at(name)))));
    box.replaceChildren(element("ul", { class: "facts" }, ...facts), element("ul", {}, ...rows));
  }

  function drawScatter(box, page, unit, values, gate, size) {
    const places = [...page.ids.keys()].filter((t) => !page.isEnd(t));
    const count = places.length || 1;
    const open = new Float64Array(size);
    const closed = new Float64Array(size);
    for (const t of places) {
      for (let j = 0; j < size; j++) {
        open[j] += values[t * size + j] > OPEN;
        closed[j] += values[t * size + j] < CLOSED;
      }
    }
    const dots = [...open].map((total, j) => ({
      point: [total / count, closed[j] / count],
      name: `${gate}${unit.layer}.${j}`,
      chosen: j === unit.number,
    }));
    dots.sort((a, b) => a.chosen - b.chosen);
    const svg = charrnn.chart({
      title: `How long gate ${gate} of each neuron in layer ${unit.layer} is open and closed`,
      across: { name: `share of characters where ${gate} is open (> ${OPEN})`, low: 0, high: 1 },
      up: { name: `closed (< ${CLOSED})`, low: 0, high: 1 },
      curves: [{ points: [[0, 1], [1, 0]], name: "", dash: "4 4", color: charrnn.colors.palette().grid }],
      dots,
      width: 460,
      height: 330,
    });
    box.replaceChildren(svg);
    page.figure(svg, `gate-${gate}${unit.layer}`, () => [
      ["unit", "share_open", "share_closed"], ...dots.map((dot) => [dot.name, ...dot.point])]);
  }
})((globalThis.charrnn ??= {}));
