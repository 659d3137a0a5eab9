import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { findDaemons } from '../../../agent/collectors/ssh-daemons.ts';

describe('the SSH daemons of a host', () => {
  const listening = [{ address: '0.0.0.0', port: 2222, inode: '77' }];
  let root = '';

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'assay-daemons-'));
    writeFileSync(join(root, 'tcp'), '');
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** A process of the host's network that holds this socket. */
  function run(id: number, name: string, inode: number): void {
    const folder = join(root, 'proc', String(id));
    for (const each of ['fd', 'net']) mkdirSync(join(folder, each), { recursive: true });
    writeFileSync(join(folder, 'comm'), `${name}\n`);
    linkSync(join(root, 'tcp'), join(folder, 'net/tcp'));
    symlinkSync(`socket:[${inode}]`, join(folder, 'fd/3'));
  }

  it('are seen from the moment on in which one takes a socket that listened before', async () => {
    run(1, 'systemd', 77);
    assert.deepEqual(await findDaemons(root, listening), []);
    run(900, 'sshd', 77);
    assert.deepEqual(await findDaemons(root, listening), [{ name: 'sshd', sockets: ['0.0.0.0:2222'] }]);
  });
});
