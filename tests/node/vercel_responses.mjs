// Talks with models through Vercel's AI SDK at its defaults, over the Responses API, as stdin says (a
// JSON object: { baseURL, apiKey, conversations: [{ model, prompts, streamed }] }), and prints, for
// each conversation, what was said to each prompt, the tools that were called, and how many references
// to items the last request had.
//
// The tool `get_weather` is offered throughout; its result leads to the next step.

import { text } from "node:stream/consumers";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, isStepCount, jsonSchema, streamText, tool } from "ai";

const given = JSON.parse(await text(process.stdin));
let references = 0;
const openai = createOpenAI({
  baseURL: given.baseURL,
  apiKey: given.apiKey,
  fetch: (url, init) => {
    const { input } = JSON.parse(init.body);
    references = input.filter((item) => item.type === "item_reference").length;
    return fetch(url, init);
  },
});
const getWeather = tool({
  description: "The weather in a city.",
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  }),
  execute: async () => "Sunny, 21 degrees.",
});

async function answered(model, messages, streamed) {
  const asked = {
    model: openai.responses(model),
    messages,
    tools: { get_weather: getWeather },
    stopWhen: isStepCount(3),
    maxRetries: 0,
  };
  if (!streamed) return generateText(asked);
  const failures = [];
  const result = streamText({ ...asked, onError: ({ error }) => failures.push(error) });
  await result.consumeStream();
  if (failures.length) throw failures[0];
  return result;
}

const outcomes = [];
for (const { model, prompts, streamed } of given.conversations) {
  const messages = [];
  const said = [];
  for (const prompt of prompts) {
    messages.push({ role: "user", content: prompt });
    const result = await answered(model, messages, streamed);
    const steps = await result.steps;
    messages.push(...(await result.responseMessages));
    said.push({
      text: await result.text,
      references,
      calls: steps.flatMap((step) => step.toolCalls.map((call) => call.toolName)),
    });
  }
  outcomes.push(said);
}
console.log(JSON.stringify(outcomes));
