import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { needsTools } from '../manifests/kubernetes-tools.ts';
import { generators } from './list.ts';
import { outOfDate } from './out-of-date.ts';

const root = join(import.meta.dirname, '../..');

describe('what is generated', function () {
  this.timeout(60_000);

  for (const { name, needsHelm, make } of generators)
    it(`has ${name} as of today`, async function () {
      if (needsHelm) needsTools(this);
      const made = await make();
      assert.ok(made.size > 0);
      const files = outOfDate(root, made);
      assert.equal(files.length, 0, `${files.join(', ')} is out of date: npm run generate`);
    });

  it('is out of date where a file is another, is missing, or is no longer to be there', () => {
    const file = 'test/generated/generated.unit.test.ts';
    const made = new Map([
      [file, 'another'],
      ['test/generated/none', 'text'],
      ['test/generated/list.ts', null],
      ['test/generated/gone', null],
    ]);
    assert.deepEqual(outOfDate(root, made), [file, 'test/generated/none', 'test/generated/list.ts']);
  });
});
