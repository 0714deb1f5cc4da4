// The official ConvexClient of npm, unchanged. Commands come as JSON lines on stdin, what happens goes out as JSON lines.
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const options = JSON.parse(process.argv[3] ?? "{}");
const client = new ConvexClient(process.argv[2], { webSocketConstructor: WebSocket, unsavedChangesWarning: false, ...options });

function show(value) {
  return JSON.stringify(value, (key, v) => {
    if (typeof v === "bigint") return { bigint: v.toString() };
    if (v instanceof ArrayBuffer) return { bytes: Buffer.from(v).toString("hex") };
    if (typeof v === "number" && !Number.isFinite(v)) return { number: String(v) };
    if (Object.is(v, -0)) return { number: "-0" };
    return v;
  });
}

function read(value) {
  if (Array.isArray(value)) return value.map(read);
  if (value === null || typeof value !== "object") return value;
  if ("bigint" in value) return BigInt(value.bigint);
  if ("bytes" in value) return new Uint8Array(Buffer.from(value.bytes, "hex")).buffer;
  if ("number" in value) return Number(value.number);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, read(v)]));
}

const say = (message) => process.stdout.write(show(message) + "\n");
const failure = (error) => ({ isConvexError: error instanceof ConvexError, data: error.data, message: error.message });
const reference = (path) => path.split(":").flatMap((part) => part.split("/")).reduce((at, name) => at[name], anyApi);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, what, path, args } = JSON.parse(line);
  if (what === "close") {
    await client.close();
    process.exit(0);
  } else if (what === "subscribe") {
    client.onUpdate(reference(path), read(args ?? {}), (value) => say({ id, value }), (error) => say({ id, error: failure(error) }));
  } else if (what === "state") {
    say({ id, value: client.connectionState() });
  } else if (what === "setAuth") {
    client.setAuth(async () => args.token, (authenticated) => say({ id, value: authenticated }));
  } else if (what === "setAuthFrom") {
    const fetchToken = async ({ forceRefreshToken }) => {
      const iat = Date.now() / 1000;
      const claims = { ...args.claims, iat, exp: iat + args.seconds };
      const answer = await fetch(args.issuer + "/token", { method: "POST", body: JSON.stringify({ claims, header: {} }) });
      say({ id, forced: forceRefreshToken });
      return args.stale && !forceRefreshToken ? "stale.to.ken" : (await answer.json()).token;
    };
    client.setAuth(fetchToken, (authenticated) => say({ id, value: authenticated }));
  } else if (what === "setAdminAuth") {
    client.setAdminAuth(args.key, args.identity);
    say({ id, value: null });
  } else if (what === "clearAuth") {
    client.client.clearAuth();
    say({ id, value: null });
  } else {
    client[what](reference(path), read(args ?? {})).then((value) => say({ id, value }), (error) => say({ id, error: failure(error) }));
  }
}
