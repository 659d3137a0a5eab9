import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { z } from 'zod';
import { collectors } from '../../../agent/collectors/list.ts';
import { nodeReader } from '../../../agent/node-reader.ts';

/** What is read below a root: digests of files, and paths that a policy protects. */
const task = z.strictObject({ sysroot: z.string(), files: z.array(z.string()), paths: z.array(z.string()) });

/**
 * What the agent of this user reads: run as a program of its own, by the user that an agent has. Answers each line of
 * standard input with one, until there is no more.
 */
const list = collectors(null);
for await (const line of createInterface({ input: process.stdin })) {
  const { sysroot, files, paths } = task.parse(JSON.parse(line));
  const read = nodeReader(list, sysroot, pino({ level: 'silent' }));
  const asked = {
    parts: list.flatMap(({ part }) => part ?? []),
    supplements:
      files.length === 0 ? {} : { loaderFiles: { of: files, from: 0, bootId: null, most: 2 ** 23 } },
    paths,
  };
  // Why there is nothing of what grows is said with the next answer.
  await (await read(asked)).readGrowing();
  const collected = await read(asked);
  const parts = new Map([...collected.parts, ...(await collected.readGrowing()).parts]);
  const said = {
    uid: process.getuid?.(),
    collectors: list.map(({ name, part }) => ({ name, part })),
    parts: [...parts.keys()],
    host: collected.host,
    files: (collected.supplements?.get('loaderFiles')?.pieces ?? []).map((file) => file.toString('latin1')),
    unavailable: collected.unavailable,
  };
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
