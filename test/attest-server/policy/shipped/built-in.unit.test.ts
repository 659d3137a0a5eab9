import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { parse } from 'yaml';
import { z } from 'zod';
import { aspects } from '../../../../attest-server/policy/aspects.ts';
import { checkPolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { strictPolicy } from '../../../../attest-server/policy/shipped/built-in.ts';

const folder = join(import.meta.dirname, '../../../../attest-server/policy');
const published: unknown = JSON.parse(readFileSync(join(folder, 'file/policy.schema.json'), 'utf8'));

describe('each shipped policy', () => {
  const schema = z.fromJSONSchema(z.record(z.string(), z.unknown()).parse(published));
  for (const name of ['observe', 'strict'] as const) {
    const text = readFileSync(join(folder, 'shipped', `${name}.yaml`), 'utf8');
    it(`${name} can be used as it is, and is as its schema says`, () => {
      const { policy, warnings } = checkPolicy(text, `${name}.yaml`);
      assert.deepEqual([policy.name, warnings], [name, []]);
      assert.ok(schema.safeParse(parse(text)).success);
    });

    it(`${name} names the schema for editors`, () =>
      assert.match(text, /^# yaml-language-server: \$schema=\.\.\/file\/policy\.schema\.json$/m));
  }

  it('strict says itself what it requires, so that a copy of it requires the same', () => {
    const text = readFileSync(join(folder, 'shipped', 'strict.yaml'), 'utf8');
    const { require } = strictPolicy.groups[0] ?? {};
    assert.deepEqual(checkPolicy(text, 'copy.yaml').policy.groups[0]?.require, require);
  });

  it('strict requires every aspect but for what a machine must be made ready for', () => {
    const { require = [] } = strictPolicy.groups[0] ?? {};
    const left = aspects.filter(({ name }) => !require.includes(name)).map(({ name }) => name);
    assert.deepEqual([left, require.length], [['runtime'], aspects.length - 1]);
  });

  it('is more than the schema says of what it refuses', () =>
    assert.equal(
      schema.safeParse({ apiVersion: 'assay.dev/v1', kind: 'Policy', groups: [{}] }).success,
      false,
    ));
});

describe('each policy in the documents', () => {
  for (const name of ['docs/policy.md', 'docs/first-node.md']) {
    const text = readFileSync(join(folder, '../..', name), 'utf8');
    const blocks = [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
    const policies = blocks.filter((block) => block.includes('kind: Policy'));
    it(`of ${name} can be used`, () => {
      assert.equal(policies.length, 1);
      for (const policy of policies) assert.deepEqual(checkPolicy(policy, name).warnings, []);
    });
  }
});
