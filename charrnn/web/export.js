// The page of `charrnn export --to html`: its form, the text, and what was likely at each place.
(function (charrnn) {
  "use strict";

  if (typeof document === "undefined") return; // a worker runs this script too

  const byId = (id) => document.getElementById(id);
  const number = (id) => Number(byId(id).value);
  const MAX_SEED = 2 ** 32;
  const SURPRISES = [1 / 3, 2 / 3, 1]; // from which a character is marked more and more; 1 is a blind guess

  const data = JSON.parse(byId("data").textContent);
  const endText = data.end_text;
  const encode = charrnn.makeEncoder({ ...data, texts: data.texts.map((text, k) => (k === data.end ? endText : text)) });
  const box = byId("text");
  let pieces = []; // that were written, with their nodes
  let prompt = ""; // of the text that is shown
  let firstIds = []; // what the network read before it wrote
  let at = -1; // the chosen piece
  let isWhole = true; // whether the network has read all that is shown, and nothing else
  let isBusy = false;
  let isFollowed = false; // whether the box scrolls with what is written: not from the beginning of a text
  const send = startWriter();

  // ---- the network

  /** Return a function that sends messages to the writer: a worker's, or one in this thread. */
  function startWriter() {
    const weights = byId("weights").textContent.trim();
    const model = { ...data };
    try {
      const url = URL.createObjectURL(new Blob([byId("code").textContent], { type: "text/javascript" }));
      const worker = new Worker(url);
      worker.onmessage = ({ data: message }) => receive(message);
      worker.onerror = (event) => fail(event.message);
      worker.postMessage({ kind: "init", model, weights });
      return (message) => worker.postMessage(message);
    } catch {
      const writer = charrnn.makeWriter(model, weights, receive);
      return ({ kind, ...message }) => writer[kind](message);
    }
  }

  function receive(message) {
    if (message.read) say(`Reading: ${message.read} of ${message.of} …`);
    if (message.pieces) {
      show(message.pieces);
      send({ kind: "wasShown" });
    }
    if (message.reason) finish(message);
    if (message.error) fail(message.error);
  }

  // ---- writing

  /** Write a new text. */
  function write() {
    if (byId("new-seed").checked) byId("seed").value = crypto.getRandomValues(new Uint32Array(1))[0] % MAX_SEED;
    const given = byId("prompt").value;
    const small = data.lowercase ? given.replaceAll("Σ", "σ").toLowerCase() : given;
    const { ids, unknown } = encode(data.normalize === "none" ? small : small.normalize(data.normalize.toUpperCase()));
    const leftOut = byId("left-out");
    leftOut.hidden = !unknown.length;
    leftOut.textContent = unknown.length ? `Left out, as the network never saw them: ${unknown.map(charrnn.named).join(" ")}.` : "";
    isFollowed = false;
    prompt = given;
    pieces = [];
    at = -1;
    box.replaceChildren();
    if (given) box.append(charrnn.element("span", { class: "prompt" }, given));
    firstIds = ids.length ? ids : data.opening;
    start(firstIds);
  }

  /** Go on after the text that is shown. */
  function goOn() {
    box.scrollTop = box.scrollHeight; // where the text goes on
    isFollowed = true;
    start(isWhole ? null : [...firstIds, ...pieces.flatMap((piece) => piece.tokens)]);
  }

  function start(ids) {
    isBusy = true;
    isWhole = true;
    const rows = [...document.querySelectorAll("select.label")].map((each) => Number(each.value)).filter((row) => row >= 0);
    send({
      kind: "write", ids, rows, length: number("length"), temperature: number("temperature"),
      topK: number("top-k"), topP: number("top-p"), seed: number("seed"),
      stop: byId("stop-text").value.replaceAll("\\n", "\n"),
    });
    say("Writing …");
    showButtons();
  }

  function stop() {
    if (isBusy) send({ kind: "stop" });
  }

  function finish({ reason, chars, seconds, isRead }) {
    isBusy = false;
    isWhole = isRead;
    const speed = seconds > 0.05 ? `, ${Math.round(chars / seconds).toLocaleString("en")} a second` : "";
    const why = { length: "", stop: ", then came the text to stop at", stopped: ", stopped" }[reason];
    say(`${chars.toLocaleString("en")} characters${speed}${why}.`);
    showButtons();
  }

  function fail(words) {
    isBusy = false;
    isWhole = false;
    say(`The network stopped: ${words}`);
    showButtons();
  }

  function say(words) {
    byId("status").textContent = words;
  }

  function showButtons() {
    byId("stop").disabled = !isBusy;
    byId("write").disabled = isBusy;
    byId("more").disabled = isBusy || !pieces.length;
    byId("copy").disabled = !pieces.length;
  }

  // ---- the text

  /** Add pieces to the text, all at once: a browser lays out the whole text each time. */
  function show(more) {
    const isAtEnd = isFollowed && box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
    const nodes = more.map((piece) => {
      const surprise = -Math.log2(piece.p) / Math.log2(data.texts.length);
      const level = SURPRISES.filter((limit) => surprise >= limit).length;
      const node = charrnn.element("span", { class: level ? `b${level}` : null }, piece.text);
      node.piece = pieces.length;
      pieces.push({ ...piece, node });
      return node;
    });
    box.append(...nodes);
    if (isAtEnd) box.scrollTop = box.scrollHeight;
  }

  /** Choose a piece, and say what was likely in its place. */
  function choose(place) {
    pieces[at]?.node.classList.remove("at");
    at = Math.min(Math.max(place, 0), pieces.length - 1);
    if (at < 0) return;
    pieces[at].node.classList.add("at");
    pieces[at].node.scrollIntoView({ block: "nearest" });
    explain(at);
  }

  function explain(place) {
    const piece = pieces[place];
    if (!piece) return;
    const bold = (text) => charrnn.element("b", {}, charrnn.named(text));
    const parts = piece.likeliest.flatMap(([token, p]) => [", ", bold(nameOf(token)), ` ${percent(p)}`]);
    byId("readout").replaceChildren(
      bold(piece.text), ` had ${percent(piece.p)} (${(-Math.log2(piece.p)).toFixed(1)} bits). Likeliest here: `, ...parts.slice(1), ".",
    );
  }

  function nameOf(token) {
    if (token === data.end) return data.separator === "\n" ? "\n" : "end";
    const byte = (token - data.first_byte).toString(16).toUpperCase().padStart(2, "0");
    return data.texts[token] || `<${byte}>`;
  }

  const percent = (p) => `${p >= 0.0995 ? Math.round(100 * p) : (100 * p).toPrecision(2)}\u00a0%`;

  const MOVES = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -40, ArrowDown: 40, Home: -Infinity, End: Infinity };

  function onKey(event) {
    if (!(event.key in MOVES) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(at + MOVES[event.key]);
  }

  // ---- the page

  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!isBusy) write();
  });
  byId("stop").addEventListener("click", stop);
  byId("more").addEventListener("click", goOn);
  byId("copy").addEventListener("click", async () => {
    const text = prompt + pieces.map((piece) => piece.text).join("");
    try {
      await navigator.clipboard.writeText(text);
      say("Copied.");
    } catch {
      getSelection().selectAllChildren(box);
      say("The text is selected; copy it with Ctrl+C.");
    }
  });
  const showTemperature = () => (byId("temperature-shown").textContent = number("temperature").toFixed(2));
  const showMarks = () => box.classList.toggle("marked", byId("colours").checked);
  byId("temperature").addEventListener("input", showTemperature);
  byId("colours").addEventListener("change", showMarks);
  box.addEventListener("keydown", onKey);
  box.addEventListener("click", ({ target }) => target.piece !== undefined && choose(target.piece));
  box.addEventListener("mouseover", ({ target }) => target.piece !== undefined && explain(target.piece));
  box.addEventListener("mouseleave", () => explain(at));
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
    const isEnter = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (isEnter && !isBusy) byId("form").requestSubmit(byId("write"));
  });
  showTemperature(); // a browser may have filled in what was chosen before
  showMarks();
})((globalThis.charrnn ??= {}));
