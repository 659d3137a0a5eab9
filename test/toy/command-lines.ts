import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { ioOf } from '../attest-server/cli/cli-fixture.ts';

/** The command line of the product in this folder: each line of stdin is one, as JSON, and so is what comes of it. */
const [copy = ''] = process.argv.slice(2);
const { runCli }: typeof import('../../attest-server/cli/program.ts') = await import(
  join(copy, 'attest-server/cli/program.ts')
);
const commandLine = z.object({ args: z.array(z.string()), env: z.record(z.string(), z.string()) });

for await (const line of createInterface({ input: process.stdin })) {
  const { args, env } = commandLine.parse(JSON.parse(line));
  let [out, err] = ['', ''];
  const io = ioOf({
    env,
    now: Date.now,
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  const code = await runCli(args, io);
  process.stdout.write(`${JSON.stringify({ code, out, err })}\n`);
}
