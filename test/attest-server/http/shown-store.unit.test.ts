import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { latestOr } from '../../../attest-server/http/shown-store.ts';
import { parseBundle } from '../../../attest-server/protocol/bundle.ts';
import { recordedBundle } from '../cli/offline/recorded-bundle.ts';
import { statusOf, verdictOf } from './api-fixture.ts';

const kept = parseBundle(JSON.stringify(recordedBundle('quote-vm-shim-grub')));

describe('the evidence of a node', () => {
  it('is the latest where none is named, also where a verdict came while that before was looked up', async () => {
    let latest = 'gone';
    const asked: string[] = [];
    const bundle = latestOr(
      async (_node, digest) => {
        asked.push(digest);
        latest = 'kept';
        return digest === 'kept' ? kept : null;
      },
      { status: (node) => statusOf(node, verdictOf(), { evidenceDigest: latest }) },
    );
    assert.equal(await bundle('node-1', null), kept);
    assert.equal(await bundle('node-1', 'gone'), null);
    assert.deepEqual(asked, ['gone', 'kept', 'gone']);
  });
});
