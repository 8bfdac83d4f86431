// What the page finds in recorded reports, for a page without weights and for its first choices.
(function (charrnn) {
  "use strict";

  /** Return the values (T) of a unit that the report of view text recorded, or null. */
  charrnn.recordedValues = function (model, unit) {
    const report = model.reports.text;
    const k = report?.units?.findIndex?.((each) => nameOf(each) === unit) ?? -1;
    return k >= 0 ? (report.values?.[k] ?? report.units[k].values ?? null) : null;
  };

  /** Return the names of the units that view text was asked for. */
  charrnn.recordedUnits = (model) => (model.reports.text?.units ?? []).map(nameOf).filter(Boolean);

  /** Return {name, unit} of what the search for neurons found, the best first. */
  charrnn.foundUnits = function (model) {
    const rows = model.reports.neurons?.rows ?? model.reports.neurons?.findings ?? [];
    return rows
      .map((row) => ({ name: row.feature ?? row.name, unit: nameOf(row.unit) ?? row.unit, verdict: row.verdict }))
      .filter(({ unit, verdict }) => unit && verdict !== "not there");
  };

  const nameOf = (unit) => (typeof unit === "string" ? unit : (unit?.name ?? unit?.unit ?? null));
})((globalThis.charrnn ??= {}));
