// View gradients: how much of the gradient of one guess reaches each earlier state, live for the
// chosen place.
(function (charrnn) {
  "use strict";

  const REACH = 160; // characters
  const LOW = 1e-6; // ends of the colour scale and of the chart
  const HIGH = 1;
  const element = (...args) => charrnn.element(...args);

  charrnn.views.gradients = { needsNetwork: true, keepsPicture: true, create };

  function create(root, page) {
    const words = element("p");
    const chart = element("div");
    root.append(element("h3", {}, "From this place back"), words, chart);
    let found = []; // of each model, the norms by distance

    async function update() {
      const mark = page.mark();
      if (!page.ids.length) return;
      const { at } = page;
      const likeliest = await Promise.all(page.models.map((_, k) => page.probabilities(k, at)));
      const answers = await Promise.all(page.models.map((_, k) => {
        const target = page.ids[at + 1] ?? charrnn.likeliest(likeliest[k], 1)[0][0];
        return page.ask(k, { kind: "gradients", at, target, reach: REACH });
      }));
      if (page.isStale(mark)) return;
      // The memory of the highest layer: c of an LSTM, h of others, after each earlier character.
      found = answers.map((layers) => {
        const top = layers[layers.length - 1];
        return top.c ?? top.h;
      });
      found.forEach((norms, k) => page.paint(k, (place) => lookOf(norms, at - place)));
      const steps = [1e-6, 1e-4, 1e-2, 1];
      page.legend(steps.map((v) => [charrnn.colors.magnitude(shareOf(v)), charrnn.number(v)]),
        "size of the gradient", "each step of colour is a factor of 100; italic characters are not read yet");
      hover(page.model, at);
      showHalf(words, page, found[page.model]);
      draw(chart, page, found);
    }

    function hover(model, at) {
      const norm = found[model]?.[page.at - at];
      if (norm === undefined) {
        page.readout("No gradient is computed for this character.");
        return;
      }
      page.readout(
        `${page.at - at} characters back, after “${charrnn.named(page.symbols[at])}”: `,
        element("b", {}, charrnn.number(norm, 3)), " nats for a unit of the state");
    }

    return { update, hover };
  }

  const shareOf = (norm) => Math.log(Math.max(norm, LOW) / LOW) / Math.log(HIGH / LOW);

  function lookOf(norms, back) {
    if (back < 0) return { ahead: true };
    return norms[back] === undefined ? {} : { background: charrnn.colors.magnitude(shareOf(norms[back])) };
  }

  /** Say how far back a thousandth of the gradient still reaches. */
  function showHalf(box, page, norms) {
    const limit = norms[0] / 1000;
    const last = norms.reduce((reach, norm, back) => (norm >= limit ? back : reach), 0);
    const next = page.ids[page.at + 1];
    const guess = next === undefined
      ? "its likeliest guess"
      : `“${charrnn.named(page.symbols[page.at + 1])}”, the character that comes`;
    box.replaceChildren(
      `The loss is −ln p of ${guess}. More than a thousandth of its gradient here still reaches `,
      element("b", {}, String(last)), " characters back.");
  }

  function draw(box, page, found) {
    const curves = found.map((norms, k) => ({
      points: [...norms].map((norm, back) => [back, norm]), name: page.models[k].name,
    }));
    const far = Math.max(...found.map((norms) => norms.length - 1), 1);
    const svg = charrnn.chart({
      title: `Gradient of the loss after place ${page.at} by the states before`,
      across: { name: "characters back", low: 0, high: far },
      up: { name: "size of the gradient", low: 1e-10, high: 10, log: true },
      curves,
      height: 280,
    });
    box.replaceChildren(svg);
    page.figure(svg, `gradients-at-${page.at}`, () => [
      ["characters_back", ...curves.map((curve) => curve.name)],
      ...[...Array(far + 1).keys()].map((back) => [back, ...curves.map((curve) => curve.points[back]?.[1])])]);
  }
})((globalThis.charrnn ??= {}));
