import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { plainName } from '../../../attest-server/formats/reference.ts';
import { referenceNameFor } from '../../../attest-server/http/reference-name.ts';

const evidence = `01b23d${'0'.repeat(58)}`;

describe('a name for a reference of a boot', () => {
  for (const node of ['node-1', 'a', 'rack.7.example.org', `${'a'.repeat(46)}.${'b'.repeat(200)}`])
    it(`is one that a reference can have, of ${node.slice(0, 20)}`, () => {
      const name = referenceNameFor(node, '2026-11-26T20:26:54.123Z', evidence);
      assert.equal(plainName.parse(name), name);
      assert.match(name, /-20261126-01b23d$/);
      assert.ok(name.startsWith(node.slice(0, 40)));
    });
});
