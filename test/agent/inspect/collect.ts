import { pino } from 'pino';
import { collectors } from '../../../agent/collectors/list.ts';
import { nodeReader } from '../../../agent/node-reader.ts';

/**
 * What the agent of this user reads below a root: run as a program of its own, by the user that an agent has.
 * Arguments: root, digests of files, paths that a policy protects.
 */
const [sysroot = '/', files = '', paths = ''] = process.argv.slice(2);
const list = collectors(null);
const read = nodeReader(list, sysroot, pino({ level: 'silent' }));
const asked = {
  parts: list.flatMap(({ part }) => part ?? []),
  supplements:
    files === '' ? {} : { loaderFiles: { of: files.split(','), from: 0, bootId: null, most: 2 ** 23 } },
  paths: paths.split(',').filter((path) => path !== ''),
};
// Why there is nothing of what grows is said with the next answer.
await (await read(asked)).readGrowing();
const collected = await read(asked);
const parts = new Map([...collected.parts, ...(await collected.readGrowing()).parts]);
process.stdout.write(
  JSON.stringify({
    uid: process.getuid?.(),
    collectors: list.map(({ name, part }) => ({ name, part })),
    parts: [...parts.keys()],
    host: collected.host,
    files: (collected.supplements?.get('loaderFiles')?.pieces ?? []).map((file) => file.toString('latin1')),
    unavailable: collected.unavailable,
  }),
);
