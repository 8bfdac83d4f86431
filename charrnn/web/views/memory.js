// View memory: how much of the memory after the chosen place each earlier character still holds.
(function (charrnn) {
  "use strict";

  // From these shares on a character has the next darker colour, as in pictures/memory.py.
  const BOUNDS = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];
  const LEVELS = ["less", "0.03 %", "0.1 %", "0.3 %", "1 %", "3 %", "10 % or more"];
  const MARKS = [0.5, 0.9, 0.99];
  // Scripts without spaces between words: Thai, Lao; Burmese; Khmer; kana; Han.
  const NO_SPACES =
    /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u{20000}-\u{3ffff}]/u;
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
      const groups = words.checked ? charrnn.wordGroups(page.models[0], page.ids) : null;
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
        `“${charrnn.named(page.symbols[at])}” at place ${at}, ${backWords(page.at - at)}, holds `,
        element("b", {}, charrnn.percent(list.characters[at])), ` of the memory after place ${page.at}.`);
    }

    return { update, hover };
  }

  const backWords = (count) => (count === 0 ? "the last one" : count === 1 ? "1 character back" : `${count} characters back`);

  /** Return the last place, up to `stop`, of the word at a place. */
  function lastOf(groups, at, stop) {
    let place = at;
    while (place < stop && groups[place + 1] === groups[at]) place += 1;
    return place;
  }

  /** Return a number for each token, the same for all of one word, as interpret/words.py cuts them. */
  charrnn.wordGroups = function (model, ids) {
    const kinds = [...ids].map((id) => kindOfToken(model, id));
    const isJoined = kinds.map((kind) => kind === "joined");
    // A byte or a mark that continues a character belongs to what stands before it.
    kinds.forEach((kind, at) => {
      if (kind === "joined" && at) kinds[at] = kinds[at - 1];
    });
    const isInside = (at) =>
      kinds[at] === "apostrophe" && kinds[at - 1] === "letter" && kinds[at + 1] === "letter";
    const isLetter = kinds.map((kind, at) => kind === "letter" || isInside(at));
    const isWord = (at) => isLetter[at] || kinds[at] === "alone";
    const follows = (at) =>
      (isLetter[at] && isLetter[at - 1]) || (kinds[at] === "alone" && isJoined[at]);
    let group = 0;
    return kinds.map((_, at) => {
      const isNew = isWord(at) ? !follows(at) : at > 0 && isWord(at - 1);
      if (isNew) group += 1;
      return group;
    });
  };

  /** Return what a token is to a word: a letter, a word alone, joined to what is before, or between. */
  function kindOfToken(model, id) {
    const byte = model.first_byte < 0 ? -1 : id - model.first_byte;
    if (id === model.end) return "between";
    if (byte < 0 || byte > 0xff) return kindOfText(model.texts[id]);
    if (byte < 0x80) return kindOfText(String.fromCharCode(byte));
    const isBinary = model.first_byte === 0; // no character has a token, so bytes are all there is
    return byte < 0xc0 && !isBinary ? "joined" : "letter"; // most rare characters are letters
  }

  function kindOfText(text) {
    const [char] = text;
    if ("'’".includes(char)) return "apostrophe";
    if (/\p{M}/u.test(char)) return "joined";
    if (!/[\p{L}\p{N}]/u.test(char)) return "between";
    return NO_SPACES.test(char) ? "alone" : "letter";
  }

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
      const words = `${charrnn.percent(mark)} lies `;
      if (reach === null) return element("li", {}, words, "also in what was before the text");
      if (reach === 1) return element("li", {}, words, "in the ", element("b", {}, "last character"));
      return element("li", {}, words, "in the last ", element("b", {}, reach), " characters");
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
