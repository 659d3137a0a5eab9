import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { asTyped, type KeyMachine, keyMachine } from './key-machine.ts';
import { sectionOf } from './typed-page.ts';

const server = sectionOf('first-node', 'The server');
const [, policy = ''] = server.yaml;
const withFile = sectionOf('disk-keys', 'Set up the server');
const withCredential = sectionOf('disk-keys', 'In a credential that only this machine decrypts');

/** Each test goes on where the one before it ended. */
describe('the key that wraps those of disks, on a machine whose first process is systemd', function () {
  this.timeout(0);
  let machine: KeyMachine;
  before(async () => {
    const programs = await mkdtemp(join(tmpdir(), 'assay-vm-wrapping-'));
    try {
      await run(
        process.execPath,
        [join(import.meta.dirname, '../../swtpm-fixtures/set-up/build.ts'), '--no-check', '--out', programs],
        { timeoutMs: 300_000, maxOutputBytes: 1 << 20 },
      );
      machine = await keyMachine(programs);
    } finally {
      await rm(programs, { recursive: true });
    }
  });
  after(() => machine?.[Symbol.asyncDispose]());

  /** What an administrator writes, with the line of `keys` from a section of the page. */
  const configure = ({ yaml }: typeof withFile) =>
    machine.guest.shell(`cat >/etc/assay/policy.yaml <<'END'
${policy}END
cat >/etc/assay/server.yaml <<'END'
${server.yaml[0]}${yaml.find((block) => block.startsWith('keys: '))}END
`);
  const isStarted = () => machine.until('ss -Hltn | grep -q :8444');

  it('is a file of the server', async () => {
    await configure(withFile);
    const [install = ''] = server.typed('server#');
    const [make = ''] = withFile.typed('server#');
    await machine.guest.shell(asTyped(install.replace('systemctl daemon-reload', `${make} && $&`)));
    assert.equal(await machine.guest.shell('stat -c "%A %U" /etc/assay/wrapping-key'), '-r-------- assay\n');
    await isStarted();
  });

  it('is a credential that this TPM decrypts, in this boot and the next', async () => {
    await configure(withCredential);
    // The packages are there.
    const [, ...lines] = (withCredential.typed('server#')[0] ?? '').split('\n');
    await machine.guest.shell(asTyped(lines.join('\n')));
    await isStarted();
    await machine.reboot();
    await isStarted();
    assert.equal(
      await machine.guest.shell('ls -A /etc/assay'),
      'policy.yaml\nserver.yaml\nwrapping-key.cred\n',
    );
  });

  it('is not decrypted where the machine is in another state', async () => {
    assert.equal(await machine.guest.shell('systemctl is-active assay-server'), 'active\n');
    await machine.guest.shell(`tpm2_pcrextend 7:sha256=${'11'.repeat(32)}`);
    await assert.rejects(machine.guest.shell('systemctl restart assay-server'));
    await machine.guest.shell('systemctl stop assay-server');
    assert.match(await machine.guest.shell('journalctl -b -o cat -u assay-server'), /243\/CREDENTIALS/);
  });
});
