/**
 * Speaks as `assay-agent unlock` and `assay-agent cap` do, without TPM and server, so that a test decides what happens:
 * `/etc/assay/unlock.yaml` says it. Node.js runs it in the guest.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

interface Script {
  /** Hex; null: it closes without a byte. */
  readonly key: string | null;
  /** Of the answer at the earliest: the key also waits for the file `/run/answer`. */
  readonly afterSeconds: number;
  readonly doesCap: boolean;
}

const script: Script = JSON.parse(readFileSync('unlock.yaml', 'utf8'));
const [, , verb] = process.argv;

if (verb === 'cap') {
  console.log(script.doesCap ? 'assay-cap: capped' : 'assay-cap: another header');
  if (script.doesCap) execFileSync('systemd-notify', ['--ready']);
  else process.exitCode = 1;
} else {
  const names = process.env.LISTEN_FDNAMES?.split(':') ?? [];
  const descriptor = (name: string) => 3 + names.indexOf(name);
  const magic = Buffer.alloc(6);
  readSync(0, magic, 0, magic.length, 0);
  const rights = /^CapBnd:\s+(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  console.log(`assay-unlock: header ${magic.toString('hex')}, user ${process.getuid?.()}, rights ${rights}`);
  // systemd-cryptsetup closes its half at once.
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    console.log('assay-unlock: waits for the key');
    await sleep(script.afterSeconds * 1000);
    while (script.key !== null && !existsSync('/run/answer')) await sleep(100);
    socket.end(Buffer.from(script.key ?? '', 'hex'));
    server.close();
  });
  server.listen({ fd: descriptor('key') });
}
