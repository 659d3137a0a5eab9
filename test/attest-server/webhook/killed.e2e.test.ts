import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'mocha';
import { Receiver } from './receiver.ts';
import { ToldStore } from './told-store.ts';

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
});
