// The official ConvexHttpClient of npm, unchanged: answers two commands, "calls" and "again", with what came of them.
import { ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";
import { createInterface } from "node:readline";

const client = new ConvexHttpClient(process.argv[2]);
const { conform } = anyApi;

async function calls() {
  const out = {};
  out.added = await client.mutation(conform.add, { text: "from npm http" });
  out.list = (await client.query(conform.list, {})).map((document) => document.text);
  out.consistent = (await client.consistentQuery(conform.list, {})).length;
  const echoed = await client.query(conform.echo, { x: { big: 9007199254740993n, nan: NaN, raw: new Uint8Array([0, 255]).buffer } });
  out.big = echoed.big.toString();
  out.nan = Number.isNaN(echoed.nan);
  out.raw = Buffer.from(echoed.raw).toString("hex");
  try {
    await client.mutation(conform.refuse, { why: "http" });
  } catch (error) {
    out.error = { isConvexError: error instanceof ConvexError, data: error.data };
  }
  try {
    await client.action(conform.refuse_outside, { why: "http" });
  } catch (error) {
    out.acted = { isConvexError: error instanceof ConvexError, data: error.data };
  }
  try {
    await client.query(conform.missing, {});
  } catch (error) {
    out.missing = error.message;
  }
  return out;
}

async function again() {
  await client.mutation(conform.add, { text: "again" });
  return { list: (await client.query(conform.list, {})).map((document) => document.text) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, what } = JSON.parse(line);
  console.log(JSON.stringify({ id, value: await { calls, again }[what]() }));
}
