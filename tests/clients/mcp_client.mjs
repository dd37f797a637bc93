// The official TypeScript client against a server.
//
//     mcp_client.mjs [--http URL | COMMAND ARG...]
//
// Ends with 0 and `done` where everything is as it should be.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

// The packages lie beside the working directory's node_modules, wherever this file is.
const require = createRequire(path.join(process.env.PACKAGES, "package.json"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = require("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { ElicitRequestSchema } = require("@modelcontextprotocol/sdk/types.js");

const [first, ...rest] = process.argv.slice(2);
const transport =
  first === "--http"
    ? new StreamableHTTPClientTransport(new URL(rest[0]))
    : new StdioClientTransport({ command: first, args: rest, env: process.env });
const client = new Client({ name: "typescript", version: "1" }, { capabilities: { elicitation: { form: {} } } });
const asked = [];
let answer = "decline";
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  asked.push(request.params.message);
  return answer === "accept" ? { action: "accept", content: {} } : { action: answer };
});
await client.connect(transport);

// Listing them first, the client checks each result against its tool's output schema.
const names = (await client.listTools()).tools.map((tool) => tool.name);
assert.deepEqual(names, ["exec_command", "write_stdin", "shell", "apply_patch", "kill", "read_output"]);
const call = async (name, args, options) =>
  (await client.callTool({ name, arguments: args }, undefined, options)).structuredContent;

const done = await call("shell", { command: ["sh", "-c", "echo out; touch /etc/no; exit 3"] });
assert.equal(done.exit_code, 3);
assert.equal(done.denials[0].target, "/etc/no");

// A call that is given up.
const giveUp = new AbortController();
let told = 0;
const given = call(
  "shell",
  { command: ["sh", "-c", "echo busy; sleep 1000"] },
  { signal: giveUp.signal, onprogress: () => (++told === 1 ? giveUp.abort() : undefined) },
);
await assert.rejects(given);
assert.ok(told >= 1);

const asks = { command: ["touch", "from-typescript"], sandbox_permissions: "workspace-write" };
assert.equal((await call("shell", asks)).outcome, "refused");
answer = "accept";
assert.equal((await call("shell", asks)).exit_code, 0);
assert.equal(asked.length, 2);

const begun = await call("exec_command", { cmd: "cat", tty: true, yield_time_ms: 250 });
let heard = (await call("write_stdin", { session_id: begun.session_id, chars: "hello\n" })).output.text;
while (heard.split("hello").length < 3) {
  heard += (await call("write_stdin", { session_id: begun.session_id, yield_time_ms: 250 })).output.text;
  await sleep(10);
}
assert.equal((await call("kill", { session_id: begun.session_id })).outcome, "cancelled");

const long = await call("exec_command", { cmd: "seq 100000" });
const { resources } = await client.listResources();
assert.deepEqual(resources.map((resource) => resource.uri), [long.spill.uri]);
const piece = await client.readResource({ uri: `${long.spill.uri}?line=70000&lines=1` });
assert.equal(piece.contents[0].text, "70000\n");

if (first === "--http") await transport.terminateSession();
await client.close();
console.log("done");
