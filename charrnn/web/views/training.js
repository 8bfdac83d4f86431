// View training: a slider over the weights along the way recolours the text as the network then was.
(function (charrnn) {
  "use strict";

  const element = (...args) => charrnn.element(...args);
  const CHANCE = { true: "0.5 = coin toss", false: "0 = unrelated" };

  charrnn.views.training = { usesText: false, keepsPicture: true, create };

  function create(root, page) {
    const box = element("div");
    root.append(box);
    let model = -1;
    let show = () => {};
    const update = () => {
      if (page.model !== model) { // else the slider keeps its place
        model = page.model;
        const found = page.models[model].reports.training?.snapshots;
        const parts = found ? replay(found) : { nodes: [missing()], show: () => {} };
        box.replaceChildren(...parts.nodes);
        show = parts.show;
      }
      show();
    };
    return { update };
  }

  function missing() {
    return element("p", { class: "fine" },
      "This run kept no weights along the way. charrnn train --snapshots 24 keeps some, and they can be replayed here.");
  }

  /** Return a slider over the snapshots with what it changes, and what shows the chosen one. */
  function replay(found) {
    const units = Object.keys(found.units);
    const last = found.step.length - 1;
    const slider = element("input", { type: "range", min: 0, max: last, step: 1, id: "training-step" });
    slider.value = last;
    const choice = element("select", { id: "training-unit" }, ...units.map((unit) => element("option", { value: unit }, unit)));
    const facts = element("p", { "aria-live": "polite" });
    const text = element("pre", { class: "replay" });
    const charts = element("div");
    const spans = found.symbols.map((symbol) => element("span", {}, charrnn.shown(symbol) + (symbol === "\n" ? "\n" : "")));
    if (units.length) text.append(...spans);

    function show() {
      const number = Number(slider.value);
      const step = found.step[number].toLocaleString("en");
      slider.setAttribute("aria-valuetext", `step ${step}`);
      facts.replaceChildren(element("b", {}, `Step ${step}`),
        `: ${charrnn.number(found.loss_bpc[number], 3)} bits per character on this text`,
        ...found.births.map((birth) => `; ${birth.unit} tells “${birth.feature}” with ${birth.is_yes_no ? "AUC" : "ρ"} ${charrnn.number(birth.scores[number], 3)} (${CHANCE[birth.is_yes_no]}, 1 = ${birth.is_yes_no ? "always right" : "moves exactly together"})`));
      const values = found.units[choice.value];
      if (values) spans.forEach((span, at) => paint(span, values[number][at]));
      charts.replaceChildren(...drawCharts(found, number));
    }

    slider.addEventListener("input", show);
    choice.addEventListener("change", show);
    const tools = [element("label", { for: "training-step" }, "replay the training: step"), slider];
    if (units.length) tools.push(element("label", { for: "training-unit" }, "neuron"), choice);
    return { nodes: [element("div", { class: "tools" }, ...tools), facts, text, charts], show };
  }

  function paint(span, value) {
    const color = value === null || value === undefined ? "" : charrnn.colors.signed(value);
    span.style.backgroundColor = color;
    span.style.color = color ? charrnn.colors.letter(color) : "";
  }

  /** Return the loss and the scores of found neurons against the steps, with the chosen one marked. */
  function drawCharts(found, number) {
    const highest = found.step[found.step.length - 1] + 1;
    const across = { name: "step + 1", low: 1, high: highest, log: true };
    const walls = [{ value: found.step[number] + 1, name: "" }];
    const points = (values) => values.map((value, index) => [found.step[index] + 1, value]);
    const top = Math.max(...found.loss_bpc);
    const charts = [charrnn.chart({
      title: "Bits per character on the text above", across, walls,
      up: { name: "bits", low: 0, high: top * 1.05 }, curves: [{ points: points(found.loss_bpc), name: "" }],
    })];
    if (found.births.length) {
      charts.push(charrnn.chart({
        title: "How well each found neuron tells its feature", across, walls,
        up: { name: "AUC or ρ", low: 0, high: 1 },
        curves: found.births.map((birth) => ({ points: points(birth.scores), name: `${birth.unit}: ${birth.feature}` })),
      }));
    }
    return charts;
  }
})((globalThis.charrnn ??= {}));
