// Read tokens with an exported ONNX graph in onnxruntime-web, one by one, with the states carried:
//
//   npm install onnxruntime-web && node onnx_web.js GRAPH IDS
//
// Run it where npm installed. IDS: a JSON list of tokens. Stdout gets {logits, seconds}: the logits
// after each token, and the time of all steps.
"use strict";

const { createRequire } = require("node:module");
const fs = require("node:fs");

async function main([path, text]) {
  const ort = createRequire(`${process.cwd()}/`)("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(fs.readFileSync(path));
  const names = session.inputNames.slice(1);
  const sizes = Object.fromEntries(session.inputMetadata.map(({ name, shape }) => [name, shape[1]]));
  let states = {};
  for (const name of names) {
    states[name] = new ort.Tensor("float32", new Float32Array(sizes[name]), [1, sizes[name]]);
  }
  const logits = [];
  const begun = performance.now();
  for (const token of JSON.parse(text)) {
    const ids = new ort.Tensor("int64", BigInt64Array.from([BigInt(token)]), [1, 1]);
    const found = await session.run({ ids, ...states });
    logits.push([...found.logits.data]);
    states = Object.fromEntries(names.map((name) => [name, found[`next_${name}`]]));
  }
  const seconds = (performance.now() - begun) / 1000;
  process.stdout.write(JSON.stringify({ logits, seconds }));
}

main(process.argv.slice(2));
