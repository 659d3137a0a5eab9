import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { packageSbom } from '../../../manifests/npm/sbom.ts';
import { checkSpdx } from '../images/spdx-document.ts';

describe('the SBOM of the package', () => {
  const one = { path: 'node_modules/@scope/one', name: '@scope/one', version: '1.2.3', licence: 'MIT' };
  const two = { path: 'node_modules/two', name: 'two', version: '2.0.0', licence: 'ISC' };
  const document = packageSbom({
    version: '0.3.0',
    sha256: 'c'.repeat(64),
    epoch: 1_700_000_000,
    bundled: { 'agent/main.js': [two], 'attest-server/main.js': [two, one] },
    integrity: new Map([[one.path, `sha512-${Buffer.alloc(64, 7).toString('base64')}`]]),
  });

  it('is a document of SPDX 2.3 by its schema, whose names all lead somewhere', () => {
    checkSpdx(document);
  });

  it('has each package once, with its digest, and names the file that it is of', () => {
    const text = JSON.stringify(document);
    const named = [...text.matchAll(/pkg:[^"]*/g)].map(([purl]) => purl);
    assert.deepEqual(named, [
      `pkg:generic/assay@0.3.0?checksum=sha256:${'c'.repeat(64)}`,
      'pkg:npm/%40scope/one@1.2.3',
      'pkg:npm/two@2.0.0',
    ]);
    for (const part of ['07'.repeat(64), 'assay-0.3.0.tgz', '2023-11-14T22:13:20Z'])
      assert.ok(text.includes(part), part);
  });
});
