// The page of `charrnn serve`: one text that a person and a model write in turns.
(function (charrnn) {
  "use strict";

  const FLUSH_MS = 30; // between two pieces that are drawn
  const SHOW_MS = 150; // between two counts of the text
  const SAVE_MS = 400;
  const SCORE_MS = 900; // without typing, after which the text's surprise is asked for
  const MAX_AUTO_SCORE = 20000; // units of a text that is scored without being asked
  const COLORS = ["surprise", "writer", "none"];
  const ENDED = {
    seconds: "the time was up",
    lines: "the lines are written",
    sentences: "the sentences are written",
    documents: "the documents are written",
    "stop-regex": "the pattern to stop at came",
    match: "the text has its form",
    max: "the text has its form",
  };
  const TASKS = {
    tagging: ["tags texts", "convert"],
    seq2seq: ["converts texts", "convert"],
    classification: ["classifies texts", "classify"],
  };
  const NOT_SETTINGS = ["model", "label", "colors", "text"]; // of an address
  const HAN = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/gu;
  const NEEDED = { gone: "again", broken: "on", failed: "again", busy: "again", key: "key" };
  const WAYS = { again: "Try again", on: "Go on", key: "Enter the key" };

  const element = (...args) => charrnn.element(...args);
  const { byId, number, plural } = charrnn;

  /** Start the page. */
  charrnn.openPage = function () {
    charrnn.page = makePage(JSON.parse(byId("data").textContent));
    charrnn.page.start();
  };

  function makePage(data) {
    const field = byId("text");
    const sheet = byId("sheet");
    const history = charrnn.makeHistory(follow);
    const mirror = charrnn.makeMirror(byId("mirror"), field, history);
    const readout = charrnn.makeReadout(history, mirror, sheet);
    const versions = charrnn.makeVersions(byId("turns"), history, goToTurn);
    const choices = charrnn.makeChoices(byId("choices"), take);
    const client = charrnn.makeClient({
      getKey: () => key,
      async askKey(isWrong) {
        key = await charrnn.askKey(isWrong);
        if (key && !charrnn.keep("sessionStorage", "charrnn.key", key)) notice("This browser keeps no key for this page.");
        return key;
      },
      onWait(seconds) {
        if (seconds) notice(`The server has no room at the moment. Trying again in ${plural(seconds, "second")}.`);
        else notice("");
      },
    });
    let models = data.models;
    let others = []; // models that write no text, as /v1/models has them
    let isFinding = false;
    let model = null;
    let settings = null;
    let colors = "surprise";
    let work = null; // what runs: {controller, kind}
    let offered = null; // the alternatives that are open: {at, removedLength, seed}
    let key = charrnn.kept("sessionStorage", "charrnn.key") ?? "";
    let lastSeed = null;
    let caretMoved = 0;
    let typed = 0; // when, in ms
    let hovered = -1;
    let isReady = false;
    let scoring = null; // the request that asks what the text cost
    let recordKind = ""; // what the model writes: line, speech, document, or "" for running text
    let told = ""; // the characters that the person was told of, as the model never saw them
    let noticeKind = ""; // what the message is about, so that it goes when that is over
    const about = new Map(); // promises of what the server says of each model, by name
    const timers = {};

    /** Do something after a pause: a call that comes sooner begins the pause again. */
    function soon(name, milliseconds, action) {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(action, milliseconds);
    }

    /** Do something soon, however often it is asked for meanwhile. */
    function within(name, milliseconds, action) {
      timers[name] ||= setTimeout(() => {
        timers[name] = 0;
        action();
      }, milliseconds);
    }

    const store = charrnn.makeStore(history, () => model?.name ?? "", {
      onVersions() {
        if (isReady) within("turns", SHOW_MS, versions.show);
      },
      onOther() {
        if (work || !byId("notice").hidden) return false;
        notice("This text is open in another tab too. Each tab goes on with its own; what the other writes is kept among the versions.");
        return true;
      },
      onForgotten() {
        notice("This text was forgotten in another tab. It is still here, and is kept only if you change it.");
      },
      onFull() {
        notice("This browser keeps nothing for this page: save or copy the text before you leave.");
      },
    });

    function save() {
      clearTimeout(timers.save);
      timers.save = 0;
      store.save();
    }

    function load() {
      store.load();
      showText(history.text.length);
    }

    // The text.

    /** Follow a change of the history's text. */
    function follow(at, removed, inserted) {
      mirror.replace(at, removed, inserted);
      if (!isReady) return;
      store.touch();
      within("save", SAVE_MS, save);
      within("count", SHOW_MS, showSize);
      within("turns", SHOW_MS, versions.show);
      scoreSoon();
    }

    /** Show the history's text in the field, with the cursor at a place. */
    function showText(caret = field.selectionEnd) {
      if (field.value !== history.text) field.value = history.text;
      field.setSelectionRange(caret, caret);
      sheet.classList.remove("is-live");
      hideSpot();
      update();
    }

    /** Take what is in the field as it is now. */
    function takeTyped() {
      endNotice("text");
      history.type(field.value);
      update();
    }

    function onInput(event) {
      typed = performance.now();
      hideSpot();
      readout.show(-1);
      if (event.isComposing) {
        // The mirror waits: its colours would stand under other characters until the word is there.
        sheet.classList.add("is-composing");
        return;
      }
      takeTyped();
    }

    function onComposed() {
      sheet.classList.remove("is-composing");
      typed = performance.now();
      takeTyped();
    }

    const place = () => Math.min(field.selectionEnd, history.text.length);

    // Writing.

    function requestBody() {
      const body = { model: model?.name, ...settings.request() };
      const labels = [...document.querySelectorAll("#models select[data-label]")]
        .filter((select) => select.value)
        .map((select) => `${select.dataset.label}=${select.value}`);
      if (labels.length) body.label = labels;
      return body;
    }

    function begin(kind) {
      work = { controller: new AbortController(), kind };
      settings.forgive();
      scoring?.abort();
      clearTimeout(timers.score);
      field.readOnly = true;
      notice("");
      byId("speed").textContent = "";
      hideSpot();
      readout.show(-1);
      const isOnButton = byId("dock").contains(document.activeElement);
      update();
      if (isOnButton) byId("stop").focus();
    }

    function finish() {
      const isOnButton = document.activeElement === byId("stop");
      work = null;
      field.readOnly = choices.isOpen;
      update();
      if (isOnButton && choices.isOpen) byId("choices").querySelector("button").focus();
      else if (isOnButton) (isTouched() ? byId("go") : field).focus({ preventScroll: true });
      scoreSoon();
    }

    /** Return whether a field that gets the focus would open a keyboard on the screen. */
    const isTouched = () => matchMedia("(pointer: coarse)").matches;

    /** Return whether the form has no problem; if it has one, go to it. */
    function isFormRight() {
      if (settings.problem === null) return true;
      const { problem } = settings;
      settings.goTo(problem);
      notice(`${settings.nameOf(problem)}: ${settings.problemWords(problem)}`, ["Show the setting", () => settings.goTo(problem)]);
      noticeKind = "setting";
      return false;
    }

    /** Ask for texts, and hand each piece on: onPiece(choice, piece), onEnd(choice, words). */
    async function write(body, onPiece, onEnd) {
      const began = performance.now();
      let first = 0;
      let chars = 0;
      let usage = null;
      await client.stream("v1/completions", body, work.controller.signal, (chunk) => {
        usage = chunk.usage ?? usage;
        for (const choice of chunk.choices ?? []) {
          // A text field knows no carriage return.
          const text = (choice.text ?? "").replaceAll("\r", "\n");
          if (text) {
            first ||= performance.now();
            chars += text.length;
            onPiece(choice.index ?? 0, charrnn.makePiece(text, true, charrnn.readCosts(choice.text, choice.logprobs)));
          }
          if (choice.finish_reason) onEnd(choice.index ?? 0, endWords(choice));
        }
        const seconds = (performance.now() - first) / 1000;
        if (first && seconds > 0.2) byId("speed").textContent = `${number(chars / seconds)} characters/s`;
      });
      const seconds = (performance.now() - began) / 1000;
      const count = usage?.completion_tokens ?? chars;
      byId("speed").textContent =
        `${number(count)} in ${number(seconds, 1)} s, ${number(count / Math.max(seconds, 0.001))} characters/s`;
      return count;
    }

    /** Return why a text ended, where it was not its length. */
    function endWords({ finish_reason: finished, stop_reason: reason }) {
      if (finished === "length") return "";
      if (typeof reason !== "string" || !reason) return "ended by itself";
      if (settings.get("stop").includes(reason)) return `ended at “${charrnn.shown(reason)}”`;
      if (reason === "end") return `the ${recordKind || "record"} ended`;
      return ENDED[reason] ?? `ended: ${charrnn.shown(reason)}`;
    }

    /** Let the model write: at the cursor, or where `where` says: {at, removedLength, seed}. */
    async function goOn(where = {}) {
      if (work || choices.isOpen || !isFormRight()) return;
      if (!model && !(await findModel(() => goOn(where)))) return;
      const at = where.at ?? place();
      const removedLength = where.removedLength ?? 0;
      const seed = where.seed ?? settings.get("seed") ?? charrnn.randomSeed();
      const again = () => goOn({ at, removedLength, seed });
      const body = { ...requestBody(), prompt: history.text.slice(0, at), stream: true, stream_options: { include_usage: true }, seed };
      if (!body.beam) body.logprobs = charrnn.LIKELIEST;
      begin("write");
      const turn = history.add({ kind: "written", at, removedLength, inserted: charrnn.makePiece("", true), note: `seed ${seed}` });
      sheet.classList.add("is-live");
      speak("The model writes");
      let pending = [];
      const flush = () => {
        const isLow = isEndSeen();
        for (const piece of pending) history.grow(piece);
        pending = [];
        if (isLow) showEnd();
      };
      let ended = "";
      let failure = null;
      try {
        await write(body, (_, piece) => {
          pending.push(piece);
          within("flush", FLUSH_MS, flush);
        }, (_, words) => { ended = words; });
      } catch (error) {
        failure = error;
      }
      clearTimeout(timers.flush);
      timers.flush = 0;
      flush();
      const isStopped = work.controller.signal.aborted;
      const { length } = turn.inserted.text;
      if (length) showSeed(seed);
      else history.discard();
      showText(length ? turn.at + length : at);
      finish();
      if (failure && !isStopped) explain(failure, length ? () => goOn({ at: place() }) : again);
      else {
        if (ended) byId("speed").textContent += ` · ${ended}`;
        if (!length && !isStopped) notice("The model ended the text here: it wrote nothing.");
        else tellUnseen(body.prompt);
        speak(`${isStopped ? "Stopped after" : "Wrote"} ${plural(length, "character")}`);
      }
    }

    async function offerWays(where = {}) {
      if (work || choices.isOpen || !isFormRight()) return;
      if (!model && !(await findModel(() => offerWays(where)))) return;
      const at = where.at ?? place();
      const removedLength = where.removedLength ?? 0;
      const seed = where.seed ?? settings.get("seed") ?? charrnn.randomSeed();
      const n = Number(byId("count").value);
      const body = { ...requestBody(), prompt: history.text.slice(0, at), n, stream: true, stream_options: { include_usage: true }, seed };
      if (!body.beam) body.logprobs = charrnn.LIKELIEST;
      offered = { at, removedLength, seed };
      choices.open(n, colors);
      begin("choices");
      speak(`The model writes ${n} alternatives`);
      let failure = null;
      try {
        await write(body, (choice, piece) => choices.add(choice, piece), (choice, words) => choices.end(choice, words));
      } catch (error) {
        failure = error;
      }
      if (!choices.isOpen) return; // one was taken meanwhile
      const isStopped = work.controller.signal.aborted;
      choices.end(null, isStopped ? "stopped" : "");
      const isEmpty = choices.pieces.every((piece) => !piece.text);
      if (isEmpty) {
        choices.close();
        offered = null;
      } else showSeed(seed);
      finish();
      if (failure && !isStopped) explain(failure, () => { leave(); offerWays({ at, removedLength, seed }); });
      else if (isEmpty && !isStopped) notice("The model ended the text here: it wrote nothing.");
      else if (!isEmpty) {
        speak(`${n} alternatives: press a number to take one, Escape for none`);
        tellUnseen(body.prompt);
      }
    }

    /** Keep all alternatives as versions; go to one of them, unless it is null. */
    function closeWays(chosen) {
      const { at, removedLength, seed } = offered;
      const pieces = choices.pieces;
      const { count } = choices;
      choices.close();
      offered = null;
      if (work) {
        work.controller.abort();
        work = null;
      }
      field.readOnly = false;
      let turn = null;
      pieces.forEach((inserted, k) => {
        if (!inserted.text) return;
        const made = history.offer({ kind: "alternative", at, removedLength, inserted, note: `${k + 1} of ${count}, seed ${seed}` });
        if (k === chosen) turn = made;
      });
      if (turn) history.goTo(turn);
      showText(turn ? turn.at + turn.inserted.text.length : at);
      versions.show();
      within("save", SAVE_MS, save);
      if (!isTouched()) field.focus({ preventScroll: true });
    }

    function take(choice) {
      if (!choices.isOpen || !choices.pieces[choice]?.text) return;
      closeWays(choice);
      speak(`Took alternative ${choice + 1}`);
    }

    function leave() {
      if (choices.isOpen) closeWays(null);
    }

    function stop() {
      if (work) work.controller.abort();
      else leave();
    }

    const canRetry = () => ["written", "alternative"].includes(history.current.kind);

    /** Write the last piece again, with another seed; the one before stays a version. */
    function retry() {
      if (work || choices.isOpen || !canRetry() || !isFormRight()) return;
      const { at, removedLength } = history.current;
      if (settings.get("seed") !== null) settings.set("seed", (settings.get("seed") + 1) % 2 ** 32);
      history.undo();
      goOn({ at, removedLength });
    }

    function move(step) {
      if (work || choices.isOpen) return;
      const { text } = history;
      step();
      endNotice("text");
      const change = charrnn.difference(text, history.text);
      showText(change.at + change.inserted.length);
    }

    function goToTurn(turn) {
      move(() => history.goTo(turn));
      versions.show();
    }

    // Colours.

    /** Ask what the text cost, and what may come next, when the person pauses. */
    function scoreSoon() {
      scoring?.abort();
      clearTimeout(timers.score);
      if (colors !== "surprise" || work || choices.isOpen || !isReady) return;
      if (history.text.length > MAX_AUTO_SCORE && !isScored()) return showLegend();
      soon("score", SCORE_MS, () => score());
    }

    const isScored = () => !history.costs.includes(null);

    async function score(isAsked = false) {
      const { text } = history;
      const needsCosts = !isScored();
      if (!text || !model || work || (!needsCosts && readout.expects(text))) return;
      scoring?.abort();
      const own = (scoring = new AbortController());
      if (isAsked) showLegend("The model reads the text …");
      const { label, unknown = "error" } = requestBody();
      // A character that the model never saw has no colour; all others keep theirs.
      const body = { model: model?.name, prompt: text, max_tokens: 1, echo: needsCosts, logprobs: charrnn.LIKELIEST, label, unknown: unknown === "error" ? "skip" : unknown };
      try {
        let answer = await client.ask("v1/completions", body, own.signal, isAsked);
        let costs = needsCosts ? charrnn.alignCosts(text, answer.choices[0].logprobs, body.unknown === "skip") : [];
        if (!costs && body.unknown !== "skip") {
          answer = await client.ask("v1/completions", { ...body, unknown: "skip" }, own.signal, isAsked);
          costs = charrnn.alignCosts(text, answer.choices[0].logprobs, true);
        }
        if (own.signal.aborted || history.text !== text) return;
        if (!costs) return showLegend("These characters cannot be coloured: the model reads them as others.");
        history.setCosts(costs);
        readout.expect(text, charrnn.likeliest(answer.choices[0].logprobs, -1));
        if (needsCosts) mirror.repaint();
        showLegend();
        readout.show(isAtEnd() && hovered < 0 ? text.length : readout.place);
      } catch (error) {
        if (own.signal.aborted) return;
        if (isAsked) explain(error, () => score(true));
        else showLegend(`No colours yet: ${settings.inWords(error.message)}`);
      }
    }

    /** Ask again what the text costs: the model expects other characters now. */
    function forgetCosts() {
      history.forgetCosts();
      readout.expect(null, []);
      readout.show(-1);
      mirror.repaint();
      scoreSoon();
    }

    const isAtEnd = () => field.selectionStart === history.text.length;

    function showLegend(problem = "") {
      let more = "";
      if (!problem && history.text.length > MAX_AUTO_SCORE && !isScored()) {
        more = element("button", { type: "button", class: "quiet", id: "score" }, "Colour the whole text");
        more.addEventListener("click", () => score(true));
      }
      readout.showLegend(colors, problem, more);
    }

    function setColors(name) {
      colors = COLORS.includes(name) ? name : "surprise";
      for (const button of document.querySelectorAll("[data-colors]")) {
        button.setAttribute("aria-pressed", String(button.dataset.colors === colors));
      }
      mirror.setColors(colors);
      showLegend();
      scoreSoon();
      writeAddressSoon();
    }

    // What the model expected at one character.

    function hideSpot() {
      readout.unmark();
      hovered = -1;
    }

    function onPointer(event) {
      if (event.pointerType === "touch" || event.buttons || work) return;
      const { clientX, clientY } = event;
      if (timers.hover) return;
      timers.hover = requestAnimationFrame(() => {
        timers.hover = 0;
        const at = mirror.placeAt(clientX, clientY);
        if (at === hovered) return;
        hovered = at;
        if (at >= 0 && history.costs[at]) {
          readout.mark(at);
          readout.show(at);
        } else {
          readout.unmark();
          readout.show(isAtEnd() ? history.text.length : -1);
        }
      });
    }

    /** Show what was expected at the cursor, when it was moved and not typed with. */
    function onCaret() {
      update();
      if (document.activeElement !== field || work || choices.isOpen) return;
      if (performance.now() - typed < 150 || !history.text || field.selectionStart !== field.selectionEnd) return;
      const at = field.selectionStart;
      if (at === history.text.length || !history.costs[at]) hideSpot();
      else readout.mark(at);
      const words = readout.show(at);
      if (words && performance.now() - caretMoved < 1000) soon("say", 350, () => speak(words));
    }

    // Words and figures around the text.

    function speak(words) {
      byId("live").textContent = words;
    }

    /** Show a message that stays until the next one, with ways out: [words, action] of each. */
    function notice(words, ...ways) {
      const box = byId("notice");
      noticeKind = "";
      box.hidden = !words;
      if (!words) return box.replaceChildren();
      const close = element("button", { type: "button", class: "quiet" }, "Close");
      close.addEventListener("click", () => notice(""));
      const buttons = ways.map(([actionWords, action], k) => {
        const button = element("button", { type: "button", id: k ? `way-out-${k + 1}` : "way-out" }, actionWords);
        button.addEventListener("click", () => { notice(""); action(); });
        return button;
      });
      box.replaceChildren(element("p", {}, words), ...buttons, close);
    }

    /** Take a message of one of these kinds away: what it is about is over. */
    function endNotice(...kinds) {
      if (kinds.includes(noticeKind)) notice("");
    }

    /** Say what went wrong, and offer the way out. */
    function explain(error, again) {
      const kept = history.text ? " Your text is kept." : "";
      const words = `${settings.inWords(error.message ?? String(error))}${error instanceof charrnn.ServerError && error.kind !== "refused" ? kept : ""}`;
      const { param = null } = error;
      const unseen = param === "prompt" ? charrnn.unseenWords(error.message) : "";
      if (unseen) {
        const take = (way) => () => { settings.set("unknown", way); again(); };
        const hasNear = /\bmap\b/.test(error.message); // without a near letter the server names no such way
        notice(unseen, ...(hasNear ? [["Use the nearest", take("map")]] : []), ["Leave out", take("skip")]);
        noticeKind = "text";
      } else if (param && settings.blame(param, words)) {
        notice(words, ["Show the setting", () => settings.goTo(param)]);
        noticeKind = "setting";
      } else {
        const way = NEEDED[error.kind];
        notice(words, ...(way ? [[WAYS[way], again]] : []));
      }
    }

    /** Return a promise of what the server says of a model: its alphabet and limits. */
    function ask(chosen) {
      if (!about.has(chosen.name)) {
        const answer = client.ask(`v1/models/${encodeURIComponent(chosen.name)}`);
        about.set(chosen.name, answer);
        answer.catch(() => about.delete(chosen.name));
      }
      return about.get(chosen.name);
    }

    /** Learn the limits of the model, and take what its records are called. */
    async function learn() {
      const asked = model;
      try {
        const { max_chars: most, record_kind: kind = "" } = await ask(asked);
        if (model !== asked) return;
        recordKind = kind;
        settings.limit("length", most);
      } catch {
        // The server tells it when it refuses.
      }
    }

    /** Say once what the model reads in place of characters that it never saw, and what it does not read. */
    async function tellUnseen(text) {
      const way = settings.get("unknown");
      if (way === "error" || !model) return;
      const asked = model;
      try {
        const { alphabet = "", has_bytes: hasBytes } = await ask(asked);
        const known = new Set([...alphabet, "\n"]);
        const doubtful = hasBytes ? [] : [...new Set(text)].filter((char) => !known.has(char));
        const key = `${asked.name} ${way} ${doubtful.sort().join("")}`;
        if (!doubtful.length || key === told) return;
        const body = { model: asked.name, text, unknown: way === "map" ? "map" : "cost", label: requestBody().label };
        const { characters, unseen, mapped } = await client.ask("v1/score", body);
        told = key;
        const left = [...new Set(unseen.map((at) => characters[at]))].map(charrnn.named);
        const changes = Object.keys(mapped);
        const parts = [
          changes.length ? `The model reads ${charrnn.listed(changes)}.` : "",
          left.length ? `Left out, as the model never saw ${left.length > 1 ? "them" : "it"}: ${charrnn.listed(left, " ")}.` : "",
        ].filter(Boolean);
        if (!parts.length || model !== asked || !byId("notice").hidden) return;
        notice(`${parts.join(" ")} Your text stays as it is.`);
        noticeKind = "text";
      } catch {
        // It can be told the next time.
      }
    }

    function showSize() {
      const { text } = history;
      const chars = text.length < 100000 ? [...text].length : text.length;
      const han = text.match(HAN)?.length ?? 0;
      const count = han > text.length / 5 ? 0 : (text.match(/[\p{L}\p{N}][\p{L}\p{N}\p{M}'’-]*/gu)?.length ?? 0);
      byId("size").replaceChildren(plural(chars, "character"), element("span", { class: "wide" }, count ? `, ${plural(count, "word")}` : ""));
    }

    function showSeed(seed) {
      lastSeed = seed;
      const button = byId("keep-seed");
      button.hidden = false;
      button.textContent = `seed ${seed}`;
      button.title = "Use this seed from now on";
      button.setAttribute("aria-label", `Use seed ${seed} from now on`);
    }

    /** Show which buttons do something now. */
    function update() {
      if (!isReady) return;
      const isOpen = choices.isOpen;
      const isBusy = work !== null;
      const isInside = place() < history.text.length;
      byId("go").hidden = isBusy || isOpen;
      byId("stop").hidden = !isBusy;
      byId("leave").hidden = isBusy || !isOpen;
      byId("go-words").textContent = isInside ? "Insert here" : history.text ? "Go on" : "Begin";
      byId("rewrite").hidden = isBusy || isOpen || !isInside;
      byId("choose").hidden = isOpen;
      byId("retry").hidden = isOpen;
      const isUseless = !model && others.length > 0; // no model here can write
      byId("go").disabled = isUseless;
      if (isUseless) field.placeholder = "No model of this server writes text.";
      byId("alternatives").disabled = byId("count").disabled = isBusy || isUseless;
      byId("retry").disabled = isBusy || isUseless || !canRetry();
      // Another text must not come while one is being written.
      for (const control of [...byId("models").querySelectorAll("select"), byId("forget"), byId("clear")]) {
        control.disabled = isBusy || isOpen;
      }
      byId("undo").disabled = isBusy || isOpen || !history.canUndo;
      byId("redo").disabled = isBusy || isOpen || !history.canRedo;
    }

    /** Return whether the end of the text is in the window, above the dock. */
    function isEndSeen() {
      if (work.kind !== "write" || history.current.at + history.current.inserted.text.length < history.text.length) return false;
      return byId("mirror").getBoundingClientRect().bottom <= byId("dock").getBoundingClientRect().top + 90;
    }

    function showEnd() {
      const over = byId("mirror").getBoundingClientRect().bottom - byId("dock").getBoundingClientRect().top;
      if (over > 0) scrollBy({ top: over + 12, behavior: "instant" });
    }

    // The key, the address, what leaves the page.

    function parameters() {
      const made = new URLSearchParams();
      if (!model) {
        // Before there is a key no model is known: what the address asks for waits.
        const given = new URLSearchParams(location.hash.slice(1));
        for (const name of ["model", "label"]) for (const each of given.getAll(name)) made.append(name, each);
      }
      if (models.length > 1 && model) made.set("model", model.name);
      for (const select of document.querySelectorAll("#models select[data-label]")) {
        if (select.value) made.append("label", `${select.dataset.label}=${select.value}`);
      }
      settings.write(made);
      if (colors !== "surprise") made.set("colors", colors);
      return made;
    }

    function onSettings() {
      if (!isReady) return;
      if (settings.problem === null) endNotice("setting");
      writeAddressSoon();
    }

    function writeAddressSoon() {
      if (isReady) soon("address", 250, () => {
        const text = String(parameters());
        globalThis.history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
      });
    }

    /** Ask which models there are: those that write, with their labels, and others. */
    async function findModels() {
      const answer = await client.ask("v1/models");
      const isWriter = (each) => (each.task ?? "text") === "text";
      others = answer.data.filter((each) => !isWriter(each));
      if (models.length) return;
      models = await Promise.all(answer.data.filter(isWriter).map(async (each) => {
        const found = { name: each.id };
        const more = await ask(found);
        const labels = Object.entries(more.labels ?? {}).map(([name, counts]) => [name, Object.keys(counts)]);
        return { ...found, labels: Object.fromEntries(labels) };
      }));
    }

    /** Say that no model here writes, and what those do that there are. */
    function tellNoModel() {
      const lines = others.map(({ id, task }) => {
        const [does, path] = TASKS[task] ?? [`is a model for ${task}`, "models"];
        return `“${id}” ${does}: use “charrnn predict ${id}” in a terminal, or POST /v1/${path}.`;
      });
      notice(["This server has no model that writes text.", ...lines.slice(0, 3)].join(" "));
    }

    /** Return whether there is a model to write with; without one ask for it, then do `again`. */
    async function findModel(again) {
      if (model || isFinding) return model !== null;
      isFinding = true;
      try {
        await findModels();
      } catch (error) {
        explain(error, again);
        return false;
      } finally {
        isFinding = false;
      }
      readAddress();
      update();
      if (!model) tellNoModel();
      return model !== null;
    }

    /** Ask for the key once more, until there is a model. */
    async function enter() {
      if (await findModel(enter)) field.focus();
    }

    /** Take model, settings and perhaps a text from the address. */
    function readAddress() {
      const given = new URLSearchParams(location.hash.slice(1));
      const name = given.get("model");
      const found = models.find((each) => each.name === name);
      showModel(found ?? model ?? models[0] ?? null);
      for (const each of given.getAll("label")) {
        const [column, ...value] = each.split("=");
        for (const select of document.querySelectorAll("#models select[data-label]")) {
          if (select.dataset.label === column) select.value = value.join("=");
          if (select.selectedIndex < 0) select.selectedIndex = 0;
        }
      }
      const faults = name && !found && model ? [`This server has no model “${charrnn.shown(name.slice(0, 80))}”; here is ${model.name}.`] : [];
      const wrong = settings.read(given);
      if (wrong.length) faults.push(`The address has no right value for ${wrong.join(", ")}; the default is used.`);
      faults.push(...settings.faults(given, NOT_SETTINGS));
      setColors(given.get("colors") ?? "surprise");
      const text = given.get("text");
      if (text !== null && text !== history.text) {
        history.add({ kind: "link", at: 0, removedLength: history.text.length, inserted: charrnn.makePiece(text.replaceAll(/\r\n?/g, "\n"), false) });
        showText(history.text.length);
        faults.unshift("The text of the link is shown. What stood here before is one Undo away.");
      }
      if (faults.length) notice(faults.join(" "));
      if (text !== null) writeAddressSoon();
    }

    /** Take an address that came while the page is open, once nothing is being written. */
    function takeAddress() {
      stop();
      if (work) soon("address", 50, takeAddress);
      else readAddress();
    }

    /** Show the choice of models, and of one model's labels; begin with the text that it had. */
    function showModel(chosen) {
      if (chosen === model && isReady) return;
      if (isReady) {
        save();
        leave();
      }
      const typed = model === null && isReady ? history.text : "";
      model = chosen;
      recordKind = "";
      readout.expect(null, []);
      const labels = Object.entries(model?.labels ?? {}).map(([column, values]) => {
        const box = element("select", { "data-label": column },
          element("option", { value: "" }, "any"), ...values.map((value) => element("option", { value }, value)));
        box.addEventListener("change", () => { forgetCosts(); writeAddressSoon(); });
        return element("label", {}, element("span", { class: "fine" }, column), box);
      });
      byId("models").replaceChildren(element("span", { id: "model" }), ...labels);
      showNames();
      load();
      if (typed && typed !== history.text) {
        // Written before there was a model: what this model's text was is one Undo away.
        history.add({ kind: "typed", at: 0, removedLength: history.text.length, inserted: charrnn.makePiece(typed, false) });
        showText(typed.length);
      }
      if (typed) store.forget("");
      if (isReady && model) learn();
    }

    /** Show the models' names: a choice, where there is one or a model that cannot be chosen. */
    function showNames() {
      const options = models.map((each) => element("option", { value: each.name }, each.name));
      const more = others.map(({ id, task }) => element("option", { disabled: true }, `${id} ${TASKS[task]?.[0] ?? "writes no text"}: charrnn predict`));
      const isChoice = options.length && options.length + more.length > 1;
      const node = isChoice
        ? element("select", { id: "model", "aria-label": "Model" }, ...options, ...more)
        : element("span", { class: "fine", id: "model" }, model?.name ?? "no model");
      if (isChoice) {
        node.value = model.name;
        node.disabled = work !== null || choices.isOpen;
        node.addEventListener("change", () => {
          showModel(models.find((each) => each.name === node.value));
          versions.show();
          writeAddressSoon();
        });
      }
      const old = byId("model");
      const isFocused = document.activeElement === old;
      old.replaceWith(node);
      if (isFocused) node.focus();
    }

    async function copy(text, words) {
      try {
        await navigator.clipboard.writeText(text);
        speak(words);
        return true;
      } catch {
        return false;
      }
    }

    async function copyText() {
      if (await copy(history.text, "Copied")) return flash(byId("copy"), "Copied");
      const caret = field.selectionEnd;
      field.focus();
      field.select();
      const isCopied = document.execCommand("copy"); // a page without https has no clipboard
      if (isCopied) field.setSelectionRange(caret, caret);
      flash(byId("copy"), isCopied ? "Copied" : "Press Ctrl+C");
    }

    function flash(button, words) {
      const old = button.dataset.words ?? button.textContent;
      button.dataset.words = old;
      button.textContent = words;
      soon(`flash ${button.id}`, 1500, () => { button.textContent = old; });
    }

    function download() {
      const url = URL.createObjectURL(new Blob([history.text], { type: "text/plain;charset=utf-8" }));
      const link = element("a", { href: url, download: `${(model?.name ?? "text").replaceAll(/[^\w.-]/g, "_")}.txt` });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    }

    function showLink() {
      const made = parameters();
      if (lastSeed !== null && settings.get("seed") === null) made.set("seed", lastSeed);
      if (byId("link-text").checked) made.set("text", history.text);
      const text = String(made);
      const isHere = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(location.hostname);
      byId("link-where").textContent = isHere ? `It begins with ${location.origin}, which opens on this computer alone.` : "";
      byId("link-export").textContent = `charrnn export ${model?.name ?? "NAME"} --to html`;
      byId("link-address").value = location.href.split("#")[0] + (text ? `#${text}` : "");
    }

    function clear() {
      if (work || choices.isOpen || !history.text) return;
      history.add({ kind: "cleared", at: 0, removedLength: history.text.length, inserted: charrnn.makePiece("", false) });
      showText(0);
      notice("");
      field.focus();
      speak("A new text; Undo brings the old one back");
    }

    function forget() {
      leave();
      store.forget();
      history.load(null);
      clearTimeout(timers.save);
      timers.save = 0;
      showText(0);
      versions.show();
      byId("forget-dialog").close();
      notice("");
      speak("Forgotten");
    }

    // Keys.

    function onKey(event) {
      if (event.isComposing || event.keyCode === 229 || document.querySelector("dialog[open]")) return;
      const isControl = event.ctrlKey || event.metaKey;
      const isText = event.target === field;
      const isOther = !isText && event.target.matches("input, textarea, select");
      let action = null;
      if (event.key === "Enter" && isControl) action = event.shiftKey ? () => offerWays() : () => goOn();
      else if (event.key === "Enter" && event.altKey) action = retry;
      else if (event.key === "Escape" && (work || choices.isOpen)) action = stop;
      else if (choices.isOpen && !isControl && !event.altKey && !isOther && /^[1-9]$/.test(event.key)) {
        const chosen = Number(event.key) - 1;
        action = () => take(chosen);
      } else if (isControl && !isOther && event.key.toLowerCase() === "z") action = () => move(event.shiftKey ? history.redo : history.undo);
      else if (isControl && !isOther && event.key.toLowerCase() === "y") action = () => move(history.redo);
      else if (isText) caretMoved = performance.now();
      if (!action) return;
      event.preventDefault();
      action();
    }

    function listen() {
      const on = (id, name, action) => byId(id).addEventListener(name, action);
      field.addEventListener("input", onInput);
      field.addEventListener("compositionend", onComposed);
      field.addEventListener("beforeinput", (event) => {
        if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
        event.preventDefault();
        move(event.inputType === "historyUndo" ? history.undo : history.redo);
      });
      field.addEventListener("pointermove", onPointer);
      field.addEventListener("pointerleave", () => { hideSpot(); readout.show(isAtEnd() ? history.text.length : -1); });
      document.addEventListener("selectionchange", onCaret);
      document.addEventListener("keydown", onKey);
      on("go", "click", () => goOn());
      on("stop", "click", stop);
      on("leave", "click", leave);
      on("alternatives", "click", () => offerWays());
      on("retry", "click", retry);
      on("rewrite", "click", () => goOn({ removedLength: history.text.length - place() }));
      on("undo", "click", () => move(history.undo));
      on("redo", "click", () => move(history.redo));
      on("copy", "click", copyText);
      on("download", "click", download);
      on("clear", "click", clear);
      on("link", "click", () => { showLink(); byId("link-dialog").showModal(); });
      on("link-text", "change", showLink);
      on("link-close", "click", () => byId("link-dialog").close());
      on("link-copy", "click", async () => {
        if (await copy(byId("link-address").value, "Copied")) flash(byId("link-copy"), "Copied");
        else byId("link-address").select();
      });
      on("forget", "click", () => byId("forget-dialog").showModal());
      on("forget-ok", "click", forget);
      on("forget-cancel", "click", () => byId("forget-dialog").close());
      on("keep-seed", "click", () => { settings.set("seed", lastSeed); flash(byId("keep-seed"), `seed ${lastSeed} kept`); });
      for (const button of document.querySelectorAll("[data-colors]")) {
        button.addEventListener("click", () => setColors(button.dataset.colors));
      }
      addEventListener("hashchange", takeAddress);
      addEventListener("storage", (event) => { if (isReady) store.follow(event); });
      addEventListener("pagehide", save);
      document.addEventListener("visibilitychange", () => { if (document.hidden) save(); });
      addEventListener("beforeunload", (event) => { if (store.isUnsaved) event.preventDefault(); });
      addEventListener("resize", hideSpot);
    }

    return {
      history,
      mirror,
      get settings() { return settings; },
      get isBusy() { return work !== null; },
      get isReady() { return isReady; },

      async start() {
        settings = charrnn.makeSettings(byId("settings"), byId("chips"), data, onSettings);
        listen();
        if (!models.length) {
          // A server with a key names its models to those who have it.
          try {
            await findModels();
            if (!models.length) tellNoModel();
          } catch (error) {
            explain(error, enter);
          }
        }
        readAddress();
        isReady = true;
        showSize();
        versions.show();
        update();
        scoreSoon();
        if (model) {
          learn();
          // Those that write no text are named beside those that do.
          if (data.models.length) findModels().then(showNames, () => {});
        }
        if (!isTouched()) field.focus({ preventScroll: true });
      },
    };
  }
})((globalThis.charrnn ??= {}));
