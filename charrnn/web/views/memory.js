// View memory: how much of the memory after the chosen place each earlier character still holds.
(function (charrnn) {
  "use strict";

  // From these shares on a character has the next darker colour, as in pictures/memory.py.
  const BOUNDS = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];
  const LEVELS = ["less", "0.03 %", "0.1 %", "0.3 %", "1 %", "3 %", "10 % or more"];
  const MARKS = [0.5, 0.9, 0.99];
  const element = (...args) => charrnn.element(...args);

  charrnn.views.memory = { needsNetwork: true, keepsPicture: true, create };

  function create(root, page) {
    const hasLedger = page.models.some((model) => model.config.cell !== "rnn");
    const layers = Math.max(...page.models.map((model) => model.config.num_layers));
    const words = element("input", { type: "checkbox", id: "memory-words" });
    const layer = element("select", { id: "memory-layer" },
      ...Array.from({ length: layers }, (_, k) => element("option", { value: k }, String(k + 1))));
    layer.value = layers - 1;
    const facts = element("ul", { class: "facts" });
    const chart = element("div");
    for (const input of [words, layer]) input.addEventListener("change", () => page.select({}));
    if (page.models.some((model) => model.config.cell === "rnn")) {
      root.append(element("p", {}, "The memory of a plain RNN cannot be split over the characters that wrote it: nothing of the state before is kept as it is. Its text stays without colour here."));
    }
    if (hasLedger) {
      root.append(
        element("div", { class: "tools" },
          element("label", {}, words, "add up the characters of a word"),
          layers > 1 ? element("label", {}, "layer", layer) : ""),
        facts, element("h3", {}, "How far back the memory reaches"), chart);
    }
    let shares = [];

    async function update() {
      const mark = page.mark();
      if (!hasLedger || !page.ids.length) return;
      const groups = words.checked ? charrnn.wordGroups(page.symbols) : null;
      const ledgers = await Promise.all(page.models.map(({ config }, k) => {
        const depth = Math.min(Number(layer.value), config.num_layers - 1);
        return page.ask(k, { kind: "ledger", depth, at: page.at, groups });
      }));
      if (page.isStale(mark)) return;
      shares = ledgers.map((ledger) => ledger && sharesOf(ledger));
      shares.forEach((list, k) => page.paint(k, list && ((at) => lookOf(list.characters, at, groups))));
      page.legend(LEVELS.map((words, level) => [charrnn.colors.magnitude(level / BOUNDS.length), words]),
        "share of the memory:", "by factors of about 3; italic characters are not read yet");
      hover(page.model, page.at);
      showFacts(facts, page, shares[page.model], ledgers[page.model]);
      drawChart(chart, page, shares);
    }

    function lookOf(list, at, groups) {
      if (at > page.at) return { ahead: true };
      const place = groups ? lastOf(groups, at, page.at) : at;
      const level = BOUNDS.filter((bound) => list[place] >= bound).length;
      return { background: charrnn.colors.magnitude(level / BOUNDS.length) };
    }

    function hover(model, at) {
      const list = shares[model];
      if (!list) {
        page.readout(`${page.models[model].name} is a plain RNN: its memory has no parts.`);
        return;
      }
      if (at >= list.characters.length) {
        page.readout("This character is not read yet at the chosen place.");
        return;
      }
      page.readout(
        `“${charrnn.named(page.symbols[at])}” at place ${at}, ${page.at - at} characters back, holds `,
        element("b", {}, charrnn.percent(list.characters[at])), ` of the memory after place ${page.at}.`);
    }

    return { update, hover };
  }

  /** Return the last place, up to `stop`, of the word at a place. */
  function lastOf(groups, at, stop) {
    let place = at;
    while (place < stop && groups[place + 1] === groups[at]) place += 1;
    return place;
  }

  /** Return a number for each symbol, the same for all of one word. */
  charrnn.wordGroups = function (symbols) {
    const isWord = (symbol) => /[\p{L}\p{M}\p{N}_]/u.test(symbol);
    let group = 0;
    return symbols.map((symbol, at) => {
      if (!isWord(symbol) || !isWord(symbols[at - 1] ?? " ")) group += 1;
      return group;
    });
  };

  function sharesOf({ norms, initial }) {
    const total = norms.reduce((a, b) => a + b, initial) || 1;
    return { characters: norms.map((norm) => norm / total), initial: initial / total };
  }

  /** Return how many of the last characters hold a share of the memory. */
  function reachOf(list, share) {
    let held = 0;
    for (let k = 1; k <= list.length; k++) {
      held += list[list.length - k];
      if (held >= share) return k;
    }
    return null;
  }

  function showFacts(box, page, share, ledger) {
    if (!ledger) {
      box.replaceChildren();
      return;
    }
    const reaches = MARKS.map((mark) => {
      const reach = reachOf(share.characters, mark);
      return element("li", {}, `${charrnn.percent(mark)} lies in the last `, element("b", {}, reach ?? "–"), " characters");
    });
    box.replaceChildren(
      ...reaches,
      element("li", {}, "the state before the text holds ", element("b", {}, charrnn.percent(share.initial))),
      element("li", {}, "the parts add up to the memory, but for ", element("b", {}, charrnn.number(ledger.residual, 2))),
    );
  }

  function drawChart(box, page, shares) {
    const high = Math.max(10, Math.min(200, page.at + 1));
    const curves = shares.flatMap((share, k) => {
      if (!share) return [];
      const { characters } = share;
      let held = 0;
      const points = [];
      for (let back = 1; back <= Math.min(high, characters.length); back++) {
        held += characters[characters.length - back];
        points.push([back, held]);
      }
      return [{ points, name: page.models[k].name }];
    });
    const svg = charrnn.chart({
      title: `Share of the memory after place ${page.at} that the last characters hold`,
      across: { name: "the last … characters", low: 1, high, log: true, ticks: [1, 2, 5, 10, 20, 50, 100, 200].filter((n) => n <= high).map((n) => [n, String(n)]) },
      up: { name: "share of the memory", low: 0, high: 1 },
      curves,
      height: 260,
    });
    box.replaceChildren(svg);
    page.figure(svg, `memory-at-${page.at}`, () => [
      ["characters_back", ...curves.map((curve) => `${curve.name} share`)],
      ...curves[0].points.map(([back], k) => [back, ...curves.map((curve) => curve.points[k]?.[1])])]);
  }
})((globalThis.charrnn ??= {}));
