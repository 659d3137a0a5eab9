import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { chainEntry, verifyChain } from '../../../attest-server/audit/chain.ts';
import { openStore } from '../../../attest-server/store/open.ts';
import { madeEvent, madeNode } from './made-records.ts';

const rounds = 4;
const writer = join(import.meta.dirname, 'store-writer.ts');

describe('a server that is killed while it writes', () => {
  it('finds every acknowledged verdict again, whole, and its audit log unbroken', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-kill-'));
    const path = join(folder, 'state', 'assay.db');
    try {
      const first = await openStore(path, { chain: chainEntry });
      await first.enrolment.enrol(madeNode('node-1'), madeEvent('enrol', 'node-1'));
      await first[Symbol.asyncDispose]();
      const acknowledged: number[] = [];
      for (let round = 1; round <= rounds; round += 1) {
        acknowledged.push(...(await writeUntilKilled(path, round * 1_000_000, 20 + 13 * round)));
        await checkStore(path, acknowledged);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** The verdicts that the writer had acknowledged when it was killed: at least `count`. */
async function writeUntilKilled(path: string, from: number, count: number): Promise<readonly number[]> {
  const child = spawn(process.execPath, [writer, path, String(from)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const closed = once(child, 'close');
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (output.split('\n').length > count) child.kill('SIGKILL');
  });
  const [, signal] = await closed;
  assert.equal(signal, 'SIGKILL');
  // What follows the last line break is a number that was cut off.
  const lines = output.split('\n').slice(0, -1);
  assert.ok(lines.length >= count);
  return lines.map(Number);
}

async function checkStore(path: string, acknowledged: readonly number[]): Promise<void> {
  const store = await openStore(path, { chain: chainEntry });
  try {
    const history = await store.verdicts.history('node-1', { limit: 100_000 });
    const times = new Set(history.map(({ at }) => at));
    assert.deepEqual(
      acknowledged.filter((at) => !times.has(at)),
      [],
    );
    const entries = await store.audit.entries({ limit: 100_000 });
    const check = verifyChain(entries);
    assert.equal(check.ok, true);
    // A verdict is whole or absent: each row has its entry in the books and its evidence.
    const booked = entries.filter(({ action }) => action === 'verdict').map(({ at }) => at);
    assert.deepEqual(booked.sort(ascending), [...times].sort(ascending));
    for (const { evidenceDigest } of history)
      assert.ok(await store.evidence.read(evidenceDigest ?? '', 'node-1'));
    assert.equal((await store.verdicts.status('node-1'))?.verifiedAt, history[0]?.at);
  } finally {
    await store[Symbol.asyncDispose]();
  }
}

function ascending(a: number, b: number): number {
  return a - b;
}
