import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { nextStep } from '../../attest-server/policy/advice.ts';
import { reasonCodes } from '../../attest-server/wire/reasons.ts';
import { meanings } from './meanings.ts';

const root = join(import.meta.dirname, '../..');
const kept = readFileSync(join(root, 'docs/troubleshooting.md'), 'utf8');
/** They hold lists of codes, which say nothing of where one is found. */
const lists = /\/(reasons|advice|finding)\.ts$|\/(cli|http)\//;

describe('docs/troubleshooting.md', () => {
  it('sends nobody to a node where the code is about no node', () => {
    const aboutNoNode = reasonCodes.filter((code) => meanings[code][0] === 'server');
    assert.ok(aboutNoNode.includes('audit_rollback'));
    for (const code of [...aboutNoNode, 'role_denied', 'nonce_stale'] as const)
      assert.doesNotMatch(nextStep({ code }), /A proof failed|its agent and its TPM work/, code);
  });

  it('has every code once, by a heading or in the table of those that are not given', () => {
    const named = [...kept.matchAll(/^### (\w+)$|^\| `(\w+)` \| /gm)].map(
      ([, heading, row]) => heading ?? row,
    );
    assert.deepEqual(named.toSorted(), reasonCodes.toSorted());
  });

  it('calls those codes not given that no part of the product gives, and no others', () => {
    const source = globSync('{agent,attest-server}/**/*.ts', { cwd: root })
      .filter((file) => !/node_modules/.test(file) && !lists.test(`/${file}`))
      .map((file) => readFileSync(join(root, file), 'utf8'))
      .join('\n');
    const isGiven = (code: string) => source.includes(`'${code}'`) || source.includes(`${code}:`);
    assert.deepEqual(
      reasonCodes.filter((code) => !isGiven(code)),
      reasonCodes.filter((code) => meanings[code][0] === 'later'),
    );
  });

  it('says of each code what it means in one plain sentence or a few', () => {
    for (const code of reasonCodes) assert.match(meanings[code][1], /^(?:[A-Z]|nf_tables).{20,}[.]$/, code);
  });
});
