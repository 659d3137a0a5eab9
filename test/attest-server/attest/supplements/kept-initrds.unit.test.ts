import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { imageReader } from '../../../../attest-server/attest/supplements/image-reader.ts';
import { KeptInitrds } from '../../../../attest-server/attest/supplements/kept-initrds.ts';
import type { Store } from '../../../../attest-server/store/open.ts';
import { madeInitrd } from '../../../../swtpm-fixtures/initrd.ts';
import { openMadeStore } from '../../store/made-store.ts';

describe('what is kept of initrds', () => {
  let store: Store;
  beforeEach(async () => {
    store = await openMadeStore(':memory:');
  });
  afterEach(() => store[Symbol.asyncDispose]());

  const opened = (mostBytes: number) =>
    new KeptInitrds({
      store: store.initrds,
      keepShared: (blob, ek, at) => store.verdicts.keepShared(blob, ek, at),
      mostBytes,
      now: () => 0,
    });

  async function readImage(text: string) {
    const reader = imageReader();
    await reader.push(madeInitrd({ init: Buffer.from(text) }));
    return reader.end();
  }

  it('counts once where it came twice, of nodes that measured it by different banks', async () => {
    const [one, other] = [await readImage('one'), await readImage('two')];
    const kept = opened(1024 * 1024);
    for (const { manifest, bytes } of [one, one, other])
      assert.equal(await kept.keep(manifest, bytes, 'ek'), true);
    assert.equal(kept.bytes, one.bytes.length + other.bytes.length);
    const { sha256, sha384, sha512 } = one.manifest.image;
    const restored = opened(0);
    await restored.restore();
    assert.equal(restored.bytes, kept.bytes);
    assert.deepEqual(
      (await store.initrds.all()).map(({ image }) => image).filter((image) => image.sha256 === sha256),
      [{ sha256, sha384, sha512 }],
    );
  });
});
