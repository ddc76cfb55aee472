// Makes the calls that stdin lists (a JSON array) with the official OpenAI SDK for Node, one after
// the other, and prints what came of each, in the same order.
//
// A call: { method, client?, params?, options? }, where `method` names one of METHODS and `client`
// and `options` are the SDK's own. An outcome: what the method gives, and `error` if it threw.

import { text } from "node:stream/consumers";
import OpenAI, { APIError } from "openai";

const METHODS = {
  async create(client, { params, options }, outcome) {
    const called = client.chat.completions.create(params, options);
    const { data, response, request_id: requestId } = await called.withResponse();
    outcome.headers = Object.fromEntries(response.headers);
    outcome.requestId = requestId;
    if (!params.stream) {
      outcome.answer = data;
      return;
    }
    outcome.chunks = [];
    for await (const chunk of data) outcome.chunks.push(chunk);
  },
  async collectStream(client, { params }, outcome) {
    const stream = client.chat.completions.stream(params);
    outcome.argumentDeltas = [];
    stream.on("tool_calls.function.arguments.delta", (event) => {
      outcome.argumentDeltas.push(event.arguments_delta);
    });
    outcome.answer = await stream.finalChatCompletion();
  },
  async listModels(client, _, outcome) {
    outcome.models = [];
    for await (const model of client.models.list()) outcome.models.push(model);
  },
  async retrieveModel(client, { params }, outcome) {
    outcome.model = await client.models.retrieve(params.model);
  },
  async embed(client, { params }, outcome) {
    outcome.answer = await client.embeddings.create(params);
  },
  async moderate(client, { params }, outcome) {
    outcome.answer = await client.moderations.create(params);
  },
};

async function outcomeOf(call) {
  const outcome = {};
  try {
    await METHODS[call.method](new OpenAI(call.client ?? {}), call, outcome);
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    outcome.error = {
      class: error.constructor.name,
      status: error.status,
      type: error.type,
      code: error.code,
      param: error.param,
      requestId: error.requestID,
      traceId: error.error?.metadata?.trace_id,
    };
  }
  return outcome;
}

const outcomes = [];
for (const call of JSON.parse(await text(process.stdin))) outcomes.push(await outcomeOf(call));
console.log(JSON.stringify(outcomes));
