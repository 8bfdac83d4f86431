// The page of `charrnn inspect`: the text, the chosen place, unit and model, the keyboard, the
// address, and what views share. A view is charrnn.views.NAME = {usesText, create(root, page)}; it
// returns {update()}, which is called whenever the text, the place, the unit or the model changes.
(function (charrnn) {
  "use strict";

  const MAX_LIVE = 20000; // characters that are computed again while one types
  const PLAY_MS = 160;
  const BUSY_MS = 150; // after which a view says that it is at work
  const GUESS_STEPS = [200, 2000]; // places, at least and at most; guesses are of three times as many
  const GUESS_NUMBERS = 500_000; // probabilities that are computed for a step
  const element = (...args) => charrnn.element(...args);
  const byId = (id) => document.getElementById(id);
  const ARRAYS = {
    lstm: ["h", "c", "i", "f", "g", "o"],
    gru: ["h", "r", "z", "n"],
    rnn: ["h"],
  };
  const MAX_SORTED = 500_000; // numbers that a percentile is taken of
  const PERCENTILE = 0.99; // of the values of ReLUs, which have no highest; as in interpret/text.py
  const ADDRESS_MS = 250; // browsers refuse an address that changes too often
  const MAX_SEARCH_MS = 1000;
  const FIELDS = "input, textarea, select, dialog, [contenteditable]";
  const reducesMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  charrnn.views ??= {};

  /** Start the page. */
  charrnn.openPage = function () {
    const data = JSON.parse(byId("data").textContent);
    const page = makePage(data);
    charrnn.page = page;
    if (byId("not-live")) return page;
    document.documentElement.classList.add("is-live");
    try {
      page.start();
    } catch (error) {
      showPictures(error);
    }
    return page;
  };

  /** Show the pictures of all views alone, as without a script, where the networks did not start. */
  function showPictures(error) {
    console.warn(`The live part did not start: ${error.message}`);
    if (byId("not-live")) return;
    document.documentElement.classList.remove("is-live");
    byId("reader").hidden = true;
    for (const part of document.querySelectorAll(".live-part")) part.hidden = true;
    for (const still of document.querySelectorAll(".still, .numbers")) still.open = true;
    const words = "The live part did not start; below are the fixed pictures.";
    byId("main").prepend(element("p", { id: "not-live", role: "status", class: "error" }, words));
  }

  function makePage(data) {
    const models = data.models;
    const engine = charrnn.makeEngine(data, showProgress, showPictures);
    const listeners = {};
    let version = 0; // of the text
    let stamp = 0; // of what is shown
    let cached = new Map();
    let boards = [];
    let frame = 0;
    let player = 0;
    let addressed = 0; // a timer
    let address = location.hash; // as it was read or written last
    let busy = { timer: 0 };
    let spoken = 0;
    let isUnderMouse = false; // what a view says now
    const scales = new Map(); // of the first text: "model layer" → the strongest value
    let views = new Map();
    const isFramed = location.protocol === "about:";

    const page = {
      data,
      models,
      /** Whether networks run in this page. */
      isLive: engine.isLive,
      ids: data.ids,
      symbols: data.text,
      view: null,
      model: 0,
      at: 0,
      range: null,
      /** Where a stretch begins that is chosen by keyboard or mouse. */
      anchor: null,
      /** The chosen unit of each model: networks do not share their numbers. */
      units: models.map(firstUnit),
      /** The chosen unit of the chosen model. */
      get unit() {
        return page.units[page.model];
      },
      maxLive: MAX_LIVE,

      /** Return a fresh mark; `isStale(mark)` says whether something changed since. */
      mark: () => stamp,
      isStale: (mark) => mark !== stamp,

      /** Change the view, the place, the unit, the model or the range of places; the rest stays. */
      select(change, { isQuiet = false } = {}) {
        if (byId("not-live")) return;
        if (change.at !== undefined) {
          page.at = Math.min(Math.max(change.at, 0), Math.max(page.ids.length - 1, 0));
          page.range = change.range ?? null;
          page.anchor = null;
        }
        if (change.model !== undefined) page.model = (change.model + models.length) % models.length;
        if (page.parseUnit(change.unit)) page.units[page.model] = change.unit;
        if (change.view !== undefined && views.has(change.view) && change.view !== page.view) {
          showView(change.view);
        }
        refresh(isQuiet);
      },

      /** Read another text, given as ids. */
      setIds(ids) {
        page.ids = ids;
        page.symbols = ids.map((id) => models[0].vocab[id]);
        version += 1;
        cached = new Map();
        page.at = Math.min(page.at, Math.max(ids.length - 1, 0));
        page.range = null;
        page.anchor = null;
        for (const board of boards) board.setSymbols(page.symbols);
        refresh(true);
      },

      /** Return {ids, unknown}: a text as tokens, and the characters that no token writes. */
      encode: charrnn.makeEncoder(models[0]),

      /** Return the text that tokens write. */
      decode: charrnn.makeDecoder(models[0]),

      /** Return a promise of the trace of the text: {states: [{h, c}]}, arrays of (T + 1)·H. */
      trace: (model = page.model) => remember(`trace ${model}`, () => read(model)),

      /** Return a promise of what worker.js answers to a message about the text. */
      ask: (model, message) =>
        remember(`${model} ${JSON.stringify(message)}`, async (forget) => {
          await page.trace(model);
          const answer = await engine.ask(model, message);
          return answer?.isStale ? forget() : answer;
        }),

      /** Return a promise of what was computed for this text before under a name, or compute it. */
      remember: (name, compute) => remember(name, compute),

      /** Return a promise of the probabilities (V) after a place; −1 is before the text. */
      probabilities: (model, at) => page.ask(model, { kind: "probabilities", at }),

      /** Return a promise of what was expected around a place: worker.js, `guesses`; and `start`. */
      guesses: async (model) => {
        const [least, most] = GUESS_STEPS;
        const step = Math.min(Math.max(Math.floor(GUESS_NUMBERS / models[model].vocab.length), least), most);
        const start = Math.max(0, Math.floor(page.at / step) - 1) * step;
        const stop = Math.min(start + 3 * step, page.ids.length);
        const found = await page.ask(model, { kind: "guesses", start, stop, count: 5 });
        return { ...found, start, stop };
      },

      /** Return a promise of a unit's values (T), or null where they are not known. */
      values: (model, unit) => remember(`values ${model} ${unit}`, () => readValues(model, unit)),

      /** Return {array, layer, number} of a unit's name such as c1.203, or null. */
      parseUnit(name, model = page.model) {
        const { config } = models[model];
        const match = /^([a-z]+)(\d+)\.(\d+)$/.exec(name ?? "");
        if (!match) return null;
        const unit = { array: match[1], layer: Number(match[2]), number: Number(match[3]) };
        const isKnown =
          ARRAYS[config.cell].includes(unit.array) && unit.layer >= 1 && unit.layer <= config.num_layers;
        return isKnown && unit.number < config.hidden_size ? unit : null;
      },

      /** Return whether the token at a place ends a record: the state is set back there. */
      isEnd: (at, model = page.model) => models[model].end >= 0 && page.ids[at] === models[model].end,

      /** Return a promise of the value with the strongest colour; of all but ReLUs it is 1. */
      scale: async (model, name) =>
        models[model].config.nonlinearity === "relu" ? findScale(model, page.parseUnit(name, model).layer) : 1,

      /** Return what a unit's value is called: of c it is the tanh. */
      valueName: (unit) => (unit[0] === "c" ? `tanh ${unit}` : unit),

      /** Show the colours of the chosen unit's values below the text. isDiff: of their changes. */
      unitLegend(scale = 1, isDiff = false) {
        const { unit } = page;
        const isGate = "ifozr".includes(unit[0]);
        const isRelu = models[page.model].config.nonlinearity === "relu";
        const steps = (isGate || isRelu) && !isDiff ? [0, 0.25, 0.5, 0.75, 1] : [-1, -0.5, 0, 0.5, 1];
        const swatches = steps.map((step) => [
          page.lookOf(unit, step * scale, scale).background, charrnn.number(step * scale, 3)]);
        const strong = charrnn.number(scale / 2, 3);
        const below = isRelu && !isDiff ? "" : `, overlined below −${strong}`;
        const name = page.valueName(unit);
        page.legend(swatches, isDiff ? `change of ${name}` : name, isGate ? "" : `underlined above ${strong}${below}`);
      },

      /** Return how a unit's value looks: {background, mark}. */
      lookOf(unit, value, scale = 1) {
        const isGate = "ifozr".includes(unit[0]);
        if (!Number.isFinite(value)) return {};
        if (isGate) return { background: charrnn.colors.magnitude(value) };
        const shown = value / scale;
        const mark = shown > 0.5 ? "plus" : shown < -0.5 ? "minus" : null;
        return { background: charrnn.colors.signed(shown), mark };
      },

      /** Colour the text of a model. look(at) → {background, mark?, ahead?}, or null for plain. */
      paint(model, look) {
        boards[model]?.paint(look);
      },

      /** Show a legend below the text: [[background, words]], and words before and after. */
      legend(swatches, before = "", after = "") {
        const row = byId("legend");
        const boxes = swatches.map(([background]) => {
          const box = element("i");
          box.style.backgroundColor = background;
          return box;
        });
        const first = swatches[0]?.[1] ?? "";
        const last = swatches[swatches.length - 1]?.[1] ?? "";
        row.replaceChildren(
          before,
          element("span", { class: "swatches" }, first, " ", ...boxes, " ", last),
          after,
        );
        row.hidden = !swatches.length && !before;
      },

      /** Say what is at the chosen place, below the text. Parts are strings or nodes. */
      readout(...parts) {
        const [first, ...rest] = parts;
        const isSentence = isUnderMouse && typeof first === "string";
        const inside = isSentence ? first.replace(/^(At|After|The|This)\b/, (word) => word.toLowerCase()) : "";
        const words = isSentence ? [`Under the mouse: ${inside}`, ...rest] : parts;
        byId("readout").replaceChildren(...words);
      },

      /** Speak to a screen reader, once the reader has stopped moving. */
      speak(words) {
        clearTimeout(spoken);
        spoken = setTimeout(() => (byId("live").textContent = words), 120);
      },

      /** Give a figure its tools. node: what to save. rows: a function that gives rows of a table. */
      figure: (node, name, rows) => charrnn.figureTools(node, name, rows, page),

      /** Call back when `name` happens: "feature" (key f). */
      on: (name, callback) => (listeners[name] = callback),

      start() {
        buildReader();
        for (const section of document.querySelectorAll("section.view")) openSection(section);
        addEventListener("hashchange", readAddress);
        addEventListener("keydown", onAnyKey);
        if (isFramed) document.querySelector("nav").addEventListener("click", followLink);
        addEventListener("resize", () => boards.forEach((board) => board.fit()));
        const scheme = matchMedia("(prefers-color-scheme: dark)");
        scheme.addEventListener("change", () => refresh(true));
        addEventListener("beforeprint", () => repaintFor(true));
        addEventListener("afterprint", () => repaintFor(false));
        readAddress();
        if (!page.view) page.select({ view: views.keys().next().value }, { isQuiet: true });
      },
    };

    /** Return what was computed for this text before, or compute it. */
    function remember(key, compute) {
      const name = `${version} ${key}`;
      if (!cached.has(name)) {
        if (cached.size > 400) cached = new Map([...cached].slice(200));
        const forget = () => {
          cached.delete(name);
          return new Promise(() => {}); // nobody waits for it
        };
        const answer = Promise.resolve().then(() => compute(forget));
        answer.catch(() => cached.delete(name));
        cached.set(name, answer);
      }
      return cached.get(name);
    }

    /** Read the text with a network. A newer text makes an older one stale, which nobody waits for. */
    async function read(model) {
      const trace = await engine.ask(model, { kind: "read", ids: page.ids });
      return trace.isStale ? new Promise(() => {}) : trace;
    }

    async function readValues(model, name) {
      const unit = page.parseUnit(name, model);
      if (!unit) return null; // another network's unit
      if (!engine.isLive) return version ? null : charrnn.recordedValues(models[model], name);
      const depth = unit.layer - 1;
      const size = models[model].config.hidden_size;
      const values = new Float32Array(page.ids.length);
      const isState = unit.array === "h" || unit.array === "c";
      const source = isState
        ? (await page.trace(model)).states[depth][unit.array]
        : (await page.ask(model, { kind: "gates", depth }))[unit.array];
      for (let t = 0; t < values.length; t++) {
        const value = source[(isState ? t + 1 : t) * size + unit.number];
        values[t] = unit.array === "c" ? Math.tanh(value) : value;
        if (!isState && page.isEnd(t, model)) values[t] = NaN; // gates mean nothing there
      }
      return values;
    }

    /** Return the value with the strongest colour in a layer of ReLUs, the same in every view. */
    async function findScale(model, layer) {
      const key = `${model} ${layer}`;
      if (!scales.has(key)) {
        const report = models[model].reports.text;
        const k = report?.scales ? report.units.findIndex((name) => page.parseUnit(name, model)?.layer === layer) : -1;
        if (k >= 0) scales.set(key, report.scales[k]);
        else if (version || !engine.isLive) return remember(`scale ${key}`, () => scaleOfText(model, layer));
        else scales.set(key, await scaleOfText(model, layer));
      }
      return scales.get(key);
    }

    async function scaleOfText(model, layer) {
      if (!engine.isLive || !page.ids.length) return 1;
      const { hidden_size: size } = models[model].config;
      const values = (await page.trace(model)).states[layer - 1].h.subarray(size);
      const stride = Math.ceil(values.length / size / Math.max(1, Math.floor(MAX_SORTED / size)));
      const sorted = values.filter((_, k) => Math.floor(k / size) % stride === 0).sort();
      return sorted[Math.floor(PERCENTILE * (sorted.length - 1))] || 1;
    }

    function repaintFor(isPrinting) {
      charrnn.isPrinting = isPrinting;
      for (const board of boards) board.draw();
      views.get(page.view)?.view?.update();
    }

    // ---- the reader: the text, its tools, and what is said of the chosen place

    function buildReader() {
      const reader = byId("reader");
      const many = models.length > 1;
      const box = element("div", {
        class: many ? "boards many" : "boards",
        id: "boards",
        role: "grid",
        tabindex: 0,
        "aria-label": "The text. Arrow keys move the place; question mark lists all keys.",
        "aria-multiselectable": "false",
      });
      boards = models.map((model, k) => {
        const choose = (at, from) => {
          const range = from === null ? null : [Math.min(at, from), Math.max(at, from) + 1];
          stopPlaying();
          page.select({ at, model: k, range });
          page.anchor = from;
        };
        const board = charrnn.makeBoard(k, choose, (at) => hover(k, at));
        if (many) {
          const name = element("p", { class: "board-name", id: `name-${k}` }, model.name);
          box.append(element("div", { role: "rowgroup", "aria-labelledby": `name-${k}` }, name, board.node));
        } else {
          box.append(board.node);
        }
        return board;
      });
      box.addEventListener("keydown", onKey);
      reader.append(
        makeTools(),
        element("div", { id: "editing", hidden: true }),
        box,
        element("p", { class: "legend", id: "legend" }),
        element("p", { class: "readout", id: "readout" }),
      );
      document.body.append(makeHelp());
      for (const board of boards) board.setSymbols(page.symbols);
    }

    function hover(model, at) {
      const place = at === null ? page.at : at;
      isUnderMouse = at !== null;
      views.get(page.view)?.view?.hover?.(isUnderMouse ? model : page.model, place);
      isUnderMouse = false;
    }

    function makeTools() {
      const unit = element("input", {
        id: "unit", size: 9, spellcheck: "false", autocomplete: "off", "aria-label": "Neuron, such as " + page.unit,
      });
      unit.addEventListener("change", () => {
        const name = unit.value.trim();
        if (page.parseUnit(name)) page.select({ unit: name });
        else complain(`There is no neuron ${name}. Write an array, a layer and a number, as in ${page.unit}.`);
        unit.value = page.unit;
      });
      const search = element("input", {
        id: "search", type: "search", size: 12, placeholder: "search", "aria-label": "Search the text by a regular expression",
      });
      search.addEventListener("keydown", (event) => {
        if (event.key === "Enter") findNext(search.value);
        if (event.key === "Escape") byId("boards").focus();
      });
      const button = (words, action, more = {}) => {
        const node = element("button", { type: "button", ...more }, words);
        node.addEventListener("click", action);
        return node;
      };
      const tools = element("div", { class: "tools", role: "group", "aria-label": "Tools of the text" });
      if (engine.isLive) tools.append(button("Edit text", startEditing, { id: "edit", class: "main" }));
      tools.append(
        button("▶ Play", togglePlay, { id: "play" }),
        element(
          "label",
          { id: "unit-tools" },
          "Neuron ",
          button("‹", () => moveUnit(-1), { "aria-label": "Neuron before" }),
          unit,
          button("›", () => moveUnit(1), { "aria-label": "Neuron after" }),
        ),
        search,
        element("output", { id: "found", for: "search", class: "fine" }),
        button("Keys", showHelp, { class: "push", id: "keys" }),
      );
      return tools;
    }

    function complain(words) {
      page.readout(element("span", { class: "error" }, words));
      page.speak(words);
    }

    function moveUnit(by) {
      const unit = page.parseUnit(page.unit);
      const size = models[page.model].config.hidden_size;
      const number = (unit.number + by + size) % size;
      page.select({ unit: `${unit.array}${unit.layer}.${number}` });
    }

    function moveLayer(by) {
      const unit = page.parseUnit(page.unit);
      const count = models[page.model].config.num_layers;
      const layer = ((unit.layer - 1 + by + count) % count) + 1;
      page.select({ unit: `${unit.array}${layer}.${unit.number}` });
    }

    function findNext(source) {
      let pattern;
      try {
        pattern = new RegExp(source, "gu");
      } catch {
        complain(`"${source}" is no regular expression; write \\( for a bracket.`);
        return;
      }
      byId("found").textContent = "";
      if (!source) return;
      const { found, isWhole } = findStretches(pattern);
      if (!found.length) {
        complain(`"${source}" does not occur in the text.`);
        return;
      }
      const k = Math.max(0, found.findIndex(([start]) => start > page.at));
      page.select({ at: found[k][0], range: found[k] }, { isQuiet: true });
      const words = `match ${k + 1} of ${isWhole ? "" : "more than "}${found.length}`;
      byId("found").textContent = words;
      page.speak(`${words}, position ${found[k][0]}`);
    }

    /** Return {found: [[start, stop]], isWhole}: where a pattern matches; it stops after a second. */
    function findStretches(pattern) {
      const until = performance.now() + MAX_SEARCH_MS;
      const found = [];
      let at = 0; // a place
      let stop = page.symbols[0]?.length ?? 0; // the index in the text of the character after it
      const placeOf = (index) => {
        while (stop <= index) stop += page.symbols[++at].length;
        return at;
      };
      for (const match of page.symbols.join("").matchAll(pattern)) {
        if (performance.now() > until) return { found, isWhole: false };
        if (match[0].length) found.push([placeOf(match.index), placeOf(match.index + match[0].length - 1) + 1]);
      }
      return { found, isWhole: true };
    }

    // ---- editing

    function startEditing() {
      const box = byId("editing");
      if (!box.hidden) {
        stopEditing();
        return;
      }
      const area = element("textarea", { id: "text", "aria-label": "The text to read", spellcheck: "false" });
      const note = element("p", { class: "fine", id: "edit-note", role: "status" });
      let pieces = [];
      let timer = 0;
      const show = (ids) => {
        pieces = charrnn.typedPieces(page.encode.cut(ids));
        area.value = pieces.map((piece) => piece.text).join("");
        note.textContent = notesOf(pieces, []);
      };
      const take = () => {
        const edited = charrnn.editPieces(pieces, area.value, page.encode);
        pieces = edited.pieces;
        note.textContent = notesOf(pieces, edited.unknown);
        page.at = Math.max(0, countBefore(pieces, area.selectionStart) - 1);
        page.setIds(pieces.flatMap((piece) => piece.ids).slice(0, MAX_LIVE));
      };
      show(page.ids);
      area.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(take, 25);
      });
      area.addEventListener("keydown", (event) => {
        if (event.key === "Escape") stopEditing();
      });
      const replace = (words, ids) => {
        const button = element("button", { type: "button" }, words);
        button.addEventListener("click", () => {
          clearTimeout(timer);
          show(ids);
          page.at = 0;
          page.setIds(ids);
          area.focus();
          area.setSelectionRange(0, 0);
        });
        return button;
      };
      box.replaceChildren(
        element("p", { class: "tools" },
          element("span", { class: "fine" }, "Type anything: the network reads it as you type. Press Esc when you are done."),
          replace("Clear", []), replace("Back to the first text", data.ids)),
        area,
        note,
      );
      box.hidden = false;
      byId("edit").textContent = "Done";
      area.focus();
      area.setSelectionRange(area.value.length, area.value.length);
    }

    function stopEditing() {
      byId("editing").hidden = true;
      byId("editing").replaceChildren();
      byId("edit").textContent = "Edit text";
      byId("boards").focus();
    }

    /** Return how many tokens stand before a character of the text field. */
    function countBefore(pieces, index) {
      let left = index;
      let count = 0;
      for (const { ids, text } of pieces) {
        if (left <= 0) break;
        left -= text.length;
        count += ids.length;
      }
      return count;
    }

    /** Return what must be said of an edited text: what was left out, and what cannot be typed. */
    function notesOf(pieces, unknown) {
      const notes = [];
      const odd = pieces.filter((piece) => !charrnn.isTypable(piece, page.encode));
      const names = [...new Set(odd.flatMap(({ ids }) => ids.map((id) => charrnn.named(models[0].vocab[id]))))];
      if (odd.length) {
        const shown = names.slice(0, 8).map((name) => `“${name}”`).join(" ");
        notes.push(`The text holds ${shown}, which cannot be typed; all that you do not change stays as it was.`);
      }
      if (unknown.length) {
        notes.push(`The model never saw ${unknown.slice(0, 8).map((c) => `“${charrnn.shown(c)}”`).join(" ")}; left out.`);
      }
      const count = pieces.reduce((sum, { ids }) => sum + ids.length, 0);
      if (count > MAX_LIVE) notes.push(`Only the first ${MAX_LIVE.toLocaleString("en")} characters are read.`);
      return notes.join(" ");
    }

    // ---- playing

    function togglePlay() {
      if (player) {
        stopPlaying();
      } else if (page.at >= page.ids.length - 1) {
        page.speak("The text ends here.");
      } else if (reducesMotion()) {
        page.select({ at: page.at + 1 });
      } else {
        player = setInterval(() => {
          if (page.at >= page.ids.length - 1) stopPlaying();
          else page.select({ at: page.at + 1 });
        }, PLAY_MS);
        byId("play").textContent = "❚❚ Stop";
      }
    }

    function stopPlaying() {
      clearInterval(player);
      player = 0;
      byId("play").textContent = "▶ Play";
    }

    // ---- the keyboard

    /** Act on keys that work everywhere but in a field. */
    function onAnyKey(event) {
      if (event.defaultPrevented || event.ctrlKey || event.metaKey) return;
      if (event.target.closest?.(FIELDS) || byId("reader").hidden) return;
      const action = { "/": () => byId("search").focus(), "?": showHelp }[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    function onKey(event) {
      // Many keyboards write brackets with AltGr, which counts as Ctrl and Alt, or with Option.
      const isBracket = /^[[\]{}]$/.test(event.key) && (event.altKey || event.getModifierState("AltGraph"));
      if ((event.altKey || event.metaKey) && !isBracket) return;
      const { key, shiftKey } = event;
      const action = keyAction({ key, shiftKey, ctrlKey: event.ctrlKey && !isBracket });
      if (!action) return;
      event.preventDefault();
      action();
    }

    function keyAction(event) {
      const { key, ctrlKey, shiftKey } = event;
      const board = boards[page.model];
      const go = (at) => () => {
        const anchor = shiftKey ? (page.anchor ?? page.at) : null;
        const place = Math.min(Math.max(at, 0), page.ids.length - 1);
        const range = anchor === null ? null : [Math.min(anchor, place), Math.max(anchor, place) + 1];
        page.select({ at: place, range });
        page.anchor = anchor;
      };
      const last = page.ids.length - 1;
      const moves = {
        ArrowLeft: () => (ctrlKey ? wordStart(-1) : page.at - 1),
        ArrowRight: () => (ctrlKey ? wordStart(1) : page.at + 1),
        ArrowUp: () => board.placeInRow(page.at, -1),
        ArrowDown: () => board.placeInRow(page.at, 1),
        PageUp: () => board.placeInRow(page.at, -9),
        PageDown: () => board.placeInRow(page.at, 9),
        Home: () => (ctrlKey ? 0 : board.placeInRow(page.at, "start")),
        End: () => (ctrlKey ? last : board.placeInRow(page.at, "end")),
      };
      if (moves[key]) return go(moves[key]());
      if (ctrlKey) return null;
      const actions = {
        "[": () => moveUnit(-1),
        "]": () => moveUnit(1),
        ",": () => moveUnit(-1),
        ";": () => moveUnit(1),
        "{": () => moveLayer(-1),
        "}": () => moveLayer(1),
        m: () => page.select({ model: page.model + 1 }),
        f: nextFeature,
        " ": togglePlay,
        ".": () => page.select({ at: page.at + 1 }),
        e: () => engine.isLive && startEditing(),
        Escape: leave,
      };
      return actions[key] ?? null;
    }

    function leave() {
      stopPlaying();
      document.querySelector("nav a[aria-current]")?.focus();
    }

    /** Return where the word before or after the place begins. */
    function wordStart(way) {
      const isWord = (at) => /[\p{L}\p{N}_]/u.test(page.symbols[at] ?? "");
      const isStart = (at) => isWord(at) && !isWord(at - 1);
      let at = page.at + way;
      while (at > 0 && at < page.ids.length - 1 && !isStart(at)) at += way;
      return at;
    }

    function nextFeature() {
      const found = charrnn.foundUnits(models[page.model]).filter(({ unit }) => page.parseUnit(unit));
      if (!found.length) {
        page.speak("This page has no search for neurons.");
        return;
      }
      const k = found.findIndex(({ unit }) => unit === page.unit);
      const next = found[(k + 1) % found.length];
      page.select({ unit: next.unit }, { isQuiet: true });
      page.speak(`${next.name}: neuron ${next.unit}`);
    }

    function makeHelp() {
      const keys = [
        ["← →", "one character back or on"],
        ["↑ ↓", "one row up or down"],
        ["Ctrl ← →", "one word"],
        ["Home End", "ends of the row; with Ctrl, of the text"],
        ["Shift + arrows", "choose a stretch"],
        ["[ ] or , ;", "the neuron before or after"],
        ["{ }", "the layer below or above"],
        ["m", "the next model"],
        ["f", "the next neuron that the search found"],
        ["/", "search the text"],
        ["Space", "read on, or stop"],
        [".", "one character on"],
        ["e", "edit the text"],
        ["Esc", "leave the text"],
      ];
      const list = element("dl", {}, ...keys.flatMap(([key, words]) => [
        element("dt", {}, element("kbd", {}, key)), element("dd", {}, words)]));
      const close = element("button", { type: "button", class: "main" }, "Close");
      const help = element("dialog", { id: "help", "aria-labelledby": "help-title" },
        element("h2", { id: "help-title" }, "Keys of the text"), list, close);
      close.addEventListener("click", () => help.close());
      help.addEventListener("close", () => byId("boards").focus());
      return help;
    }

    function showHelp() {
      byId("help").showModal();
    }

    // ---- views

    function openSection(section) {
      const name = section.dataset.view;
      views.set(name, { section, view: null });
      const life = charrnn.views[name];
      const needsNetwork = life?.needsNetwork ?? false;
      const isAlive = life && (engine.isLive || !needsNetwork);
      if (isAlive) section.querySelector(".live-part").hidden = false;
      const still = section.querySelector(".still");
      if (still && isAlive && !life.keepsPicture) still.open = false;
      const numbers = section.querySelector(".numbers");
      if (numbers && isAlive) numbers.open = false;
      for (const svg of section.querySelectorAll("figure.picture svg")) {
        charrnn.figureTools(svg, name, () => charrnn.tableRows(section), page, svg.parentNode);
      }
    }

    function showView(name) {
      page.view = name;
      const reader = byId("reader");
      const hadFocus = reader.contains(document.activeElement) ? document.activeElement : null;
      for (const [each, { section }] of views) section.classList.toggle("is-chosen", each === name);
      for (const link of document.querySelectorAll("nav a")) {
        if (link.dataset.view !== name) {
          link.removeAttribute("aria-current");
          continue;
        }
        link.setAttribute("aria-current", "page");
        const row = link.parentNode; // scrolls sideways in a narrow window
        row.scrollLeft = link.offsetLeft - row.offsetLeft - (row.clientWidth - link.offsetWidth) / 2;
      }
      const entry = views.get(name);
      const life = charrnn.views[name];
      const isAlive = life && (engine.isLive || !life.needsNetwork);
      reader.hidden = !isAlive || life.usesText === false;
      entry.section.querySelector(".slot").append(reader);
      byId("unit-tools").hidden = !life?.usesUnit;
      for (const board of boards) board.fit();
      boards.forEach((_, k) => page.paint(k, null));
      page.legend([]);
      page.readout();
      if (isAlive && !entry.view) {
        entry.view = life.create(entry.section.querySelector(".live-part"), page);
      }
      hadFocus?.focus({ preventScroll: true });
    }

    function refresh(isQuiet) {
      stamp += 1;
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => {
        const usesUnit = charrnn.views[page.view]?.usesUnit;
        document.querySelectorAll(".board-name").forEach((node, k) => {
          node.classList.toggle("is-chosen", k === page.model);
          node.textContent = models[k].name + (usesUnit ? `: ${page.units[k]}` : "");
        });
        boards.forEach((board) => board.moveTo(page.at, page.range));
        byId("boards").setAttribute("aria-activedescendant", `cell-${page.model}-${page.at}`);
        const unit = byId("unit");
        if (document.activeElement !== unit) unit.value = page.unit;
        writeAddress();
        const { view } = views.get(page.view) ?? {};
        if (view) showBusy(view.update()).catch(report);
        if (!isQuiet) sayPlace().catch(report);
      });
    }

    function showProgress(share) {
      if (byId("boards").hasAttribute("aria-busy")) {
        page.readout(`The network is reading the text: ${Math.round(share * 100)} % …`);
      }
    }

    /** Say that the network is at work where a view takes its time. */
    async function showBusy(work) {
      const box = byId("boards");
      clearTimeout(busy.timer); // a read that a newer one replaced never ends
      const own = { timer: 0 };
      busy = own;
      own.timer = setTimeout(() => {
        box.setAttribute("aria-busy", "true");
        if (!byId("readout").childNodes.length) page.readout("The network is reading the text …");
      }, BUSY_MS);
      try {
        await work;
      } finally {
        clearTimeout(own.timer);
        if (busy === own) box.removeAttribute("aria-busy");
      }
    }

    function report(error) {
      console.error(error);
      complain(String(error?.message ?? error));
    }

    async function sayPlace() {
      const { at, model, unit } = page;
      const mark = page.mark();
      const parts = [charrnn.named(page.symbols[at] ?? "no text"), `position ${at}`];
      if (models.length > 1) parts.unshift(models[model].name);
      const values = await page.values(model, unit);
      if (values) parts.push(`${page.valueName(unit)} = ${charrnn.number(values[at], 2)}`);
      if (engine.isLive && page.ids.length) {
        const [[best, p]] = charrnn.likeliest(await page.probabilities(model, at), 1);
        parts.push(`next: ${charrnn.named(models[model].vocab[best])} ${Math.round(p * 100)} %`);
      }
      if (!page.isStale(mark)) page.speak(parts.join(", "));
    }

    // ---- the address

    function scrollToView() {
      const nav = document.querySelector("nav"); // sticks to the window's top
      scrollTo({ top: byId("main").offsetTop - nav.offsetHeight - 16 });
    }

    /** Open a view in a frame without an address, as notebooks show the page. */
    function followLink(event) {
      const view = event.target.dataset?.view;
      if (!view) return;
      event.preventDefault();
      page.select({ view });
    }

    /** Write the address once the reader rests. */
    function writeAddress() {
      if (isFramed) return;
      clearTimeout(addressed);
      addressed = setTimeout(() => {
        if (location.hash !== address) return; // a link was followed, and is read next
        const parts = [`view=${page.view}`, `t=${page.at}`, `n=${page.unit}`, `m=${page.model}`];
        try {
          history.replaceState(null, "", "#" + parts.join("&"));
          address = location.hash;
        } catch (error) {
          console.info(`The address stays as it is: ${error.message}`);
        }
      }, ADDRESS_MS);
    }

    function readAddress() {
      address = location.hash;
      const asked = new URLSearchParams(address.slice(1));
      const change = {};
      if (asked.has("view")) change.view = asked.get("view");
      if (/^\d+$/.test(asked.get("t") ?? "")) change.at = Number(asked.get("t"));
      if (asked.has("n")) change.unit = asked.get("n");
      const model = Number(asked.get("m") ?? NaN);
      if (Number.isInteger(model) && model >= 0 && model < models.length) change.model = model;
      if (!page.view && !views.has(change.view)) change.view = views.keys().next().value;
      if (change.at === undefined && !page.view) change.at = data.at ?? 0;
      const isFirst = !page.view;
      page.select(change, { isQuiet: isFirst });
      if (!isFirst && asked.has("view")) scrollToView();
    }

    return page;
  }

  /** Return the unit to begin with: one that was asked for, one that the search found, or the first. */
  function firstUnit(model) {
    const { cell, num_layers: layers } = model.config;
    const found = charrnn.foundUnits(model);
    return model.unit ?? found[0]?.unit ?? `${cell === "lstm" ? "c" : "h"}${layers}.0`;
  }
})((globalThis.charrnn ??= {}));
