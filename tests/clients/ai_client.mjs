// Vercel's AI SDK through its openai-compatible provider: text, reasoning, a tool loop.
import assert from "node:assert";
import {createOpenAICompatible} from "@ai-sdk/openai-compatible";
import {generateText, jsonSchema, stepCountIs, streamText, tool} from "ai";

const provider = createOpenAICompatible({name: "fathom", baseURL: `http://127.0.0.1:${process.argv[2]}/v1`, includeUsage: true});
const model = provider("local");
const plain = await generateText({model, prompt: "hi"});
assert.equal(plain.text, "Hello, here I am. 🙂 naïve 日本");
assert.equal(plain.reasoningText, "Nothing to do.");
let city;
const weather = tool({description: "Weather", inputSchema: jsonSchema({type: "object", properties: {city: {type: "string"}}}),
    execute: async (input) => { city = input.city; return "sunny"; }});
const loop = streamText({model, prompt: "weather", tools: {get_weather: weather}, stopWhen: stepCountIs(3)});
let text = "";
for await (const piece of loop.textStream) text += piece;
assert.equal(city, "Rome");
assert.ok(text.endsWith("Done: the file is written."), text);
assert.ok((await loop.usage).outputTokens > 0);
console.log("all well");
