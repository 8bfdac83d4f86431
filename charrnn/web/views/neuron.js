// View neuron: the card of any unit, from the text in view: where it is high, low and in between,
// which characters move it, and how often it has each value.
(function (charrnn) {
  "use strict";

  const AROUND = 18; // characters on either side of a sample's middle
  const APART = 12; // characters between samples
  const SAMPLES = 4;
  const QUANTILES = [0.1, 0.3, 0.5, 0.7, 0.9];
  const MOVERS = 6;
  const SEEN = 3; // times that a character must occur
  const BINS = 24;
  const element = (...args) => charrnn.element(...args);

  charrnn.views.neuron = { needsNetwork: true, usesUnit: true, keepsPicture: true, create };

  function create(root, page) {
    const samples = element("div");
    const movers = element("div");
    const histogram = element("div");
    root.append(
      samples,
      element("div", { class: "columns" },
        element("div", {}, element("h3", {}, "Characters that move it"), movers),
        element("div", {}, element("h3", {}, "How often it has each value"), histogram)));
    let values = [];

    async function update() {
      const mark = page.mark();
      values = await Promise.all(page.models.map((_, k) => page.values(k, page.units[k])));
      const scales = await Promise.all(page.models.map((_, k) => page.scale(k, page.units[k])));
      if (page.isStale(mark)) return;
      values.forEach((list, k) => page.paint(k, (at) => page.lookOf(page.units[k], list[at], scales[k])));
      const scale = scales[page.model];
      page.unitLegend(scale);
      hover(page.model, page.at);
      const list = values[page.model];
      samples.replaceChildren(...showSamples(page, list, scale));
      showMovers(movers, page, list, scale);
      drawHistogram(histogram, page, list, scale);
    }

    function hover(model, at) {
      if (!values[model]?.length) return;
      page.readout(
        `After “${charrnn.named(page.symbols[at])}” at place ${at}: ${page.valueName(page.units[model])} = `,
        element("b", {}, charrnn.number(values[model][at], 3)));
    }

    return { update, hover };
  }

  /** Return groups of samples of the text: highest, lowest, and at even shares of all places. */
  function showSamples(page, list, scale) {
    const known = [...list.keys()].filter((at) => Number.isFinite(list[at]));
    const order = known.sort((a, b) => list[a] - list[b] || a - b);
    const between = QUANTILES.map((share) => order[Math.floor(share * order.length)]).filter((at) => at !== undefined);
    const groups = [
      ["Where it is highest", apart([...order].reverse())],
      ["Where it is lowest", apart(order)],
      ["In between: at 10, 30, 50, 70 and 90 % of all places", between],
    ];
    return groups.flatMap(([title, places]) => [
      element("h3", {}, title),
      element("ul", { class: "samples" }, ...places.map((at) => showSample(page, list, at, scale)))]);
  }

  /** Return the first places of an order that do not lie close together. */
  function apart(order) {
    const found = [];
    for (const at of order) {
      if (found.length === SAMPLES) break;
      if (found.every((other) => Math.abs(other - at) >= APART)) found.push(at);
    }
    return found;
  }

  function showSample(page, list, at, scale) {
    const cells = [];
    for (let t = Math.max(0, at - AROUND); t <= Math.min(list.length - 1, at + AROUND); t++) {
      const cell = element("span", { class: t === at ? "at" : null }, charrnn.shown(page.symbols[t]));
      const { background } = page.lookOf(page.unit, list[t], scale);
      cell.style.backgroundColor = background ?? "";
      cell.style.color = charrnn.colors.letter(background);
      cells.push(cell);
    }
    const words = `Go to place ${at}, where it is ${charrnn.number(list[at], 2)}`;
    const button = element("button", { type: "button", title: words }, ...cells);
    button.addEventListener("click", () => page.select({ at }));
    return element("li", {}, element("span", { class: "fine" }, list[at].toFixed(2).replace("-", "−")), button);
  }

  /** Return [symbol, mean change, times] of the characters that are read, largest change first. */
  function changesBy(page, list) {
    const totals = new Map();
    for (let t = 1; t < list.length; t++) {
      if (!Number.isFinite(list[t] - list[t - 1])) continue; // no gate where a record ends
      const each = totals.get(page.symbols[t]) ?? { sum: 0, count: 0 };
      each.sum += list[t] - list[t - 1];
      each.count += 1;
      totals.set(page.symbols[t], each);
    }
    return [...totals]
      .filter(([, { count }]) => count >= SEEN)
      .map(([symbol, { sum, count }]) => [symbol, sum / count, count])
      .sort((a, b) => b[1] - a[1]);
  }

  function showMovers(box, page, list, scale) {
    const changes = changesBy(page, list);
    const shown = changes.length > 2 * MOVERS ? [...changes.slice(0, MOVERS), ...changes.slice(-MOVERS)] : changes;
    const rows = shown.map(([symbol, change, count]) => {
      const bar = charrnn.svg("svg", { viewBox: "-100 0 200 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      const colors = charrnn.colors.palette();
      const wide = Math.min(Math.abs(change) / scale, 2) * 50;
      bar.append(charrnn.svg("rect", {
        x: change < 0 ? -wide : 0, y: 1, width: wide, height: 8,
        fill: change < 0 ? colors.negative[3] : colors.positive[3],
      }));
      return element("tr", {}, element("td", {}, charrnn.named(symbol)), element("td", {}, bar),
        element("td", { title: `${count} times` }, charrnn.number(change, 2)));
    });
    const table = element("table", { class: "bars", "aria-label": "Mean change by the character that is read" },
      element("tbody", {}, ...rows));
    box.replaceChildren(
      element("p", { class: "fine" }, "The mean change of its value when this character is read."), table);
    page.figure(table, `changes-${page.unit}`, () => [["character", "mean_change", "times"], ...changes]);
    for (const button of box.querySelectorAll(".figure-tools button")) {
      if (button.textContent.startsWith("Save")) button.remove(); // the bars are no single picture
    }
  }

  function drawHistogram(box, page, list, scale) {
    const isNeverBelow = "ifozr".includes(page.unit[0]) || page.models[page.model].config.nonlinearity === "relu";
    const low = isNeverBelow ? 0 : -1;
    const counts = new Array(BINS).fill(0);
    const known = list.filter(Number.isFinite);
    for (const value of known) {
      const bin = Math.floor(((value / scale - low) / (1 - low)) * BINS);
      counts[Math.min(Math.max(bin, 0), BINS - 1)] += 1;
    }
    const shares = counts.map((count) => count / (known.length || 1));
    const edge = (k) => (low + ((1 - low) * k) / BINS) * scale;
    const points = shares.flatMap((share, k) => [[edge(k), share], [edge(k + 1), share]]);
    const svg = charrnn.chart({
      title: `How often ${page.unit} has each value in this text`,
      across: { name: page.valueName(page.unit), low: low * scale, high: scale },
      up: { name: "share of all places", low: 0, high: Math.max(...shares, 0.1) },
      curves: [{ points, name: page.unit }],
      walls: Number.isFinite(list[page.at]) ? [{ value: list[page.at], name: "here" }] : [],
      width: 460,
      height: 260,
    });
    box.replaceChildren(svg);
    page.figure(svg, `values-${page.unit}`, () => [
      ["from", "to", "share"], ...shares.map((share, k) => [edge(k), edge(k + 1), share])]);
  }
})((globalThis.charrnn ??= {}));
