import assert from 'node:assert/strict';
import { mkdtempDisposableSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { auditReader } from '../../../attest-server/audit/reader.ts';
import type { AuditEntry } from '../../../attest-server/formats/audit.ts';
import { madeEvent, madeNode, madeRecord } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

const load = madeEvent('policy.load', 'server');

describe('a reader of the audit log', () => {
  it('gets each entry once and in order, a page at a time, however long the log is', async () => {
    await using store = await openMadeStore(':memory:');
    const node = madeNode('node-1');
    await store.enrolment.enrol(node, madeEvent('enrol', 'node-1'));
    await Promise.all(
      Array.from({ length: 1_200 }, (_, at) => store.verdicts.recordChange(madeRecord(node, at))),
    );
    const reader = auditReader(store.audit, 'webhook');
    const pages: number[] = [];
    const read: number[] = [];
    for (let page: readonly AuditEntry[]; ; ) {
      page = await reader.next(read.at(-1) ?? 0);
      if (page.length === 0) break;
      pages.push(page.length);
      read.push(...page.map(({ seq }) => seq));
    }
    assert.deepEqual(pages, [500, 500, 201]);
    assert.deepEqual(
      read,
      Array.from({ length: 1_201 }, (_, index) => index + 1),
    );
    assert.equal(await reader.head(), 1_201);
    assert.equal((await reader.entry(7))?.seq, 7);
    assert.equal(await reader.entry(1_202), null);
  });

  it('is woken by each commit, and what it reads then has what was committed', async () => {
    await using store = await openMadeStore(':memory:');
    const node = madeNode('node-1');
    const reader = auditReader(store.audit, 'webhook');
    const woken: Promise<number | undefined>[] = [];
    const end = reader.onMore(() => woken.push(reader.next(0).then((entries) => entries.at(-1)?.seq)));
    await store.audit.append(load);
    await store.enrolment.enrol(node, madeEvent('enrol', 'node-1'));
    await store.verdicts.recordChange(madeRecord(node, 2_000));
    assert.deepEqual(await Promise.all(woken), [1, 2, 3]);
    end();
    await store.audit.append(load);
    assert.equal(woken.length, 3);
  });

  it('goes on after the next start from where it was, until it is forgotten', async () => {
    using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-reader-'));
    const path = join(folder.path, 'state', 'assay.db');
    const positions: (number | null)[] = [];
    for (const next of [3, 4, null, null]) {
      await using store = await openMadeStore(path);
      const reader = auditReader(store.audit, 'webhook');
      positions.push(await reader.position());
      await reader.setPosition(next);
    }
    assert.deepEqual(positions, [null, 3, 4, null]);
  });
});
