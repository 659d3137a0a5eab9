import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, start } from 'node-tpm2/run';
import { launchTpm, type SoftwareTpm } from '../../../swtpm-fixtures/tpm.ts';

const program = join(import.meta.dirname, 'tpm-user.ts');
const stranger = '65532';

describe('two programs of different users on one TPM', () => {
  let tpm: SoftwareTpm;
  let folder = '';
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    folder = await mkdtemp(join(tmpdir(), 'assay-two-users-'));
    tpm = await launchTpm();
    await Promise.all([chmod(folder, 0o777), chmod(tpm.dir, 0o755)]);
    await Promise.all([tpm.socket, `${tpm.socket}.ctrl`].map((path) => chmod(path, 0o666)));
    // Stands before the tool: says that its verb is under way, and goes on when it is told to.
    await mkdir(join(folder, 'slow'));
    const slow = `#!/bin/sh\necho began > ${folder}/fifo-began\nread -r _ < ${folder}/fifo-go\nexec /usr/bin/tpm2_getrandom "$@"\n`;
    await writeFile(join(folder, 'slow/tpm2_getrandom'), slow, { mode: 0o755 });
    for (const name of ['fifo-began', 'fifo-go']) {
      await run('mkfifo', [join(folder, name)], bounds);
      await chmod(join(folder, name), 0o666);
    }
  });
  after(async () => {
    await tpm?.stop();
    if (folder !== '') await rm(folder, { recursive: true, force: true });
  });
  const bounds = { timeoutMs: 20_000, maxOutputBytes: 4096 };

  const argumentsOf = (uid: string, timeoutMs: number, path = '/usr/bin:/bin') => [
    ...['--reuid', uid, '--regid', uid, '--clear-groups', '--', process.execPath, program],
    ...[tpm.tcti, String(timeoutMs), path],
  ];
  const use = async (uid: string, timeoutMs: number) =>
    (await run('setpriv', argumentsOf(uid, timeoutMs), bounds)).stdout.toString();

  for (const [holder, other] of [
    ['0', stranger],
    [stranger, '0'],
  ] as const)
    it(`exclude each other: while user ${holder} is in a verb, user ${other} waits`, async function () {
      this.timeout(120_000);
      const slow = start('setpriv', argumentsOf(holder, 15_000, `${folder}/slow:/usr/bin:/bin`), {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      slow.stdout?.on('data', (bytes: Buffer) => {
        said += bytes.toString();
      });
      const ended = once(slow, 'close');
      await run('cat', [join(folder, 'fifo-began')], bounds);
      assert.equal(await use(other, 300), 'lock_failed true\n');
      const waits = use(other, 10_000);
      await writeFile(join(folder, 'fifo-go'), 'go\n');
      assert.equal(await waits, 'done\n');
      await ended;
      assert.equal(said, 'done\n');
    });

  it('are kept out by nobody who may not list the folder of the socket (row 150)', async () => {
    await chmod(tpm.dir, 0o700);
    try {
      const flock = run(
        'setpriv',
        ['--reuid', stranger, '--regid', stranger, '--clear-groups', '--', 'flock', '-n', tpm.dir, 'true'],
        bounds,
      );
      await assert.rejects(flock, { code: 'failed' });
      assert.equal(await use('0', 5_000), 'done\n');
    } finally {
      await chmod(tpm.dir, 0o755);
    }
  });
});
