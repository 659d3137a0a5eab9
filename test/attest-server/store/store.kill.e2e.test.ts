import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { trials } from '../../trials.ts';
import { openMadeStore } from './made-store.ts';

const rounds = trials(2);
const writer = join(import.meta.dirname, 'store-writer.ts');
const everything = { limit: 100_000 };

/** What was acknowledged: in the order of the lines. */
interface Line {
  readonly kind: string;
  readonly node: string;
  readonly at: number;
}

describe('a server that is killed while it writes', () => {
  it('finds every change, the time of the last proof, and no more than happened', async function () {
    this.timeout(20_000 * rounds);
    const folder = mkdtempSync(join(tmpdir(), 'assay-kill-'));
    const path = join(folder, 'state', 'assay.db');
    try {
      await (await openMadeStore(path))[Symbol.asyncDispose]();
      const lines: Line[] = [];
      for (let round = 1; round <= rounds; round += 1) {
        lines.push(...(await writeUntilKilled(path, String(round), 1_900 + 157 * (round % 5))));
        await using store = await openMadeStore(path);
        await checkStore(store, lines);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** What the writer had acknowledged when it was killed, so many milliseconds after its first line. */
async function writeUntilKilled(path: string, round: string, afterMs: number): Promise<readonly Line[]> {
  const child = spawn(process.execPath, [writer, path, round], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output === '') setTimeout(() => child.kill('SIGKILL'), afterMs);
    output += text;
  });
  const [, signal] = await closed;
  assert.equal(signal, 'SIGKILL');
  // What follows the last line break was cut off.
  return output
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [kind = '', node = '', at = ''] = line.split(' ');
      return { kind, node, at: Number(at) };
    });
}

async function checkStore(store: Store, lines: readonly Line[]): Promise<void> {
  const entries = await store.audit.entries(everything);
  assert.equal(verifyChain(entries).ok, true);
  const byNode = Map.groupBy(lines, ({ node }) => node);
  let counted = 0;
  for (const [node, its] of byNode) {
    const history = await store.verdicts.history(node, everything);
    const times = history.map(({ at }) => at);
    const changes = its.filter(({ kind }) => kind === 'change').map(({ at }) => at);
    assert.ok(changes.length > 0);
    assert.deepEqual(
      changes.filter((at) => !times.includes(at)),
      [],
      'a change that was acknowledged is gone',
    );
    // A verdict is whole or absent: each row has its entry in the audit log and its evidence.
    const logged = entries.filter(({ action, subject }) => subject === node && action.startsWith('verdict'));
    assert.deepEqual(logged.map(({ at }) => at).sort(ascending), times.sort(ascending));
    for (const { evidenceDigest } of history)
      assert.ok(await store.evidence.read(evidenceDigest ?? '', node));

    const status = await store.verdicts.status(node);
    assert.ok(status?.verifiedAt != null && status.expiresAt !== null);
    assert.ok(await store.evidence.read(status.evidenceDigest ?? '', node), 'the latest evidence is gone');
    assert.equal(status.expiresAt, status.verifiedAt + 180_000);
    const last = its.at(-1)?.at ?? assert.fail();
    assert.ok(last - status.verifiedAt <= 1_000, `${last - status.verifiedAt} ms behind`);
    // Ahead of what was acknowledged is only a change that was on disk before anybody could be told.
    if (status.verifiedAt > last) assert.equal(status.verifiedAt, status.recordedAt);
    else assert.ok(its.some(({ at }) => at === status.verifiedAt));

    const repeats = history.reduce((sum, row) => sum + row.repeats, status.repeats);
    assert.ok(history.length + repeats <= its.length + 1, 'more is counted than happened');
    counted += repeats;
  }
  assert.ok(counted > 0);
}

function ascending(a: number, b: number): number {
  return a - b;
}
