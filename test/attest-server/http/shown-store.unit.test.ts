import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { latestOr } from '../../../attest-server/http/shown-store.ts';
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
      async () => [],
      { status: (node) => statusOf(node, verdictOf(), { evidenceDigest: latest }) },
    );
    assert.equal(await bundle('node-1', null), kept);
    assert.equal(await bundle('node-1', 'gone'), null);
    assert.deepEqual(asked, ['gone', 'kept']);
  });

  const first = `${'a1'.repeat(6)}${'0'.repeat(52)}`;
  const second = `${'a1'.repeat(6)}${'1'.repeat(52)}`;
  const log = 'b2'.repeat(32);
  const answers = latestOr(
    async (_node, digest) => (digest === first || digest === second ? kept : null),
    async (node, digits) => [first, second].filter((each) => node === 'node-1' && each.startsWith(digits)),
    {
      status: () => statusOf('node-1', verdictOf(), { evidenceDigest: second, parts: { boot: log } }),
    },
  );

  it('is found by the first digits of its digest, or by those of a part that its reasons name', async () => {
    for (const digits of [first, first.slice(0, 13), second.slice(0, 20), log.slice(0, 12), log])
      assert.equal(await answers('node-1', digits), kept, digits);
    assert.equal(await answers('node-1', 'c3'.repeat(6)), null);
    assert.equal(await answers('node-2', first.slice(0, 13)), null);
  });

  it('is not guessed where several begin so', async () => {
    await assert.rejects(answers('node-1', first.slice(0, 12)), { name: 'HttpProblem', status: 400 });
  });
});
