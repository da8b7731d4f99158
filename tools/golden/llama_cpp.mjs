// Next-token distributions of llama.cpp, for record_logits.py. Needs the npm package node-llama-cpp.
//   node llama_cpp.mjs NODE_MODULES MODEL < sequences.json > first choices
// Reads a JSON array of token id sequences; writes, for each, the most likely next token at every position and, when
// FULL is set to a folder, all probabilities as raw F32 into FULL/llama-SEQUENCE.f32.
import {readFileSync, openSync, writeSync, closeSync} from "node:fs";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

const [, , modules, modelPath] = process.argv;
const {getLlama} = await import(pathToFileURL(join(modules, "node-llama-cpp/dist/index.js")).href);
const sequences = JSON.parse(readFileSync(0, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
const model = await llama.loadModel({modelPath});
const options = {temperature: 1, topK: 0, topP: 1, minP: 0};
const firsts = [];
for (const [s, ids] of sequences.entries()) {
    const context = await model.createContext({contextSize: ids.length + 8, batchSize: 512});
    const sequence = context.getSequence();
    const out = process.env.FULL ? openSync(join(process.env.FULL, `llama-${s}.f32`), "w") : -1;
    const first = [];
    // A few tokens at a time: each position's distribution is a map of the whole vocabulary.
    for (let i = 0; i < ids.length; i += 32) {
        const part = ids.slice(i, i + 32).map((id) => [id, {generateNext: {probabilities: true, options}}]);
        for (const {next} of await sequence.controlledEvaluate(part)) {
            const [id] = next.probabilities.keys(); // sorted, most likely first
            first.push(id);
            if (out >= 0) {
                const row = new Float32Array(next.probabilities.size);
                for (const [token, p] of next.probabilities) row[token] = p;
                writeSync(out, row);
            }
        }
    }
    if (out >= 0) closeSync(out);
    firsts.push(first);
    await context.dispose();
}
process.stdout.write(JSON.stringify(firsts) + "\n");
process.exit(0);
