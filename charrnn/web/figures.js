// What can be done with a figure: keep it as SVG or PNG, copy its numbers, ask what it is.
(function (charrnn) {
  "use strict";

  const PNG_SCALE = 2;

  /** Return rows of cells as CSV. */
  charrnn.csv = function (rows) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  };

  /** Return the rows of a section's table, as strings; the first row names the columns. */
  charrnn.tableRows = function (section) {
    const rows = [...section.querySelectorAll("table.rows tr")];
    return rows.map((row) => [...row.children].map((cell) => cell.textContent));
  };

  /** Put the tools of a figure after it, and return them. rows: a function. */
  charrnn.figureTools = function (node, name, rows, page, after = node) {
    const tools = charrnn.element("div", { class: "figure-tools", role: "group", "aria-label": `Tools of the figure ${name}` });
    const add = (words, action) => {
      const button = charrnn.element("button", { type: "button" }, words);
      button.addEventListener("click", async () => {
        try {
          page.speak(await action());
        } catch (error) {
          page.speak(`That did not work: ${error.message}`);
        }
      });
      tools.append(button);
    };
    const found = () => (node.matches("svg") ? node : node.querySelector("svg"));
    const picture = () => (found().closest("figure.picture") ? found() : charrnn.titled(found(), page));
    if (found()) {
      add("Save SVG", () => saveSvg(picture(), `${name}.svg`));
      add("Save PNG", () => savePng(picture(), `${name}.png`));
    }
    if (rows) add("Copy CSV", () => copy(charrnn.csv(rows())));
    add("What is this?", () => explain(node));
    after.after(tools);
    return tools;
  };

  const LINE = 16; // pixels of a line of a title
  const LETTER = 6.4; // pixels of a letter of it, roughly
  const MAP_SCALE = "Colour: blue down to −1, none at 0, orange up to 1";

  /** Return a copy of a picture of this page that says by itself what it shows. */
  charrnn.titled = function (svg, page) {
    const colors = charrnn.colors.palette();
    const [left, top, wide, tall] = svg.getAttribute("viewBox").split(" ").map(Number);
    const lines = titleOf(svg, page).flatMap((line) => wrapped(line, Math.floor((wide - 16) / LETTER)));
    const head = LINE * lines.length + 8;
    const root = charrnn.svg("svg", {
      viewBox: `${left} ${top - head} ${wide} ${tall + head}`,
      "font-family": "system-ui, sans-serif", "font-size": 12, role: "img",
    });
    root.append(charrnn.svg("rect", { x: left, y: top - head, width: wide, height: tall + head, fill: colors.paper }));
    lines.forEach((line, k) => root.append(charrnn.svg("text", {
      x: left + 8, y: top - head + LINE * (k + 1), fill: colors.ink, "font-weight": k ? undefined : "bold",
    }, line)));
    root.append(...[...svg.children].map((child) => child.cloneNode(true)));
    return root;
  };

  /** Return what a figure shows, of which model, where in the text, and its scale of colours. */
  function titleOf(svg, page) {
    const section = svg.closest("section.view");
    const view = section?.querySelector("h2")?.textContent;
    const unit = charrnn.views[page.view]?.usesUnit ? page.unit : "";
    const about = page.symbols.slice(Math.max(0, page.at - 20), page.at + 1).map(charrnn.shown).join("");
    const place = page.ids.length ? `place ${page.at}, after “${about}”` : "";
    const scale = svg.matches(".map") ? MAP_SCALE : (svg.dataset.scale ?? "");
    const model = page.models[page.model].name;
    const what = svg.querySelector(":scope > title")?.textContent ?? svg.getAttribute("aria-label");
    return [what, [view, model, unit, place].filter(Boolean).join(" · "), scale].filter(Boolean);
  }

  /** Return a text in lines of at most so many characters, cut at spaces. */
  function wrapped(text, limit) {
    const lines = [""];
    for (const word of text.split(" ")) {
      const last = lines.length - 1;
      if (lines[last] && lines[last].length + 1 + word.length > limit) lines.push(word);
      else lines[last] += (lines[last] ? " " : "") + word;
    }
    return lines;
  }

  /** Return a picture as a file holds it. */
  charrnn.svgFile = function (svg) {
    const copyOf = svg.cloneNode(true);
    copyOf.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copyOf.removeAttribute("class");
    return new XMLSerializer().serializeToString(copyOf) + "\n";
  };

  function save(blob, name) {
    const link = charrnn.element("a", { download: name, href: URL.createObjectURL(blob) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    return `Saved ${name}`;
  }

  function saveSvg(svg, name) {
    return save(new Blob([charrnn.svgFile(svg)], { type: "image/svg+xml" }), name);
  }

  async function savePng(svg, name) {
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const sized = svg.cloneNode(true);
    sized.setAttribute("width", width * PNG_SCALE);
    sized.setAttribute("height", height * PNG_SCALE);
    const image = new Image();
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(charrnn.svgFile(sized));
    await image.decode();
    const canvas = charrnn.element("canvas");
    canvas.width = width * PNG_SCALE;
    canvas.height = height * PNG_SCALE;
    canvas.getContext("2d").drawImage(image, 0, 0);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    return save(blob, name);
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = charrnn.element("textarea", {}, text); // pages from a disk may lack a clipboard
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    return "Copied";
  }

  function explain(node) {
    const section = node.closest("section.view");
    const details = section.querySelector("details.formula");
    details.open = true;
    details.querySelector("summary").focus();
    return "The explanation is open";
  }
})((globalThis.charrnn ??= {}));
