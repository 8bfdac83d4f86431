// What the page finds in recorded reports: where no network runs, and for its first choices.
(function (charrnn) {
  "use strict";

  /** Return the values (T) of a unit that the report of view text recorded, or null. */
  charrnn.recordedValues = function (model, unit) {
    const report = model.reports.text;
    const k = report && !report.is_diff ? report.units.indexOf(unit) : -1;
    return k >= 0 ? report.values[k].map((value) => value ?? NaN) : null;
  };

  /** Return the findings of the search for neurons, the strongest memory neurons first. */
  charrnn.findings = (model) => model.reports.neurons?.findings ?? [];

  /** Return {name, unit} of the units that follow a feature, memory neurons first. */
  charrnn.foundUnits = (model) =>
    charrnn
      .findings(model)
      .filter((finding) => /neuron$/.test(finding.verdict))
      .map((finding) => ({ name: finding.meaning, unit: finding.best.unit }));
})((globalThis.charrnn ??= {}));
