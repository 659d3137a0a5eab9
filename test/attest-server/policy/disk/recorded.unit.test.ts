import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { appraise } from '../../../../attest-server/policy/appraise.ts';
import { parsePolicy } from '../../../../attest-server/policy/file/policy-file.ts';
import { parseDiskPart } from '../../../../attest-server/protocol/disk.ts';
import { proofWith, recordedDisks, recordedPart } from './made-disk.ts';

const policy = parsePolicy(
  'apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: all\n    nodes: ["*"]\n    require: [disk]\n',
  'strict, but for the disk alone',
);

const rows = readFileSync(join(recordedDisks, 'EXPECTED.tsv'), 'utf8')
  .split('\n')
  .slice(1)
  .map((line) => line.split('\t'));

describe('a recorded disk', () => {
  for (const [folder = '', , codes = '', why] of rows.filter(([name = '']) => name !== ''))
    it(`${folder}: ${codes} (${why})`, async () => {
      const part = await recordedPart(folder);
      parseDiskPart(Buffer.from(JSON.stringify(part)));
      const { state, reasons } = appraise(proofWith(part), policy, { name: 'n' }, [], 0).verdict;
      const failing = reasons.filter((one) => one.aspect === 'disk' && one.severity === 'fail');
      const [, expected = '', warnings = ''] = /^([^[]*?) ?(?:\[(.*)\])?$/.exec(codes) ?? [];
      assert.equal(state, expected === '-' ? 'trusted' : 'untrusted');
      assert.deepEqual(
        failing.filter(({ code }) => !expected.split(', ').includes(code)).map(({ code }) => code),
        [],
      );
      assert.deepEqual(
        reasons.filter((one) => one.severity === 'warn').map(({ code }) => code),
        warnings === '' ? [] : warnings.split(', '),
      );
    });
});
