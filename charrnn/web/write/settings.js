// The form of all settings, made from their descriptions; what was changed, as chips; the address.
(function (charrnn) {
  "use strict";

  const element = (...args) => charrnn.element(...args);
  const BASIC = ["temperature", "length", "seed"];
  const SLIDERS = { temperature: [0, 2, 0.05], length: [10, 2000, 10] };
  const SECTIONS = {
    Filters: "Which characters may come",
    Penalties: "Against repetition",
    Characters: "Characters and words",
    Constraint: "What the text must be",
    End: "Where the text ends",
    Originality: "Originality",
    Search: "Search instead of chance",
    "": "More",
  };

  const UNKNOWN_WORDS = { map: "nearest known letters", skip: "unknown letters left out" };
  const USUAL = { temperature: "mostly 0.5 to 1.2" };

  /** Return a name as it is shown: "top p". */
  const words = (name) => name.replaceAll("_", " ");

  /** Return a text field's lines as texts; \n and \t stand for what a line cannot hold. */
  const asTexts = (text) =>
    text.split("\n").filter((line) => line !== "").map((line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t"));
  const asLines = (texts) => texts.map((text) => text.replaceAll("\n", "\\n").replaceAll("\t", "\\t")).join("\n");
  const NUMBER = /^[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?$/i;

  const GROUPS = /^[+-]?\d{1,3}(,\d{3})+$/;

  /** Return the number that a text spells, with a point or a comma; NaN where it spells none. */
  function asNumber(field, text) {
    const spelled = field.kind === "whole" && GROUPS.test(text.trim()) ? text.replaceAll(",", "") : text.trim();
    return NUMBER.test(spelled) ? Number(spelled.replace(",", ".")) : NaN;
  }
  const isSame = (a, b) => JSON.stringify(a) === JSON.stringify(b);

  /** Return the range of a setting in words. */
  function rangeWords({ ge, gt, le }) {
    const shown = (value) => value.toLocaleString("en", { maximumSignificantDigits: 15 });
    const low = ge !== null ? `from ${shown(ge)}` : gt !== null ? `above ${shown(gt)}` : "";
    return [low, le !== null ? `to ${shown(le)}` : ""].filter(Boolean).join(" ");
  }

  /**
   * Return the settings of the page.
   *
   * fields: {name, kind, help, choices, ge, gt, le, section, unset, default, isOptional} of each;
   * kind is number, whole, flag, text or texts. onChange() is called after each change.
   */
  charrnn.makeSettings = function (root, chips, { fields, presets }, onChange) {
    const fieldOf = new Map(fields.map((field) => [field.name, field]));
    const names = [...BASIC, ...fields.map((field) => field.name).filter((name) => !BASIC.includes(name))];
    const values = new Map(); // those that were changed
    const inputs = new Map();
    const problems = new Map(); // what the form itself refuses
    let blamed = null; // the setting that the server refused

    build();

    function build() {
      const preset = element("div", { class: "segments", role: "group", "aria-label": "Presets" });
      for (const name of Object.keys(presets)) {
        const button = element("button", { type: "button", "data-preset": name }, name);
        button.addEventListener("click", () => settings.choosePreset(name));
        preset.append(button);
      }
      const rows = names.map((name) => [fieldOf.get(name), makeRow(fieldOf.get(name))]);
      root.append(preset, ...rows.slice(0, BASIC.length).map(([, row]) => row));
      const rest = rows.slice(BASIC.length);
      for (const [section, title] of Object.entries(SECTIONS)) {
        const own = rest.filter(([field]) => field.section === section).map(([, row]) => row);
        if (!own.length) continue;
        const count = element("span", { class: "count" });
        root.append(element("details", { "data-section": section },
          element("summary", {}, title, count), ...own));
      }
    }

    function makeRow(field) {
      const id = `set-${field.name}`;
      const input = makeInput(field, id);
      inputs.set(field.name, input);
      const isFlag = field.kind === "flag";
      const label = element("label", { for: id }, words(field.name));
      const control = element("div", { class: "control" });
      const slider = SLIDERS[field.name];
      if (slider) {
        const [min, max, step] = slider;
        const range = element("input", { type: "range", min, max, step, "aria-label": words(field.name), "data-slider": field.name });
        range.addEventListener("input", () => settings.set(field.name, Number(range.value)));
        control.append(range);
      }
      control.append(input);
      if (field.name === "seed") {
        const dice = element("button", { type: "button", id: "new-seed" }, "Another");
        dice.setAttribute("aria-label", "Choose another seed");
        dice.addEventListener("click", () => settings.set("seed", charrnn.randomSeed()));
        control.append(dice);
      }
      const help = element("p", { class: "help", id: `${id}-help` }, field.help, limits(field));
      const error = element("p", { class: "problem", id: `${id}-problem`, hidden: true });
      const row = element("div", { class: `setting ${isFlag ? "flag" : ""}`, "data-name": field.name });
      row.append(...(isFlag ? [control, label] : [label, control]), help, error);
      return row;
    }

    function limits(field) {
      const range = rangeWords(field);
      const initial = field.default === null ? (field.unset || "none") : Array.isArray(field.default) ? "" : String(field.default);
      const parts = [USUAL[field.name], range, initial && field.kind !== "flag" ? `default ${initial}` : ""].filter(Boolean);
      return element("span", { class: "limits" }, parts.join(", "));
    }

    function makeInput(field, id) {
      const common = { id, name: field.name, "aria-describedby": `${id}-help`, autocomplete: "off" };
      let input;
      if (field.choices.length) {
        input = element("select", common, ...field.choices.map((each) => element("option", { value: each }, each)));
      } else if (field.kind === "flag") {
        input = element("input", { ...common, type: "checkbox" });
      } else if (field.kind === "number" || field.kind === "whole") {
        // Not of type number: a browser drops the comma of 0,7 without a word.
        const isWhole = field.kind === "whole";
        input = element("input", {
          ...common, type: "text", spellcheck: "false", inputmode: isWhole ? "numeric" : "decimal",
          placeholder: field.unset || (field.isOptional ? "none" : ""),
        });
        input.addEventListener("keydown", (event) => {
          if (isWhole && (event.key === "ArrowUp" || event.key === "ArrowDown")) step(field, event);
        });
      } else {
        const isLines = field.kind === "texts" || field.name === "template";
        input = element(isLines ? "textarea" : "input", {
          ...common, rows: isLines ? 2 : null, spellcheck: "false", autocapitalize: "off",
          placeholder: field.kind === "texts" ? "one a line" : "none",
        });
      }
      input.addEventListener(input.tagName === "SELECT" || field.kind === "flag" ? "change" : "input", () => take(field));
      show(field, input);
      return input;
    }

    /** Let the arrow keys count, as they do in a field for numbers. */
    function step(field, event) {
      const value = asNumber(field, inputs.get(field.name).value);
      if (Number.isNaN(value) || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      settings.set(field.name, value + (event.key === "ArrowUp" ? 1 : -1));
    }

    /** Take what an input says. */
    function take(field) {
      const input = inputs.get(field.name);
      problems.delete(field.name);
      const problem = problemOf(field, input);
      if (problem) problems.set(field.name, problem);
      else store(field, read(field, input));
      showProblem(field.name, problem);
      changed();
    }

    function read(field, input) {
      if (field.kind === "flag") return input.checked;
      if (field.kind === "texts") return asTexts(input.value);
      if (input.value.trim() === "" && field.isOptional) return null;
      return field.kind === "number" || field.kind === "whole" ? asNumber(field, input.value) : input.value;
    }

    function problemOf(field, input) {
      if (field.kind !== "number" && field.kind !== "whole") return "";
      if (input.value.trim() === "") return field.isOptional ? "" : "Give a number.";
      const value = asNumber(field, input.value);
      return Number.isNaN(value) ? "This is not a number." : numberProblem(field, value);
    }

    function numberProblem(field, value) {
      const isOutside = !Number.isFinite(value)
        || (field.ge !== null && value < field.ge) || (field.gt !== null && value <= field.gt)
        || (field.le !== null && value > field.le);
      if (isOutside) return `It must be ${rangeWords(field)}.`;
      return field.kind === "whole" && !Number.isSafeInteger(value) ? "It must be a whole number." : "";
    }

    /** Return whether a value from outside is one that a setting can have. */
    function isValid(field, value) {
      if (value === null) return field.isOptional;
      if (field.kind === "flag") return typeof value === "boolean";
      if (field.kind === "texts") return Array.isArray(value) && value.every((each) => typeof each === "string" && each);
      if (field.kind === "text") return typeof value === "string" && (!field.choices.length || field.choices.includes(value));
      return typeof value === "number" && !numberProblem(field, value);
    }

    function store(field, value) {
      if (isSame(value, field.default)) values.delete(field.name);
      else values.set(field.name, value);
    }

    /** Write a setting's value into its input. */
    function show(field, input = inputs.get(field.name)) {
      const value = values.has(field.name) ? values.get(field.name) : field.default;
      if (field.kind === "flag") input.checked = value;
      else if (field.kind === "texts") input.value = asLines(value);
      else input.value = value ?? "";
    }

    function showProblem(name, problem) {
      const input = inputs.get(name);
      const place = document.getElementById(`set-${name}-problem`);
      place.textContent = problem;
      place.hidden = !problem;
      input.setAttribute("aria-invalid", problem ? "true" : "false");
      input.setAttribute("aria-describedby", `set-${name}-help${problem ? ` set-${name}-problem` : ""}`);
    }

    function changed() {
      for (const slider of root.querySelectorAll("[data-slider]")) slider.value = settings.get(slider.dataset.slider);
      for (const details of root.querySelectorAll("details[data-section]")) {
        const own = [...values.keys()].filter((name) => fieldOf.get(name).section === details.dataset.section && !BASIC.includes(name));
        const count = details.querySelector(".count");
        count.hidden = !own.length;
        count.replaceChildren(String(own.length), element("span", { class: "unseen" }, " changed"));
      }
      for (const button of root.querySelectorAll("[data-preset]")) {
        button.setAttribute("aria-pressed", String(isPreset(button.dataset.preset)));
      }
      showChips();
      onChange();
    }

    const presetNames = () => new Set(Object.values(presets).flatMap((each) => Object.keys(each)));

    function isPreset(name) {
      return [...presetNames()].every((key) => isSame(settings.get(key), presets[name][key] ?? fieldOf.get(key).default));
    }

    /** Return what was changed, in the order of the form. */
    const inOrder = () => names.filter((name) => values.has(name)).map((name) => [name, values.get(name)]);

    function showChips() {
      const nodes = inOrder().map(([name, value]) => {
        const text = value === true ? words(name) : name === "unknown" ? UNKNOWN_WORDS[value] ?? value : `${words(name)} ${shortly(value)}`;
        const chip = element("button", { type: "button", class: "chip", title: "Back to its default" }, text, element("span", { "aria-hidden": "true" }, " ×"));
        chip.setAttribute("aria-label", `${text}: back to its default`);
        chip.addEventListener("click", () => settings.set(name, fieldOf.get(name).default));
        return chip;
      });
      if (nodes.length > 1) {
        const all = element("button", { type: "button", class: "quiet", id: "reset" }, "Reset all");
        all.addEventListener("click", () => settings.reset());
        nodes.push(all);
      }
      chips.replaceChildren(...nodes);
      chips.hidden = !nodes.length;
    }

    function shortly(value) {
      const text = charrnn.visible(Array.isArray(value) ? value.join(" · ") : String(value)).replaceAll("\n", "↵");
      return text.length > 24 ? `${text.slice(0, 23)}…` : text;
    }

    const settings = {
      /** Return the value of a setting. */
      get: (name) => (values.has(name) ? values.get(name) : fieldOf.get(name).default),

      /** Change a setting; return whether it can have this value. */
      set(name, value, isQuiet = false) {
        const field = fieldOf.get(name);
        if (!field || !isValid(field, value)) return false;
        store(field, value);
        problems.delete(name);
        show(field);
        showProblem(name, "");
        if (!isQuiet) changed();
        return true;
      },

      choosePreset(name) {
        for (const key of presetNames()) settings.set(key, presets[name][key] ?? fieldOf.get(key).default, true);
        changed();
      },

      reset() {
        for (const name of [...values.keys(), ...problems.keys()]) settings.set(name, fieldOf.get(name).default, true);
        changed();
      },

      /** Return what a request says: these always, as the server has other defaults, and what was changed. */
      request() {
        const sent = Object.fromEntries(inOrder());
        return { ...sent, temperature: settings.get("temperature"), length: settings.get("length") };
      },

      /** Take the most that the server allows of a setting, and say it at the setting. */
      limit(name, most) {
        const field = fieldOf.get(name);
        if (!Number.isFinite(most) || field.le === most) return;
        field.le = most;
        document.getElementById(`set-${name}-help`).querySelector(".limits").replaceWith(limits(field));
        if (inputs.get(name).value.trim() !== "") take(field);
      },

      /** Return the first setting whose input is refused, or null. */
      get problem() {
        return problems.keys().next().value ?? null;
      },

      /** Return a setting's name as a sentence begins with it. */
      nameOf: (name) => words(name).replace(/^./, (char) => char.toUpperCase()),

      /** Return why the form refuses a setting's input. */
      problemWords: (name) => problems.get(name),

      /** Show at its setting what the server said of it; return whether there is such a setting. */
      blame(name, message) {
        if (!inputs.has(name)) return false;
        blamed = name;
        showProblem(name, message);
        return true;
      },

      /** Take back what the server said of a setting. */
      forgive() {
        if (blamed && !problems.has(blamed)) showProblem(blamed, "");
        blamed = null;
      },

      /** Return a message with the names of settings as the form has them. */
      inWords: (message) => message.replace(/\b[a-z]+(?:_[a-z]+)+\b/g, (name) => (fieldOf.has(name) ? `“${words(name)}”` : name)),

      goTo(name) {
        const input = inputs.get(name);
        const details = input.closest("details");
        if (details) details.open = true;
        input.focus();
        input.scrollIntoView({ block: "center" });
      },

      /** Add what was changed to the parameters of an address. */
      write(parameters) {
        for (const [name, value] of inOrder()) {
          for (const each of Array.isArray(value) ? value : [value]) parameters.append(name, String(each));
        }
      },

      /** Return in words what is wrong with the settings of an address, where others may stand too. */
      faults(parameters, others) {
        const faults = [];
        for (const name of new Set(parameters.keys())) {
          if (fieldOf.has(name) || others.includes(name)) continue;
          const near = charrnn.nearest(name, [...names, ...others]);
          faults.push(`There is no setting “${charrnn.shown(name.slice(0, 40))}”${near ? `; did you mean “${near}”?` : "."}`);
        }
        return faults.slice(0, 4);
      },

      /** Take the settings of an address; return the names of those that it has no right value for. */
      read(parameters) {
        const wrong = [];
        for (const name of names) {
          const field = fieldOf.get(name);
          const texts = parameters.getAll(field.name);
          const isSet = texts.length && settings.set(field.name, parsed(field, texts), true);
          if (texts.length && !isSet) wrong.push(field.name);
          if (!isSet) settings.set(field.name, field.default, true);
        }
        changed();
        return wrong.map(words);
      },
    };

    function parsed(field, texts) {
      if (field.kind === "texts") return texts;
      const text = texts.at(-1);
      if (field.kind === "flag") return text === "true" ? true : text === "false" ? false : undefined;
      return field.kind === "text" ? text : asNumber(field, text);
    }

    changed();
    return settings;
  };
})((globalThis.charrnn ??= {}));
