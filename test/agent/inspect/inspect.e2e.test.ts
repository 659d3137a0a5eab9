import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { hash } from 'node:crypto';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, afterEach, beforeEach, describe, it } from 'mocha';
import { run, start, ToolError } from 'node-tpm2/run';
import { z } from 'zod';
import { bootLogPath } from '../../../agent/collectors/boot-log.ts';
import { imaLogPath } from '../../../agent/collectors/ima-log.ts';
import { ageFault, parseInspectedFile } from '../../../agent/inspect/inspected-file.ts';
import { limits } from '../../../attest-server/wire/limits.ts';
import { programs } from '../../programs.ts';
import { luksImage, MadeMachine } from './made-machine.ts';

const bounds = { timeoutMs: 60_000, maxOutputBytes: 1 << 22 };
const main = programs['assay-agent'];
/** As in a cluster: the user of the agent's image, and the group that inspect writes for. */
const agent = { uid: 65_532, group: 64_999 };
const sha256 = (text: string) => hash('sha256', text, 'hex');

const collected = z.object({
  uid: z.number(),
  collectors: z.array(z.object({ name: z.string(), part: z.string().nullable() })),
  parts: z.array(z.string()),
  host: z.record(z.string(), z.unknown()).nullable(),
  files: z.array(z.string()),
  unavailable: z.record(z.string(), z.string()),
});

