// View links: which earlier characters the score of the next character rests on.
(function (charrnn) {
  "use strict";

  const LOW = 0.03; // ends of the colour scale, in logits for a whole character
  const HIGH = 30;
  const REACH = 300; // characters
  const element = (...args) => charrnn.element(...args);

  charrnn.views.links = { needsNetwork: true, create };

  function create(root, page) {
    const token = element("select", { id: "links-token" });
    const relative = element("input", { type: "checkbox", id: "links-relative" });
    const strongest = element("p");
    const chart = element("div");
    token.addEventListener("change", () => page.select({}));
    relative.addEventListener("change", () => page.select({}, { isQuiet: true }));
    root.append(
      element("div", { class: "tools" },
        element("label", {}, "the score of", token), element("label", {}, relative, "relative to the strongest")),
      strongest, element("h3", {}, "Influence by distance"), chart);
    let links = [];
    let listed = ""; // the place that the choices of tokens are of

    async function update() {
      const mark = page.mark();
      if (!page.ids.length) return;
      const next = await page.probabilities(page.model, page.at);
      if (page.isStale(mark)) return;
      listTokens(next);
      const chosen = Number(token.value);
      const message = { kind: "links", at: page.at, token: chosen, reach: REACH };
      links = await Promise.all(page.models.map((_, k) => page.ask(k, message)));
      if (page.isStale(mark)) return;
      links.forEach((list, k) => {
        const most = list.reduce((a, b) => Math.max(a, b), 0);
        const shareOf = (value) => (relative.checked ? value / (most || 1) : absolute(value));
        page.paint(k, (at) => at > page.at ? { ahead: true } : { background: charrnn.colors.magnitude(shareOf(list[at])) });
      });
      showLegend();
      hover(page.model, page.at);
      showStrongest(links[page.model], chosen);
      drawChart(chart, page, links);
    }

    function listTokens(probabilities) {
      const key = `${page.at} ${page.ids[page.at + 1]} ${page.model} ${page.ids.length}`;
      if (key === listed) return;
      listed = key;
      const { vocab } = page.models[page.model];
      const truth = page.ids[page.at + 1];
      const best = charrnn.likeliest(probabilities, 6).map(([each]) => each).filter((each) => each !== truth);
      const tokens = truth === undefined ? best : [truth, ...best];
      token.replaceChildren(...tokens.map((each) => element("option", { value: each },
        `“${charrnn.named(vocab[each])}”, ${charrnn.percent(probabilities[each])}${each === truth ? ", the one that comes" : ""}`)));
    }

    function showLegend() {
      if (relative.checked) {
        page.legend([0, 0.5, 1].map((v) => [charrnn.colors.magnitude(v), charrnn.percent(v)]), "influence, relative to the strongest here");
        return;
      }
      const steps = [0.03, 0.3, 3, 30];
      page.legend(steps.map((v) => [charrnn.colors.magnitude(absolute(v)), String(v)]), "influence", "one scale for all places and models; italic characters are not read yet");
    }

    function hover(model, at) {
      const list = links[model];
      if (!list || at >= list.length) {
        page.readout("This character is not read yet at the chosen place.");
        return;
      }
      page.readout(
        `“${charrnn.named(page.symbols[at])}” at place ${at}, ${page.at - at} characters back: influence `,
        element("b", {}, charrnn.number(list[at], 3)));
    }

    function showStrongest(list, chosen) {
      const { vocab } = page.models[page.model];
      const best = charrnn.likeliest(list, 4).filter(([, value]) => value > 0);
      const parts = best.flatMap(([at, value], k) => [
        k ? ", " : " ", element("b", {}, `“${charrnn.named(page.symbols[at])}”`), ` ${page.at - at} back (${charrnn.number(value, 2)})`]);
      strongest.replaceChildren(`The score of “${charrnn.named(vocab[chosen])}” after place ${page.at} rests most on`, ...parts, ".");
    }

    return { update, hover };
  }

  const absolute = (value) => (value > 0 ? Math.log(value / LOW) / Math.log(HIGH / LOW) : 0);

  function drawChart(box, page, links) {
    const reach = Math.min(60, page.at + 1);
    const curves = links.map((list, k) => {
      const points = [];
      for (let back = 0; back < reach; back++) points.push([back, list[page.at - back]]);
      return { points, name: page.models[k].name };
    });
    const svg = charrnn.chart({
      title: `Influence of the last ${reach} characters on the next one`,
      across: { name: "characters back", low: 0, high: Math.max(reach - 1, 1) },
      up: { name: "influence", low: 1e-4, high: 100, log: true },
      curves,
      height: 260,
    });
    box.replaceChildren(svg);
    page.figure(svg, `links-at-${page.at}`, () => [
      ["characters_back", ...page.models.map((model) => `${model.name} influence`)],
      ...curves[0].points.map(([back], k) => [back, ...curves.map((curve) => curve.points[k][1])])]);
  }
})((globalThis.charrnn ??= {}));
