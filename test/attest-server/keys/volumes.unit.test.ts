import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { madeNode } from '../store/made-records.ts';
import { openMadeVolumes } from './made-volumes.ts';

describe('a volume that is made while keys are wrapped anew', () => {
  it('is wrapped by the newest key once that is said of all', async () => {
    await using made = await openMadeVolumes(() => 1000);
    const { volumes, wrappingKeyFile, groups } = made;
    const node = madeNode('node-1');
    const group = groups[0] ?? assert.fail();
    await made.enrol(node);
    const wanted = { node, group, path: '/var/lib/docker', by: 'token:test' };
    assert.ok(await volumes.add({ ...wanted, name: 'first' }));

    const earlier = readFileSync(wrappingKeyFile, 'utf8');
    chmodSync(wrappingKeyFile, 0o600);
    writeFileSync(wrappingKeyFile, `${randomBytes(32).toString('base64')}\n${earlier}`);
    const added = volumes.add({ ...wanted, name: 'second', path: '/srv' });
    await volumes.rewrap();
    const shown = await volumes.wrappingKeys();
    assert.ok(await added);
    assert.deepEqual(
      [shown, await volumes.wrappingKeys()].map((keys) => keys?.map(({ volumes: count }) => count)),
      [
        [2, 0],
        [2, 0],
      ],
    );
  });
});
