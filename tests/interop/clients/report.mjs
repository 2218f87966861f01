// What the TypeScript clients share: working the plan, and telling what came back.
import { readFileSync } from "node:fs";

async function call(client, [name, args]) {
  const result = await client.callTool({ name, arguments: args });
  return [!result.isError, result.structuredContent];
}

export async function main(connect) {
  const plan = JSON.parse(readFileSync(process.argv[2], "utf-8"));
  const told = {};
  for (const [name, server] of Object.entries(plan)) {
    const client = await connect(server);
    const tools = (await client.listTools()).tools.map((tool) => tool.name);
    const calls = {};
    for (const each of server.calls) calls[each[0]] = await call(client, each);
    told[name] = { tools, calls, refused: await call(client, server.refused) };
    await client.close();
  }
  process.stdout.write(JSON.stringify(told) + "\n", () => process.exit(0));
}
