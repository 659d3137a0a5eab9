import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { auditActions } from '../../../attest-server/formats/audit.ts';

const page = join(import.meta.dirname, '..', '..', '..', 'docs', 'backup.md');

describe('the actions of the audit log', () => {
  it('are those of the documentation, each with what it tells', () => {
    const rows = readFileSync(page, 'utf8').matchAll(/^\| `([a-z._-]+)` \| (.+) \|$/gm);
    const documented = new Map([...rows].map(([, action = '', tells = '']) => [action, tells]));
    for (const [action, tells] of Object.entries(auditActions))
      assert.equal(documented.get(action), tells, action);
  });
});
