// Colours with one meaning each, and charts as SVG. The light ramps are those of interpret/colors.py;
// the dark ones begin at the page's dark background, so that zero is neutral in both.
(function (charrnn) {
  "use strict";

  const PALETTES = {
    light: {
      paper: "#ffffff", ink: "#1f2328", pale: "#59636e", grid: "#e3e6ea", accent: "#0b4f8a",
      negative: ["#ffffff", "#c6dbf2", "#8ab6e2", "#3f87c6", "#0b4f8a"],
      positive: ["#ffffff", "#f3d4ab", "#e3a663", "#bc7028", "#773f00"],
      magnitude: ["#ffffff", "#d5e5da", "#9cc7ad", "#559d78", "#17603f"],
      curves: ["#0072b2", "#d55e00", "#009e73", "#000000", "#cc79a7", "#56b4e9", "#e69f00"],
    },
    dark: {
      paper: "#16181c", ink: "#e6e8eb", pale: "#a3abb5", grid: "#30353c", accent: "#8cc2f5",
      negative: ["#16181c", "#1b3a57", "#2b6299", "#5598d6", "#a9d1f6"],
      positive: ["#16181c", "#4d3215", "#86551b", "#c4873f", "#f2c58f"],
      magnitude: ["#16181c", "#1c3d2e", "#2b6b50", "#55a684", "#a9dcc3"],
      curves: ["#56b4e9", "#f08b4a", "#2fc79a", "#ffffff", "#e39ac5", "#a9dcf5", "#f5c65b"],
    },
  };
  const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2"];
  const NARROWEST = 300; // pixels of a chart in a small window, where letters keep their size
  const WIDEST = 640;
  const SIDES = 60; // of the window, beside a chart
  const MARGIN = { left: 68, right: 16, top: 14, bottom: 46 };

  const darkScheme = typeof matchMedia === "function" ? matchMedia("(prefers-color-scheme: dark)") : null;
  const isDark = () => darkScheme?.matches ?? false;

  const palette = () => (isDark() && !charrnn.isPrinting ? PALETTES.dark : PALETTES.light);

  const MAX_KNOWN = 4096; // colours whose figures are kept: a text repaints thousands of letters
  const channels = keep((color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)));

  /** Return a function of a colour that keeps what it found. */
  function keep(compute) {
    const known = new Map();
    return (color) => {
      if (!known.has(color)) {
        if (known.size === MAX_KNOWN) known.clear();
        known.set(color, compute(color));
      }
      return known.get(color);
    };
  }

  /** Return the colour at a share of a ramp, between 0 and 1; what is outside is cut. */
  function mix(ramp, share) {
    const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
    const low = Math.min(Math.floor(place), ramp.length - 2);
    const first = channels(ramp[low]);
    const second = channels(ramp[low + 1]);
    const rest = place - low;
    const hex = first.map((a, k) => roundHalfEven(a + (second[k] - a) * rest));
    return "#" + hex.map((value) => value.toString(16).padStart(2, "0")).join("");
  }

  /** Round as Python does, so that both write the same colours. */
  function roundHalfEven(value) {
    const low = Math.floor(value);
    const rest = value - low;
    if (rest === 0.5) return low % 2 ? low + 1 : low;
    return rest > 0.5 ? low + 1 : low;
  }

  /** Return the relative luminance of a colour, 0 to 1. */
  function luminance(color) {
    const linear = channels(color)
      .map((channel) => channel / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  }

  /** Return the contrast of two colours, 1 to 21, as WCAG 2 defines it. */
  function contrast(first, second) {
    const [low, high] = [luminance(first), luminance(second)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }

  charrnn.colors = {
    PALETTES,
    DASHES,
    palette,
    mix,
    contrast,
    /** Return the background of a value between −1 and 1. */
    signed: (value, colors = palette()) =>
      mix(value > 0 ? colors.positive : colors.negative, Math.abs(value)),
    /** Return the background of a share between 0 and 1. */
    magnitude: (share, colors = palette()) => mix(colors.magnitude, share),
    /** Return black or white, whichever is read more easily; "" where there is no background. */
    letter: keep((background) => {
      if (!background) return "";
      return contrast("#000000", background) >= contrast("#ffffff", background) ? "#000000" : "#ffffff";
    }),
  };

  /** Return an SVG element. Children that are strings become text. */
  charrnn.svg = function (tag, attributes = {}, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== "") node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };

  /** Return the places and names of round ticks of an axis {low, high, log}. */
  function roundTicks({ low, high, log }) {
    const ticks = [];
    if (log) {
      const first = Math.ceil(Math.log10(low) - 1e-9);
      const last = Math.floor(Math.log10(high) + 1e-9);
      const jump = Math.max(1, Math.trunc((last - first) / 6));
      for (let power = first; power <= last; power += jump) {
        ticks.push([10 ** power, charrnn.number(10 ** power)]);
      }
      return ticks;
    }
    const rough = (high - low) / 5;
    const unit = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((f) => f * unit).find((each) => each >= rough * 0.999);
    for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) {
      ticks.push([n * step, charrnn.number(n * step)]);
    }
    return ticks;
  }

  /** Return a number with at most four significant digits, with a real minus sign. */
  charrnn.number = function (value, digits = 4) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    const small = size !== 0 && (size < 1e-3 || size >= 1e6);
    const shown = small ? value.toExponential(1).replace(".0e", "e") : String(Number(value.toPrecision(digits)));
    return shown.replaceAll("-", "−");
  };

  /**
   * Return a chart as an SVG element.
   *
   * across, up: {name, low, high, log?, ticks?: [[value, name]]}. curves: [{points: [[x, y]], name,
   * dash?, color?}]. dots: [{point, name, chosen?}]. walls: [{value, name}] stand upright.
   */
  charrnn.chart = function (options) {
    const { title, across, up, curves = [], dots = [], walls = [] } = options;
    const width = Math.min(options.width ?? 640, Math.max(NARROWEST, (globalThis.innerWidth ?? WIDEST) - SIDES));
    const height = options.height ?? 280;
    const colors = palette();
    const svg = charrnn.svg;
    const area = {
      wide: width - MARGIN.left - MARGIN.right,
      tall: height - MARGIN.top - MARGIN.bottom,
    };
    const share = (axis, value) => {
      const cut = Math.min(Math.max(value, axis.low), axis.high);
      return axis.log
        ? Math.log(cut / axis.low) / Math.log(axis.high / axis.low)
        : (cut - axis.low) / (axis.high - axis.low || 1);
    };
    const x = (value) => (MARGIN.left + share(across, value) * area.wide).toFixed(1);
    const y = (value) => (height - MARGIN.bottom - share(up, value) * area.tall).toFixed(1);
    const words = (at, text, anchor, color = colors.pale, more = {}) =>
      svg("text", { x: at[0], y: at[1], "text-anchor": anchor, fill: color, ...more }, text);
    const root = svg("svg", {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": title,
      "font-family": "system-ui, sans-serif",
      "font-size": 12,
      class: "chart",
    });
    root.append(svg("title", {}, title));
    root.append(svg("rect", { width, height, fill: colors.paper }));
    for (const [value, name] of up.ticks ?? roundTicks(up)) {
      const line = { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) };
      root.append(svg("line", { ...line, stroke: colors.grid }));
      root.append(words([MARGIN.left - 8, Number(y(value)) + 4], name, "end"));
    }
    for (const [value, name] of across.ticks ?? roundTicks(across)) {
      root.append(words([x(value), height - MARGIN.bottom + 18], name, "middle"));
    }
    root.append(words([MARGIN.left + area.wide / 2, height - 8], across.name, "middle"));
    const middle = MARGIN.top + area.tall / 2;
    const turn = { transform: `rotate(-90 13 ${middle})` };
    root.append(words([13, middle], up.name, "middle", colors.pale, turn));
    const labels = []; // over the curves
    for (const wall of walls) {
      const line = { x1: x(wall.value), x2: x(wall.value), y1: y(up.low), y2: y(up.high) };
      root.append(svg("line", { ...line, stroke: colors.pale, "stroke-dasharray": "6 4" }));
      const isRight = share(across, wall.value) > 0.7;
      const at = [Number(x(wall.value)) + (isRight ? -6 : 6), MARGIN.top + 12];
      const halo = { stroke: colors.paper, "stroke-width": 4, "paint-order": "stroke" };
      labels.push(words(at, wall.name, isRight ? "end" : "start", colors.ink, halo));
    }
    curves.forEach((curve, k) => {
      const drawn = curve.points.filter(([, value]) => Number.isFinite(value));
      const visible = drawn.filter(([a, b]) => (!across.log || a > 0) && (!up.log || b > 0));
      root.append(
        svg("polyline", {
          points: visible.map(([a, b]) => `${x(a)},${y(b)}`).join(" "),
          fill: "none",
          stroke: curve.color ?? colors.curves[k % colors.curves.length],
          "stroke-width": curve.wide ?? 2,
          "stroke-dasharray": curve.dash ?? DASHES[k % DASHES.length],
        }),
      );
    });
    if (curves.length > 1) root.append(...legend(curves, width, colors));
    for (const dot of dots) {
      const color = dot.chosen ? colors.ink : (dot.color ?? colors.curves[0]);
      const circle = svg("circle", {
        cx: x(dot.point[0]), cy: y(dot.point[1]), r: dot.chosen ? 6 : 3.5, fill: color,
        "fill-opacity": dot.chosen ? 1 : 0.55,
      });
      circle.append(svg("title", {}, dot.name));
      root.append(circle);
    }
    root.append(...labels);
    return root;
  };

  /** Return the lines of a legend at the top right. */
  function legend(curves, width, colors) {
    return curves.flatMap((curve, k) => {
      const y = MARGIN.top + 12 + 17 * k;
      const right = width - MARGIN.right - 4;
      return [
        charrnn.svg("line", {
          x1: right - 28, x2: right, y1: y - 4, y2: y - 4, "stroke-width": 2,
          stroke: curve.color ?? colors.curves[k % colors.curves.length],
          "stroke-dasharray": curve.dash ?? DASHES[k % DASHES.length],
        }),
        charrnn.svg(
          "text",
          { x: right - 34, y, "text-anchor": "end", fill: colors.ink },
          curve.name,
        ),
      ];
    });
  }
})((globalThis.charrnn ??= {}));
