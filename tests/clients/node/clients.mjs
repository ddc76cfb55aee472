// Vercel's AI SDK with its three providers for such a gateway.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { generateText, stepCountIs, streamText, tool } from "ai";
import fs from "node:fs";
import { z } from "zod";

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const apiKey = given.key;
const providers = {
  "@ai-sdk/openai": () => createOpenAI({ apiKey, baseURL: `${given.url}/v1` })(given.model),
  "@ai-sdk/openai, chat": () =>
    createOpenAI({ apiKey, baseURL: `${given.url}/v1` }).chat(given.model),
  "@ai-sdk/openai-compatible": () =>
    createOpenAICompatible({
      apiKey,
      baseURL: `${given.url}/v1`,
      name: "gateway",
      includeUsage: true,
    })(given.model),
  "@openrouter/ai-sdk-provider": () =>
    createOpenRouter({ apiKey, baseURL: `${given.url}/api/v1` })(given.model),
};
const model = providers[given.client]();
const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `rain in ${city}`,
});

const said = await generateText({ model, prompt: "hello", maxRetries: 0 });
const pieces = [];
let failure;
const streamed = streamText({
  model,
  prompt: "hello",
  maxRetries: 0,
  onError: ({ error }) => {
    failure = error;
  },
});
for await (const piece of streamed.textStream) pieces.push(piece);
if (failure) throw failure;
const used = await generateText({
  model,
  prompt: "what is the weather?",
  tools: { weather },
  stopWhen: stepCountIs(3),
  maxRetries: 0,
});
const tokens = said.usage.totalTokens;
process.stdout.write(
  JSON.stringify({ text: said.text, stream: pieces, tools: used.text, tokens }),
);
