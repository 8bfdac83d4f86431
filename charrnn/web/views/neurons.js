// View neurons: what the search found, as sentences with their controls; each opens its unit.
(function (charrnn) {
  "use strict";

  const element = (...args) => charrnn.element(...args);
  const CONTROLS = [
    ["shifted", "the same search with shifted labels", "s"],
    ["last_1", "the last character alone", "1"],
    ["last_3", "the last three characters alone", "3"],
    ["untrained", "the best of three untrained networks", "u"],
  ];
  const EDGE = 6; // pixels beside the scale, for letters at its ends
  const ROOM = 8; // pixels from a letter to the next
  const WIDE = 240; // pixels of the scale from nothing (0) to always right (1)

  charrnn.views.neurons = { usesText: false, keepsPicture: true, create };

  function create(root, page) {
    const box = element("div");
    root.append(box);
    const update = () => {
      const findings = charrnn.findings(page.models[page.model]);
      const legend = "Bar: how well the neuron tells the feature, from chance (left) to always right. Marks below it, the controls: "
        + CONTROLS.map(([, words, letter]) => `${letter} = ${words}`).join(", ") + ".";
      box.replaceChildren(element("p", { class: "fine" }, legend), ...verdictsOf(findings).map(([verdict, group]) => showGroup(page, verdict, group)));
    };
    return { update };
  }

  /** Return [verdict, findings] in the order in which verdicts first occur. */
  function verdictsOf(findings) {
    const groups = new Map();
    for (const finding of findings) {
      if (!groups.has(finding.verdict)) groups.set(finding.verdict, []);
      groups.get(finding.verdict).push(finding);
    }
    return [...groups];
  }

  const MEANING = {
    "memory neuron": "remembers: beats every control by the margin",
    "character neuron": "follows the last characters, which needs no memory",
    spread: "many neurons know it together, no one alone",
    "not there": "no better than the controls",
  };

  function showGroup(page, verdict, findings) {
    const rows = findings.map((finding) => showFinding(page, finding));
    return element("details", { open: verdict === "memory neuron" },
      element("summary", {}, `${verdict} (${findings.length}): ${MEANING[verdict] ?? ""}`),
      element("ul", { class: "findings" }, ...rows));
  }

  function showFinding(page, finding) {
    const open = element("button", { type: "button" }, `See ${finding.best.unit} over the text`);
    open.addEventListener("click", () => {
      page.select({ unit: finding.best.unit, view: "text" });
      document.getElementById("boards").focus({ preventScroll: true });
    });
    return element("li", {},
      element("p", {}, element("b", {}, finding.meaning), ` — ${finding.sentence}`),
      drawScale(finding), page.parseUnit(finding.best.unit) ? open : "");
  }

  /** Draw the score of the unit as a bar, and its controls as letters below, on the same scale. */
  function drawScale(finding) {
    const colors = charrnn.colors.palette();
    const floor = finding.is_yes_no ? 0.5 : 0; // a coin toss
    const x = (value) => (Math.max(0, (Math.abs(value) - floor) / (1 - floor)) * WIDE).toFixed(1);
    const controls = CONTROLS.filter(([name]) => finding[name] !== null && finding[name] !== undefined);
    const said = controls.map(([name, words]) => `${words} ${charrnn.number(finding[name], 3)}`).join(", ");
    const svg = charrnn.svg("svg", {
      viewBox: `${-EDGE} 0 ${WIDE + 2 * EDGE} ${controls.length ? 34 : 14}`, class: "scale", role: "img",
      "font-family": "system-ui, sans-serif", "font-size": 10,
      "aria-label": `Score ${charrnn.number(finding.best.held, 3)}; ${said}`,
    });
    svg.append(charrnn.svg("rect", { x: 0, y: 3, width: WIDE, height: 8, fill: colors.grid }));
    svg.append(charrnn.svg("rect", { x: 0, y: 3, width: x(finding.best.held), height: 8, fill: colors.accent }));
    const sorted = [...controls].sort(([a], [b]) => x(finding[a]) - x(finding[b]));
    let next = -EDGE; // where the next letter has room
    sorted.forEach(([name, words, letter], k) => {
      const at = Number(x(finding[name]));
      const last = WIDE + EDGE - 3 - ROOM * (sorted.length - 1 - k);
      const seat = Math.max(Math.min(Math.max(at, next), last), -EDGE + 3);
      next = seat + ROOM;
      const mark = charrnn.svg("g", { fill: colors.ink },
        charrnn.svg("title", {}, `${words}: ${charrnn.number(finding[name], 3)}`),
        charrnn.svg("rect", { x: at - 1, y: 12, width: 2, height: 6 }),
        charrnn.svg("line", { x1: at, y1: 18, x2: seat, y2: 23, stroke: colors.ink }),
        charrnn.svg("text", { x: seat, y: 32, "text-anchor": "middle" }, letter));
      svg.append(mark);
    });
    return svg;
  }
})((globalThis.charrnn ??= {}));
