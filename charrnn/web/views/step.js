// View step: every number of one step for one neuron, forward and backward. charrnn/web/step.js
// computes them in the worker.
(function (charrnn) {
  "use strict";

  const element = (...args) => charrnn.element(...args);

  charrnn.views.step = { needsNetwork: true, usesUnit: true, create };

  function create(root, page) {
    const heading = element("p", { class: "lead" });
    const forward = element("div");
    const backward = element("div");
    const tools = element("div");
    const opened = new Set(); // formulas whose lines stay open
    root.append(
      heading,
      element("p", { class: "fine" },
        "Small signs stand above their numbers. A sum shows its largest terms and the rest: add them up. ",
        "Open a line for its meaning, its formula and its line of code."),
      element("h3", {}, "Forward: from the character to the loss"), forward,
      element("h3", {}, "Backward: how the loss would change with each number"), backward, tools);
    let values = [];
    let shown = null;

    async function update() {
      const mark = page.mark();
      if (!page.ids.length) return;
      values = await Promise.all(page.models.map((_, k) => page.values(k, page.units[k])));
      const scales = await Promise.all(page.models.map((_, k) => page.scale(k, page.units[k])));
      if (page.isStale(mark)) return;
      values.forEach((list, k) => page.paint(k, (at) => page.lookOf(page.units[k], list?.[at], scales[k])));
      page.unitLegend(scales[page.model]);
      hover(page.model, page.at);
      const { at, model } = page;
      const { layer, number } = page.parseUnit(page.unit);
      const target = page.ids[at + 1] ?? null;
      shown = await page.ask(model, { kind: "step", at, depth: layer - 1, unit: number, target });
      if (page.isStale(mark)) return;
      show(layer, number, target === null);
    }

    function show(layer, number, isGuess) {
      const { at, model } = page;
      const symbol = charrnn.named(page.symbols[at]);
      if (!shown) {
        heading.replaceChildren(`Place ${at} ends a record: the state is set back there, and no step is computed.`);
        forward.replaceChildren();
        backward.replaceChildren();
        tools.replaceChildren();
        return;
      }
      const next = charrnn.named(page.models[model].vocab[shown.target]);
      heading.replaceChildren(
        page.models.length > 1 ? `${page.models[model].name}: ` : "",
        "It reads “", element("b", {}, symbol), `” at place ${at}. `,
        isGuess ? "Its best guess is “" : "Next comes “", element("b", {}, next),
        `”. These are the numbers of neuron ${number} in layer ${layer}.`);
      const names = page.models[model].vocab;
      const codes = codesOf(page.models[model]);
      for (const [box, lines] of [[forward, shown.forward], [backward, shown.backward]]) {
        box.replaceChildren(...lines.map((line) => showLine(line, names, codes, opened)));
      }
      tools.replaceChildren();
      page.figure(tools.appendChild(element("span")), `step-at-${at}`, () => rowsOf(shown, names));
    }

    function hover(model, at) {
      if (!values[model]) return;
      page.readout(
        `At “${charrnn.named(page.symbols[at])}”, place ${at}: ${page.valueName(page.units[model])} = `,
        element("b", {}, charrnn.number(values[model][at], 3)));
    }

    return { update, hover };
  }

  /** Return the lines of code by formula, as the recorded report of this view has them. */
  function codesOf(model) {
    const { forward = [], backward = [] } = model.reports.step ?? {};
    return new Map([...forward, ...backward].map((line) => [kindOf(line), line.code]));
  }

  /** Return what lines of one kind share: their formula without its gate and numbers. */
  const kindOf = ({ formula }) => formula.replace(/\d+/g, "").replace(/_[a-z]+/g, "");

  const digits = (value) => Number(value.toPrecision(6)).toString().replaceAll("-", "−");

  /** Return a text in which tokens have their names; several in quotes stand as in the text. */
  const withNames = (text, names) =>
    text.replace(/'[«»\d?]+'|«(\d+)»/g, (found, single) =>
      single === undefined
        ? found.replace(/«(\d+)»/g, (_, token) => charrnn.shown(names[token]))
        : charrnn.named(names[single]));

  /** Return an equation that opens to say what it means. */
  function showLine(line, names, codes, opened) {
    const key = line.formula + line.name;
    const name = withNames(line.name, names);
    const parts = line.pieces.flatMap((piece, k) => {
      const symbol = withNames(piece.symbol, names);
      const brackets = ["(", ")"].map((sign) => element("rp", {}, sign));
      const sign = element("rt", {}, symbol);
      const number = element("ruby", {}, withNames(piece.number, names), brackets[0], sign, brackets[1]);
      return k ? [` ${line.sign} `, number] : [number];
    });
    const code = codes.get(kindOf(line));
    const details = element("details", { open: opened.has(key) },
      element("summary", {}, element("code", {}, name), " = ", ...parts, " = ", element("b", {}, line.shown)),
      element("p", {}, `${line.meaning[0].toUpperCase()}${line.meaning.slice(1)}.`),
      element("p", {}, element("code", {}, `${name.replace(/\[.*/, "")} = ${line.formula}`)),
      line.measured === null ? "" : element("p", {},
        "By the formula ", element("b", {}, digits(line.value)),
        "; by changing it a little and reading the loss again ", element("b", {}, digits(line.measured)), "."),
      code ? element("p", { class: "fine" }, "In code: ", element("code", {}, code)) : "",
      showFactors(line, names));
    details.addEventListener("toggle", () => (details.open ? opened.add(key) : opened.delete(key)));
    return details;
  }

  /** Return how the terms of a sum came about, where they are products. */
  function showFactors(line, names) {
    const known = line.pieces.filter((piece) => piece.detail);
    if (!known.length) return "";
    const rows = known.map((piece) => element("li", {},
      element("code", {}, withNames(piece.symbol, names)), ` = ${piece.detail} ≈ ${piece.number}`));
    return element("ul", { class: "fine" }, ...rows);
  }

  /** Return the rows of a table of all lines. */
  function rowsOf({ forward, backward }, names) {
    const rows = [["part", "name", "formula", "value", "central_difference", "meaning"]];
    for (const [part, lines] of [["forward", forward], ["backward", backward]]) {
      for (const line of lines) {
        rows.push([part, withNames(line.name, names), line.formula, line.value, line.measured, line.meaning]);
      }
    }
    return rows;
  }
})((globalThis.charrnn ??= {}));
