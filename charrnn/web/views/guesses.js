// View guesses: the cost of each character in bits, and what was expected at the chosen place.
(function (charrnn) {
  "use strict";

  const END_BITS = 8; // of the colour scale
  const element = (...args) => charrnn.element(...args);

  charrnn.views.guesses = { needsNetwork: true, create };

  function create(root, page) {
    const temperature = element("input", { type: "range", min: 0.1, max: 2, step: 0.05, value: 1, id: "guesses-temperature" });
    const shown = element("output", { for: "guesses-temperature" });
    const facts = element("ul", { class: "facts" });
    const before = element("div");
    const after = element("div");
    temperature.addEventListener("input", () => page.select({}, { isQuiet: true }));
    root.append(
      element("div", { class: "tools" }, element("label", {}, "temperature of the bars", temperature, shown)),
      facts,
      element("div", { class: "columns" }, before, after),
    );

    let found = [];

    async function update() {
      const mark = page.mark();
      shown.textContent = Number(temperature.value).toFixed(2);
      if (!page.ids.length) return;
      found = await Promise.all(page.models.map((_, k) => page.guesses(k)));
      if (page.isStale(mark)) return;
      found.forEach((guesses, k) => page.paint(k, (at) => ({ background: colorOf(bitsAt(guesses, at)) })));
      const steps = [0, 2, 4, 6, 8];
      page.legend(steps.map((bits) => [colorOf(bits), bits === END_BITS ? "8 or more" : String(bits)]), "surprise in bits");
      hover(page.model, page.at);
      const pair = [page.at - 1, page.at].map((at) => page.probabilities(page.model, at));
      const [expected, next] = await Promise.all(pair);
      if (page.isStale(mark)) return;
      const warmth = Number(temperature.value);
      const { at, model, ids } = page;
      showFacts(facts, page, found[model], expected);
      const symbol = charrnn.named(page.symbols[at]);
      drawBars(before, page, `Before “${symbol}”, it expected`, warm(expected, warmth), ids[at], "before");
      drawBars(after, page, `After “${symbol}”, it expects`, warm(next, warmth), ids[at + 1], "after");
    }

    function hover(model, at) {
      const guesses = found[model];
      if (!guesses || at < guesses.start || at >= guesses.stop) return;
      const k = at - guesses.start;
      page.readout(
        `“${charrnn.named(page.symbols[at])}” at place ${at} had probability `,
        element("b", {}, charrnn.percent(guesses.chosen[k])),
        `: ${charrnn.number(bitsAt(guesses, at), 3)} bits.`,
      );
    }

    return { update, hover };
  }

  const bitsAt = (guesses, at) => -Math.log2(guesses.chosen[at - guesses.start]);

  const colorOf = (bits) => (Number.isFinite(bits) ? charrnn.colors.magnitude(bits / END_BITS) : "");

  /** Return probabilities at another temperature. */
  function warm(probabilities, temperature) {
    if (temperature === 1) return probabilities;
    return charrnn.softmax(probabilities.map(Math.log), temperature);
  }

  /** Return a share as a percentage. */
  charrnn.percent = function (share) {
    const percent = share * 100;
    if (percent !== 0 && percent < 0.1) return "< 0.1 %";
    return `${Number(percent.toFixed(percent < 10 ? 1 : 0))} %`;
  };

  function showFacts(box, page, guesses, expected) {
    const k = page.at - guesses.start;
    const bits = bitsAt(guesses, page.at);
    const entropy = guesses.entropies[k];
    const fact = (words, value) => element("li", {}, words + " ", element("b", {}, value));
    box.replaceChildren(
      fact("surprise", `${charrnn.number(bits, 3)} bits`),
      fact("uncertainty (entropy)", `${charrnn.number(entropy, 3)} bits`),
      element("li", {}, element("b", {}, `${charrnn.number(Math.abs(bits - entropy), 2)} bits`),
        bits > entropy ? " more surprising than it expected" : " less surprising than it expected"),
      fact("rank of this character among its guesses", `${guesses.ranks[k]} of ${expected.length}`),
    );
  }

  function drawBars(box, page, title, probabilities, truth, name) {
    const { vocab } = page.models[page.model];
    const best = charrnn.likeliest(probabilities, 8);
    if (truth !== undefined && !best.some(([token]) => token === truth)) best.push([truth, probabilities[truth]]);
    const colors = charrnn.colors.palette();
    const rows = best.map(([token, p]) => {
      const bar = charrnn.svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
      const isTrue = token === truth;
      bar.append(charrnn.svg("rect", { x: 0, y: 1, height: 8, width: Math.max(p * 100, 0.4), fill: isTrue ? colors.accent : colors.magnitude[3] }));
      return element("tr", { class: isTrue ? "is-true" : null },
        element("td", { title: isTrue ? "the one that comes" : null }, charrnn.named(vocab[token])),
        element("td", {}, bar), element("td", {}, charrnn.percent(p)));
    });
    const note = truth === undefined ? "The text ends here." : "The one that really comes is outlined.";
    const table = element("table", { class: "bars", "aria-label": title }, element("tbody", {}, ...rows));
    box.replaceChildren(element("h3", {}, title), table, element("p", { class: "fine" }, note));
    page.figure(table, `guesses-${name}-${page.at}`, () => [
      ["token", "probability"], ...[...probabilities].map((p, token) => [vocab[token], p])]);
    for (const button of box.querySelectorAll(".figure-tools button")) {
      if (button.textContent.startsWith("Save")) button.remove(); // the bars are no single picture
    }
  }
})((globalThis.charrnn ??= {}));
