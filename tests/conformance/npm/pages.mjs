// Paginated queries of the official ConvexClient of npm, unchanged: the page loading, splitting and journals of convex itself.
import { ConvexClient } from "convex/browser";
import { anyApi } from "convex/server";
import { ConvexError } from "convex/values";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const client = new ConvexClient(process.argv[2], { webSocketConstructor: WebSocket, unsavedChangesWarning: false });
const lists = new Map();

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const failure = (error) => ({ isConvexError: error instanceof ConvexError, data: error.data, message: error.message });
const reference = (path) => path.split(":").reduce((at, name) => at[name], anyApi);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, what, path, args } = JSON.parse(line);
  const failed = (error) => say({ id, error: failure(error) });
  if (what === "open") {
    const { count, ...rest } = args;
    lists.set(id, client.onPaginatedUpdate_experimental(reference(path), rest, { initialNumItems: count }, ({ results, status }) => say({ id, results, status }), failed));
  } else if (what === "more") {
    say({ id, value: lists.get(args.list).getCurrentValue().loadMore(args.count) });
  } else if (what === "subscribe") {
    client.onUpdate(reference(path), args, (value) => say({ id, value }), failed);
  } else if (what === "state") {
    say({ id, value: client.connectionState() });
  } else {
    client[what](reference(path), args).then((value) => say({ id, value }), failed);
  }
}
