// The TypeScript SDK 2.x; the era it speaks is the second argument: auto or legacy.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { main } from "./report.mjs";

const mode = process.argv[3];

await main(async (server) => {
  const client = new Client({ name: "interop", version: "1" }, { versionNegotiation: { mode } });
  const transport = server.url
    ? new StreamableHTTPClientTransport(new URL(server.url))
    : new StdioClientTransport({ command: server.command, args: server.args, env: server.env });
  await client.connect(transport);
  return client;
});