describe('assay-agent inspect', () => {
  let machine: MadeMachine;
  beforeEach(async function () {
    if (process.getuid?.() !== 0) return this.skip();
    machine = await MadeMachine.make();
    // Whoever it is that reads goes through here.
    await chmod(machine.root, 0o755);
    await machine.put('etc/group', `root:x:0:\nassay:x:${agent.group}:\n`);
    await machine.put('proc/sys/kernel/random/boot_id', 'aaaaaaaa-8b86-4011-842d-00cf4fc964ff\n');
    await machine.put('proc/version', 'Linux version 6.12.48+deb13-amd64 (someone) #1 SMP\n');
    await machine.device('sda', '8:0');
    await luksImage(machine.at('dev/sda'));
    await chmod(machine.at('dev/sda'), 0o600);
    await machine.put('boot/grub/grub.cfg', 'set timeout=0\n', 0o600);
    await chmod(machine.at('boot/grub'), 0o700);
    await machine.put('boot/initrd.img-6.12', 'an initrd', 0o600);
  });
  afterEach(() => machine?.[Symbol.asyncDispose]());

  const inspect = (...args: readonly string[]) =>
    run(process.execPath, [main, 'inspect', '--sysroot', machine.root, ...args], bounds);
  /** Argv of `setpriv` for any program, by another user that has no right of root at all. */
  const argvAs = (uid: number, groups: readonly number[], ...command: readonly string[]) => [
    ...[
      `--reuid=${uid}`,
      `--regid=${uid}`,
      groups.length === 0 ? '--clear-groups' : `--groups=${groups.join()}`,
    ],
    ...['--bounding-set=-all', '--inh-caps=-all', '--no-new-privs', '--', ...command],
  ];
  const as = (...of: Parameters<typeof argvAs>) => run('setpriv', argvAs(...of), bounds);

  let reader: ChildProcess | undefined;
  let answers: AsyncIterator<string> | undefined;
  after(() => reader?.kill());
  /** By one program for all machines, which is the agent that has no rights. */
  const collect = async (files: readonly string[] = [], paths: readonly string[] = []) => {
    const program = [process.execPath, join(import.meta.dirname, 'collect.ts')];
    reader ??= start('setpriv', argvAs(agent.uid, [agent.group], ...program), {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { stdin, stdout } = reader;
    assert(stdin !== null && stdout !== null);
    answers ??= createInterface({ input: stdout })[Symbol.asyncIterator]();
    stdin.write(`${JSON.stringify({ sysroot: machine.root, files, paths })}\n`);
    return collected.parse(JSON.parse((await answers.next()).value));
  };

  it('writes both parts, with one line of log, and says what it saw', async () => {
    const { stdout, stderr } = await inspect('-o', 'json');
    const { disk, boot, out, readable } = JSON.parse(stdout.toString());
    assert.equal(out, machine.at('run/assay/inspect'));
    assert.equal(readable, true);
    assert.deepEqual(disk, { headers: 1, unreadable: 0, tables: 0, swaps: 0, residue: 0 });
    assert.deepEqual(boot, { files: 2, copies: 1, initrds: 1, unread: 0 });
    const lines = stderr.trim().split('\n');
    assert.equal(lines.length, 1);
    assert.equal(JSON.parse(lines[0] ?? '').code, 'inspected');
  });

  it('writes the part that is named, where it is told to', async () => {
    await inspect('boot', '--out', machine.at('elsewhere'));
    await readFile(machine.at('elsewhere/boot/index.json'));
    await assert.rejects(readFile(machine.at('elsewhere/disk.json')), { code: 'ENOENT' });
  });

  it('ends with 1 where a part cannot be written, and writes the other one', async () => {
    await inspect();
    const before = await readFile(machine.at('run/assay/inspect/disk.json'));
    await machine.put('proc/swaps', 'Filename\nnonsense\n');
    await rm(machine.at('run/assay/inspect/boot'), { recursive: true });
    await assert.rejects(inspect(), (error) => error instanceof ToolError && error.exitCode === 1);
    assert.deepEqual(await readFile(machine.at('run/assay/inspect/disk.json')), before);
    await readFile(machine.at('run/assay/inspect/boot/index.json'));
  });

  it('ends with 1 where somebody else may change the folder, and with 2 for a part that is none', async () => {
    await mkdir(machine.at('run/assay/inspect'), { recursive: true });
    await chmod(machine.at('run/assay/inspect'), 0o777);
    await assert.rejects(inspect(), (error) => error instanceof ToolError && error.exitCode === 1);
    await assert.rejects(inspect('memory'), (error) => error instanceof ToolError && error.exitCode === 2);
  });

  it('writes for the group that is named: that of root, for an agent in a pod', async () => {
    await inspect('--group', 'root');
    const path = machine.at('run/assay/inspect/disk.json');
    const read = (group: number) =>
      run(
        'setpriv',
        [
          ...[`--reuid=${agent.uid}`, `--regid=${group}`, '--clear-groups', '--bounding-set=-all'],
          ...['--inh-caps=-all', '--no-new-privs', 'cat', path],
        ],
        bounds,
      );
    parseInspectedFile((await read(0)).stdout);
    await assert.rejects(read(agent.group), ToolError);
    await assert.rejects(read(agent.uid), ToolError);
    await inspect('--group', 'nobody-has-this');
    await assert.rejects(read(0), ToolError);
  });

  it('writes for the group assay: others read nothing of it', async () => {
    await inspect();
    for (const file of ['disk.json', 'boot/index.json', `boot/${sha256('set timeout=0\n')}`]) {
      const path = machine.at(join('run/assay/inspect', file));
      await as(agent.uid, [agent.group], 'cat', path);
      await assert.rejects(as(agent.uid, [], 'cat', path), ToolError);
      await assert.rejects(as(65_533, [65_533], 'cat', path), ToolError);
      await assert.rejects(as(agent.uid, [agent.group], 'truncate', '-s', '0', path), ToolError);
    }
    await assert.rejects(as(agent.uid, [agent.group], 'touch', machine.at('run/assay/inspect/x')), ToolError);
  });

  it('is what an agent without rights takes GRUB’s files from, and its age counts', async () => {
    const wanted = sha256('set timeout=0\n');
    const without = await collect([wanted]);
    assert.deepEqual([without.uid, without.files], [agent.uid, []]);
    assert.match(without.unavailable.loaderFiles ?? '', /EACCES.*systemctl start assay-inspect/);
    await inspect();
    const { files, unavailable } = await collect([wanted]);
    assert.deepEqual(files, ['set timeout=0\n']);
    assert.equal(unavailable.loaderFiles, undefined);
    // What nobody has is no fault.
    assert.equal((await collect([sha256('x')])).unavailable.loaderFiles, undefined);
    // An initrd is known by its digest, and is not sent.
    assert.deepEqual((await collect([sha256('an initrd')])).files, []);

    const path = machine.at('run/assay/inspect/boot/index.json');
    const index = JSON.parse(await readFile(path, 'utf8'));
    for (const [at, said] of [
      [Date.now() - 7_300_000, /121 min old.*systemctl start assay-inspect/],
      [Date.now() + 3_600_000, /to come/],
    ] as const) {
      await writeFile(path, JSON.stringify({ ...index, at: new Date(at).toISOString() }));
      const late = await collect([wanted]);
      assert.deepEqual(late.files, []);
      assert.match(late.unavailable.loaderFiles ?? '', said);
    }
    await writeFile(path, '{"version":1');
    assert.match((await collect([wanted])).unavailable.loaderFiles ?? '', /not JSON/);
  });

  it('gives no copy that is another file', async () => {
    const wanted = sha256('set timeout=0\n');
    await inspect();
    await writeFile(machine.at(`run/assay/inspect/boot/${wanted}`), 'another\n');
    const { files, unavailable } = await collect([wanted]);
    assert.deepEqual(files, []);
    assert.match(unavailable.loaderFiles ?? '', /another file/);
  });

  it('leaves an agent without rights with each part, or its cause, on a machine whose files are root’s', async () => {
    await machine.put(bootLogPath, Buffer.alloc(64, 1), 0o600);
    await machine.put(imaLogPath, 'an entry', 0o600);
    await machine.put('proc/1/mountinfo', '1 1 8:1 / / rw - ext4 /dev/sda1 rw\n');
    await inspect();
    const { collectors, parts, host, unavailable, files } = await collect(
      [sha256('set timeout=0\n')],
      ['/var/lib/docker'],
    );
    const asked = collectors.filter(({ part }) => part !== null);
    assert(asked.length >= 3);
    for (const { name, part } of asked) {
      const hasCause = unavailable[name] !== undefined;
      // Systemd's log is not there at all, which is a fact and no fault; the inventory comes with a later answer.
      if (name !== 'userSpace' && name !== 'inventory')
        assert.notEqual(parts.includes(part ?? ''), hasCause, name);
    }
    assert.match(unavailable.boot ?? unavailable.bootLog ?? '', /EACCES/);
    assert.match(unavailable.ima ?? unavailable.imaLog ?? '', /EACCES/);
    assert.equal(host?.kernel, '6.12.48+deb13-amd64');
    assert.deepEqual(files, ['set timeout=0\n']);
  });

  it('writes what the collector of disks parses, of this moment', async () => {
    await inspect('disk');
    const { inspected, tables } = parseInspectedFile(
      await readFile(machine.at('run/assay/inspect/disk.json')),
    );
    assert.equal(inspected.headers.length, 1);
    assert.deepEqual(tables, {});
    const at = Date.parse(inspected.at);
    assert.equal(ageFault(inspected.at, Date.now()), null);
    assert.equal(ageFault(inspected.at, at + 7_200_000), null);
    assert.notEqual(ageFault(inspected.at, at + 7_200_001), null);
    assert.notEqual(ageFault(inspected.at, at - 300_001), null);
    assert(JSON.stringify(inspected).length < limits.parts.disk);
  });

  it('looks at the running machine', async () => {
    const out = machine.at('of-this-machine');
    const args = [main, '--log-level', 'silent', 'inspect', '--out', out];
    await run(process.execPath, args, bounds);
    const { inspected } = parseInspectedFile(await readFile(join(out, 'disk.json')));
    assert.equal(ageFault(inspected.at, Date.now()), null);
  });
});
