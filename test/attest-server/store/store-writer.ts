import { writeSync } from 'node:fs';
import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { openStore } from '../../../attest-server/store/open.ts';
import { madeNode, madeRecord } from './made-records.ts';

/**
 * Writes verdicts of node-1 into the store at argv[2], from time argv[3] on, a few at once, until it is killed.
 * Prints the time of each verdict once the store has acknowledged it.
 */
const [, , path = '', from = ''] = process.argv;
const store = await openStore(path, { chain: chainEntry });
const node = madeNode('node-1');

for (let at = Number(from); ; at += 3) {
  await Promise.all(
    [at, at + 1, at + 2].map(async (time) => {
      await store.verdicts.recordChange(madeRecord(node, time));
      writeSync(1, `${time}\n`);
    }),
  );
}
