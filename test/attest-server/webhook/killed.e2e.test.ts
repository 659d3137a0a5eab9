import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'mocha';
import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { genesis } from '../../../attest-server/formats/audit.ts';
import { migrate } from '../../../attest-server/store/sqlite/migrations.ts';
import { madeEvent } from '../store/made-records.ts';
import { Receiver } from './receiver.ts';
import { ToldStore, until } from './told-store.ts';

const program = join(import.meta.dirname, 'telling-server.ts');

describe('a server that is killed while it tells its webhook', () => {
  it('loses no event, and tells the one under way again under the same id', async function () {
    this.timeout(120_000);
    await using receiver = await Receiver.open();
    await using told = new ToldStore();
    const url = `http://127.0.0.1:${receiver.port}/`;
    const path = join(told.folder, 'state', 'assay.db');
    receiver.answers(() => (receiver.received.length >= 4 ? 'hang' : 204));
    const child = spawn(process.execPath, [program, path, told.secretFile, url], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const closed = once(child, 'close');
    await receiver.until(4);
    child.kill('SIGKILL');
    await closed;
    receiver.answers(204);
    await told.open(url);
    const written = (await told.actions()).length;
    assert(written >= 4);
    await receiver.until(1 + written);
    // The fourth one came to no answer.
    const by = receiver.received.map(({ message }) => message.by);
    const everyone = Array.from({ length: written }, (_, count) => `token:${count}`);
    assert.deepEqual(by.slice(0, 4), everyone.slice(0, 4));
    assert.equal(new Set(receiver.ids).size, written);
    assert.deepEqual([...new Set(by)], everyone);
    assert.equal(receiver.ids[4], receiver.ids[3]);
  });

  it('goes on from where the program before it was, whose database it has just upgraded', async function () {
    this.timeout(120_000);
    await using receiver = await Receiver.open();
    await using told = new ToldStore();
    const url = `http://127.0.0.1:${receiver.port}/`;
    const path = join(told.folder, 'state', 'assay.db');
    const earlier = ['earlier:1', 'earlier:2', 'earlier:3', 'earlier:4'];
    writeAsBefore(path, earlier, 2);
    receiver.answers(() => (receiver.received.length >= 2 ? 'hang' : 204));
    const child = spawn(process.execPath, [program, path, told.secretFile, url], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const closed = once(child, 'close');
    await receiver.until(2);
    child.kill('SIGKILL');
    await closed;
    receiver.answers(204);
    await told.open(url);
    const written = (await told.actions()).length - earlier.length;
    await receiver.until(3 + written);
    await until(() => told.webhook?.told?.shown().waiting === 0);
    // The second one came to no answer.
    assert.deepEqual(
      receiver.received.map(({ message }) => message.by),
      ['earlier:3', 'earlier:4', 'earlier:4', ...Array.from({ length: written }, (_, n) => `token:${n}`)],
    );
    assert.equal(receiver.ids[2], receiver.ids[1]);
  });
});

/** As it was when the webhook alone had a position. */
function writeAsBefore(path: string, actors: readonly string[], position: number): void {
  mkdirSync(dirname(path), { mode: 0o700 });
  writeFileSync(path, '', { mode: 0o600 });
  const database = new DatabaseSync(path);
  migrate(database, 25);
  const insert = database.prepare(
    `insert into audit (seq, at, actor, action, subject, code, detail, prev, hash)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  let head = genesis;
  for (const [index, actor] of actors.entries()) {
    const event = madeEvent('cluster.pause', 'cluster');
    const entry = chainEntry(head, index + 1, { ...event, actor, at: Date.now() });
    const { seq, at, action, subject, code, detail, prev, hash } = entry;
    insert.run(seq, at, actor, action, subject, code, JSON.stringify(detail), prev, hash);
    head = hash;
  }
  database.prepare('insert into webhook_position (id, seq) values (1, ?)').run(position);
  database.close();
}
