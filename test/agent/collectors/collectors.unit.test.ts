import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { bootLogPath, bootLogReader } from '../../../agent/collectors/boot-log.ts';
import { readBootId, readHostFacts } from '../../../agent/collectors/host.ts';
import { readLockdown } from '../../../agent/collectors/lockdown.ts';
import { readUserSpaceLog, userSpaceLogPath } from '../../../agent/collectors/user-space-log.ts';
import { parseFacts } from '../../../attest-server/protocol/facts.ts';

describe('the collectors', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-agent-root-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }

  it('read the boot log once a boot', async () => {
    const read = bootLogReader(root, 100);
    await put(bootLogPath, 'first');
    assert.equal((await read('a'))?.bytes.toString(), 'first');
    await put(bootLogPath, 'second');
    assert.equal((await read('a'))?.bytes.toString(), 'first');
    assert.equal((await read('b'))?.bytes.toString(), 'second');
  });

  it('find no log where it is missing or empty, until it is there', async () => {
    const read = bootLogReader(root, 100);
    assert.equal(await read('a'), null);
    await put(bootLogPath, '');
    assert.equal(await read('a'), null);
    await put(bootLogPath, 'late');
    assert.equal((await read('a'))?.bytes.toString(), 'late');
  });

  it('refuse a log beyond the bound, and take one at it', async () => {
    await put(bootLogPath, Buffer.alloc(100));
    assert.equal((await bootLogReader(root, 100)('a'))?.bytes.length, 100);
    await assert.rejects(bootLogReader(root, 99)('a'), RangeError);
  });

  it("read systemd's log anew each time, as far as its records are whole", async () => {
    assert.equal(await readUserSpaceLog(root, 100), null);
    await put(userSpaceLogPath, '\x1e{"pcr"');
    assert.equal(await readUserSpaceLog(root, 100), null);
    await put(userSpaceLogPath, '\x1e{}\n\x1e{"pcr"');
    assert.equal((await readUserSpaceLog(root, 100))?.toString(), '\x1e{}\n');
    await assert.rejects(readUserSpaceLog(root, 3), RangeError);
  });

  it('say the command line of the kernel as it is, or not at all', async () => {
    await put('proc/cmdline', ' root=/dev/vda  ro "a b" \n');
    assert.equal((await readHostFacts(root)).commandLine, ' root=/dev/vda  ro "a b" ');
    await put('proc/cmdline', `${'x'.repeat(4097)}\n`);
    assert.equal((await readHostFacts(root)).commandLine, undefined);
  });

  it('leave out what a machine does not say', async () => {
    assert.deepEqual(Object.keys(await readHostFacts(root)), ['arch']);
    await assert.rejects(readBootId(root));
  });

  it('say what the running machine is in facts that the server takes', async () => {
    const [bootId, host] = await Promise.all([readBootId('/'), readHostFacts('/')]);
    const facts = { purpose: 'attest', node: 'n', bootId, helloDigest: '0'.repeat(64), host };
    assert.equal(parseFacts(JSON.stringify(facts)).host?.kernel, host.kernel);
    assert(host.kernel && host.os && host.arch);
  });

  it('say whether another kernel may be loaded, as far as the machine says it', async () => {
    await put('proc/sys/kernel/kexec_load_disabled', '0\n');
    await put('sys/kernel/security/lockdown', 'none [integrity] confidentiality\n');
    const { kexecLoadDisabled, lockdown } = await readHostFacts(root);
    assert.deepEqual([kexecLoadDisabled, lockdown], [false, 'integrity']);
    await put('proc/sys/kernel/kexec_load_disabled', '1');
    await put('sys/kernel/security/lockdown', 'nonsense');
    assert.deepEqual(await readLockdown(root), { kexecLoadDisabled: true });
    await rm(join(root, 'proc'), { recursive: true });
    await rm(join(root, 'sys'), { recursive: true });
    assert.deepEqual(await readLockdown(root), {});
  });

  it('say the system UUID in lower case where it is one, and are not kept from the rest where it is not', async () => {
    const id = 'sys/class/dmi/id/product_uuid';
    await put(id, '4C4C4544-0042-3510-8052-B4C04F4D5132\n');
    assert.equal((await readHostFacts(root)).systemUuid, '4c4c4544-0042-3510-8052-b4c04f4d5132');
    await put(id, 'Not Settable');
    assert.deepEqual(Object.keys(await readHostFacts(root)), ['arch']);
    await rm(join(root, id));
    await mkdir(join(root, id));
    assert.deepEqual(Object.keys(await readHostFacts(root)), ['arch']);
  });

  it('take control characters out and cut what is too long', async () => {
    await put('sys/class/dmi/id/sys_vendor', `a\u0007b${'x'.repeat(100)}\n`);
    assert.equal((await readHostFacts(root)).manufacturer, `a b${'x'.repeat(61)}`);
  });
});
