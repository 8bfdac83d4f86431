// For node: let the script of an exported page write, always the likeliest token.
//
//   node - PAGE FIRST COUNT ROWS < run_page.js
//
// FIRST: the token that is read first. ROWS: of labels, as JSON. The ids written go to stdout as JSON.
"use strict";

const fs = require("node:fs");
const vm = require("node:vm");

const [path, first, count, rows] = process.argv.slice(2);
const page = fs.readFileSync(path, "utf8");
const part = (opening) => {
  const start = page.indexOf(opening) + opening.length;
  return page.slice(start, page.indexOf("</script>", start));
};
vm.runInThisContext(part('<script id="code">'));
const charrnn = globalThis.charrnn;
const model = JSON.parse(part('<script type="application/json" id="data">'));
const weights = part('<script type="text/plain" id="weights">').trim();
const decoded = charrnn.decodePage(model, weights);
const network = charrnn.openPageNetwork(model, decoded, JSON.parse(rows));
let state = network.advance(Number(first), network.initialState());
const ids = [];
while (ids.length < Number(count)) {
  ids.push(charrnn.chooseToken(network.logits(state), { temperature: 0 }, 0));
  state = network.advance(ids[ids.length - 1], state);
}
process.stdout.write(JSON.stringify(ids));
