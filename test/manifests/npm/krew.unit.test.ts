import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import { z } from 'zod';
import { addressIn, krewManifest } from '../../../manifests/npm/krew.ts';

/** What krew demands of a manifest: pkg/index/validation of kubernetes-sigs/krew. */
const plugin = z.strictObject({
  apiVersion: z.literal('krew.googlecontainertools.github.com/v1alpha2'),
  kind: z.literal('Plugin'),
  metadata: z.strictObject({ name: z.literal('assay') }),
  spec: z.strictObject({
    version: z.string().regex(/^v\d+\.\d+\.\d+$/),
    shortDescription: z.string().min(1).max(50),
    description: z.string(),
    caveats: z.string(),
    platforms: z
      .array(
        z.strictObject({
          selector: z.strictObject({ matchLabels: z.strictObject({ os: z.literal('linux') }) }),
          uri: z.url({ protocol: /^https$/ }),
          sha256: z.string().regex(/^[0-9a-f]{64}$/),
          files: z.array(z.strictObject({ from: z.string(), to: z.string() })).min(1),
          bin: z.string(),
        }),
      )
      .min(1),
  }),
});

describe('the manifest for krew', () => {
  it('has what krew demands, and the address and digest of the file', () => {
    const uri = addressIn('https://host.example/assay-0.3.0.tgz');
    const sha256 = 'c'.repeat(64);
    const text = krewManifest({ version: '0.3.0', description: 'Says: "yes" #1', uri, sha256 });
    const { spec } = plugin.parse(parse(text));
    assert.equal(spec.description, 'Says: "yes" #1');
    assert.deepEqual(
      spec.platforms.map((each) => [each.uri, each.sha256]),
      [[uri, sha256]],
    );
  });

  for (const address of [
    'http://host.example/a.tgz',
    'a.tgz',
    'https://me@host.example/a',
    'https://host.example/a#b',
  ])
    it(`is not made for ${address}`, () => {
      assert.throws(() => addressIn(address));
    });
});
