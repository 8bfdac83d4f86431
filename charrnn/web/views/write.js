// Panel write: the network writes on from the chosen place, freely and with units held at a value,
// with the same random numbers.
(function (charrnn) {
  "use strict";

  const LENGTH = 240; // characters
  const TAIL = 60; // characters of the text that are shown before what is written
  const element = (...args) => charrnn.element(...args);

  charrnn.views.write = { needsNetwork: true, usesUnit: true, create };

  function create(root, page) {
    const clampsOf = page.models.map(() => new Map()); // of each model: unit → {value, box}
    const temperature = element("input", { type: "range", min: 0.1, max: 1.5, step: 0.05, value: 0.7, id: "write-temperature" });
    const shown = element("output", { for: "write-temperature" });
    const seed = element("input", { type: "number", min: 0, value: 0, id: "write-seed" });
    const hold = element("button", { type: "button", class: "main", id: "write-hold" });
    const again = element("button", { type: "button", id: "write-again" }, "Another try");
    const list = element("div");
    const free = element("pre", { id: "write-free", tabindex: 0, "aria-label": "What the network writes" });
    const held = element("pre", { id: "write-held", tabindex: 0, "aria-label": "What it writes with the neurons held" });
    hold.addEventListener("click", addClamp);
    again.addEventListener("click", () => {
      seed.value = Number(seed.value) + 1;
      write();
    });
    for (const input of [temperature, seed]) input.addEventListener("input", write);
    root.append(
      element("div", { class: "tools" },
        element("label", {}, "temperature", temperature, shown), element("label", {}, "seed", seed), again, hold),
      list,
      element("div", { class: "written" },
        element("div", {}, element("h3", {}, "As it is"), free),
        element("div", { id: "write-held-box", hidden: true }, element("h3", {}, "With neurons held"), held)),
    );
    let timer = 0;
    let round = 0;

    async function update() {
      hold.textContent = `Hold ${page.unit}`;
      list.replaceChildren(...[...clampsOf[page.model].values()].map(({ box }) => box));
      boardsAhead();
      write();
    }

    /** Pale what comes after the place: the network goes on from there by itself. */
    function boardsAhead() {
      page.models.forEach((_, k) => page.paint(k, (at) => (at > page.at ? { ahead: true } : {})));
      page.legend([], "The network goes on by itself after the chosen character. Choose another place, or edit the text.");
      page.readout();
    }

    async function addClamp() {
      const { unit } = page;
      const clamps = clampsOf[page.model];
      if (!/^[hc]/.test(unit) || clamps.has(unit)) {
        page.speak(clamps.has(unit) ? `${unit} is held already` : "Only neurons of h and c can be held");
        return;
      }
      const slider = element("input", { type: "range", id: `clamp-${unit}` });
      const shownValue = element("output", { for: `clamp-${unit}` });
      const remove = element("button", { type: "button", "aria-label": `Let ${unit} go` }, "Let go");
      const box = element("div", { class: "clamp" },
        element("label", { for: `clamp-${unit}` }, `${unit[0] === "c" ? "memory " : ""}${unit} held at`), slider, shownValue, remove);
      const own = { value: null, box }; // stands there before the range is known, so none is made twice
      const take = () => {
        own.value = Number(slider.value);
        shownValue.textContent = valueWords(unit, own.value);
        write();
      };
      slider.addEventListener("input", take);
      remove.addEventListener("click", () => {
        clamps.delete(unit);
        box.remove();
        write();
        hold.focus();
      });
      clamps.set(unit, own);
      list.append(box);
      const [low, high] = await rangeOf(page.model, unit);
      Object.assign(slider, { min: low, max: high, step: (high - low) / 100, value: high });
      if (clamps.get(unit) !== own) return; // let go meanwhile
      slider.focus();
      take();
    }

    /** Return a value in words; of a memory also its tanh, which the colours show. */
    function valueWords(unit, value) {
      if (unit[0] !== "c") return charrnn.number(value, 2);
      return `${charrnn.number(value, 2)} (tanh ${charrnn.number(Math.tanh(value), 2)})`;
    }

    /** Return the least and the greatest value that a unit has in the text. */
    async function rangeOf(model, name) {
      const unit = page.parseUnit(name, model);
      const size = page.models[model].config.hidden_size;
      const rows = (await page.trace(model)).states[unit.layer - 1][unit.array];
      let low = Infinity;
      let high = -Infinity;
      for (let k = unit.number; k < rows.length; k += size) {
        low = Math.min(low, rows[k]);
        high = Math.max(high, rows[k]);
      }
      return [Math.floor(low * 100) / 100 - 0.01, Math.ceil(high * 100) / 100 + 0.01];
    }

    function write() {
      shown.textContent = Number(temperature.value).toFixed(2);
      clearTimeout(timer);
      timer = setTimeout(writeNow, 60);
    }

    async function writeNow() {
      round += 1;
      const own = round;
      const message = {
        kind: "sample", at: page.ids.length ? page.at : -1, count: LENGTH,
        temperature: Number(temperature.value), seed: Number(seed.value) || 0,
      };
      const forced = [...clampsOf[page.model]]
        .filter(([, { value }]) => value !== null)
        .map(([unit, { value }]) => ({ unit, value }));
      const [plain, clamped] = await Promise.all([
        page.ask(page.model, message),
        forced.length ? page.ask(page.model, { ...message, clamps: forced }) : null,
      ]);
      if (own !== round) return;
      const before = page.symbols.slice(Math.max(0, page.at + 1 - TAIL), page.at + 1);
      show(free, before, plain, null);
      document.getElementById("write-held-box").hidden = !clamped;
      if (clamped) show(held, before, clamped, plain);
    }

    /** Show ids after what was read; the part that differs from other ids is marked. */
    function show(box, before, ids, others) {
      const words = (list) => charrnn.visible(page.decode([...list]));
      let same = 0;
      while (others && same < ids.length && ids[same] === others[same]) same += 1;
      const start = element("span", { class: "fine" }, charrnn.visible(before.join("")));
      const parts = others
        ? [words(ids.slice(0, same)), element("mark", {}, words(ids.slice(same)))]
        : [words(ids)];
      box.replaceChildren(start, ...parts);
    }

    return { update };
  }

  /** Return a text with its line breaks, whose other control characters are shown as signs. */
  charrnn.visible = (text) => text.split("\n").map(charrnn.shown).join("\n");
})((globalThis.charrnn ??= {}));
