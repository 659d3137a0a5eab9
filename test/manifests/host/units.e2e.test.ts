import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { agentSettings } from '../../../agent/config.ts';
import { gateSettings } from '../../../agent/gate/config.ts';
import { openedExit } from '../../../agent/gate/exit-code.ts';
import { inspectedFor, inspectFolder } from '../../../agent/inspect/inspected-file.ts';
import { readers } from '../../../agent/inspect/out-folder.ts';
import { netfilterConfig } from '../../../agent/netfilter/config.ts';
import { brokerSettings } from '../../../agent/tpm-broker/config.ts';
import { unlockSettings } from '../../../agent/unlock/config.ts';
import { serverSettings } from '../../../attest-server/config.ts';
import { withEmpty } from '../../own-namespaces.ts';

const host = join(import.meta.dirname, '../../../manifests/host');
const bounds = { timeoutMs: 60_000, maxOutputBytes: 1 << 18, env: { SYSTEMD_COLORS: '0' } };

/** What the rights that a service has weigh by systemd's own list, times ten: from 100, all of them, to 0. */
const mostExposed = 20;

for (const [name, settings] of [
  ['assay-server', serverSettings],
  ['assay-agent', agentSettings],
] as const)
  describe(`the unit ${name}.service`, () => {
    let folder = '';
    let text = '';
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
      text = await readFile(join(host, `${name}.service`), 'utf8');
    });
    after(() => rm(folder, { recursive: true }));

    /** What systemd finds wrong with it on a machine on which the program is installed. */
    async function verify(unit: string): Promise<string> {
      const program = join(folder, name);
      await writeFile(program, '#!/bin/sh\n');
      await chmod(program, 0o755);
      const file = join(folder, `${name}.service`);
      await writeFile(file, unit.replace(`ExecStart=${name}`, `ExecStart=${program}`));
      return output('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', file);
    }

    it('is one that systemd takes without a word', async () => {
      assert.equal(await verify(text), '');
      // Else the test would show nothing.
      await assert.rejects(verify(text.replace('ProtectHome=yes', 'ProtectHome=perhaps')), ToolError);
    });

    it('gives its service few rights, by the list of systemd-analyze security', async () => {
      const rate = (most: number) =>
        output(
          'systemd-analyze',
          'security',
          '--no-pager',
          '--offline=true',
          `--threshold=${most}`,
          join(host, `${name}.service`),
        );
      await rate(mostExposed);
      await assert.rejects(rate(1), ToolError);
    });

    it('writes into the state folder that the program takes, and has the state of no other', () => {
      assert.equal(settings.stateDir.schema.parse(undefined), `/var/lib/${name.replace('-server', '')}`);
      assert.deepEqual(valuesOf(text, 'StateDirectory'), [name.replace('-server', '')]);
      assert.deepEqual(valuesOf(text, 'StateDirectoryMode'), ['0700']);
    });

    it('has a user that assay.sysusers.conf makes', async () => {
      const users = await readFile(join(host, 'assay.sysusers.conf'), 'utf8');
      const [user] = valuesOf(text, 'User');
      assert.ok(user !== undefined && user !== 'root');
      assert.match(users, new RegExp(`^u ${user} `, 'm'));
      await output('systemd-sysusers', '--dry-run', join(host, 'assay.sysusers.conf'));
    });
  });

describe('the units of all services', () => {
  it('leave no core dump, which would hold keys, tokens and secrets of the TPM', async () => {
    const names = (await readdir(host)).filter((name) => name.endsWith('.service'));
    assert.equal(names.length, 10);
    for (const name of names)
      assert.deepEqual(
        [name, valuesOf(await readFile(join(host, name), 'utf8'), 'LimitCORE')],
        [name, ['0']],
      );
    // Nor does a drop-in take that back.
    for (const name of (await readdir(host)).filter((each) => each.endsWith('.conf')))
      assert.deepEqual(valuesOf(await readFile(join(host, name), 'utf8'), 'LimitCORE'), []);
  });
});

describe('the unit assay-tpm-broker.service', () => {
  let folder = '';
  let text = '';
  let dropIn = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
    text = await readFile(join(host, 'assay-tpm-broker.service'), 'utf8');
    dropIn = await readFile(join(host, 'assay-agent.tpm-broker.conf'), 'utf8');
    await writeFile(join(folder, 'assay-agent'), '#!/bin/sh\n');
    await chmod(join(folder, 'assay-agent'), 0o755);
  });
  after(() => rm(folder, { recursive: true }));

  /** Installs the unit below that folder, for a machine on which the program is. */
  async function install(name: string, unit: string): Promise<string> {
    const file = join(folder, name);
    await writeFile(file, unit.replace('ExecStart=assay-agent', `ExecStart=${join(folder, 'assay-agent')}`));
    return file;
  }

  it('is one that systemd takes without a word', async () => {
    const verify = async (unit: string) =>
      output(
        ...['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no'],
        await install('assay-tpm-broker.service', unit),
      );
    assert.equal(await verify(text), '');
    await assert.rejects(verify(text.replace('PrivateNetwork=yes', 'PrivateNetwork=perhaps')), ToolError);
  });

  it('gives its service few rights, by the list of systemd-analyze security', async () => {
    const rate = (most: number) =>
      output(
        ...['systemd-analyze', 'security', '--no-pager', '--offline=true', `--threshold=${most}`],
        join(host, 'assay-tpm-broker.service'),
      );
    await rate(mostExposed);
    await assert.rejects(rate(1), ToolError);
  });

  it('has one device, no network and no capability', () => {
    assert.deepEqual(valuesOf(text, 'DeviceAllow'), ['/dev/tpmrm0 rw']);
    assert.deepEqual(valuesOf(text, 'DevicePolicy'), ['closed']);
    assert.deepEqual(valuesOf(text, 'PrivateNetwork'), ['yes']);
    assert.deepEqual(valuesOf(text, 'RestrictAddressFamilies'), ['AF_UNIX']);
    assert.deepEqual(valuesOf(text, 'CapabilityBoundingSet'), ['']);
  });

  it('makes the folder of the socket on which the program listens, for its group alone', async () => {
    assert.equal(brokerSettings.socket.schema.parse(undefined), '/run/assay/tpm.sock');
    assert.deepEqual(valuesOf(text, 'RuntimeDirectory'), ['assay']);
    assert.deepEqual(valuesOf(text, 'RuntimeDirectoryMode'), ['0750']);
    const [group] = valuesOf(text, 'Group');
    const users = await readFile(join(host, 'assay.sysusers.conf'), 'utf8');
    assert.match(users, new RegExp(`^m assay-agent ${group}$`, 'm'));
  });

  it('has a socket that the agent alone may open, and that is there without the folder of the other', async () => {
    const socket = await readFile(join(host, 'assay-tpm-broker.socket'), 'utf8');
    const verify = async (unit: string) => {
      await install('assay-tpm-broker.service', text);
      return output(
        ...['systemd-analyze', 'verify', '--man=no', '--recursive-errors=no'],
        await install('assay-tpm-broker.socket', unit),
      );
    };
    assert.equal(await verify(socket), '');
    await assert.rejects(verify(socket.replace('SocketMode=0600', 'SocketMode=perhaps')), ToolError);
    const agent = await readFile(join(host, 'assay-agent.service'), 'utf8');
    assert.deepEqual(valuesOf(socket, 'SocketUser'), valuesOf(agent, 'User'));
    assert.deepEqual(valuesOf(socket, 'SocketMode'), ['0600']);
    // The service takes its own away and makes it anew.
    assert.ok(!valuesOf(socket, 'ListenStream')[0]?.startsWith('/run/assay/'));
  });

  it('lets the agent go without device and capabilities, by a drop-in that systemd takes', async () => {
    const agent = await readFile(join(host, 'assay-agent.service'), 'utf8');
    await mkdir(join(folder, 'assay-agent.service.d'), { recursive: true });
    const name = 'assay-agent.service.d/tpm-broker.conf';
    await writeFile(join(folder, name), dropIn);
    const file = await install('assay-agent.service', agent);
    await install('assay-tpm-broker.service', text);
    const verify = (unit: string) =>
      output('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', unit);
    assert.equal(await verify(file), '');
    await writeFile(join(folder, name), `${dropIn}PrivateTmp=perhaps\n`);
    await assert.rejects(verify(file), ToolError);
    assert.deepEqual(valuesOf(dropIn, 'CapabilityBoundingSet'), ['']);
    assert.deepEqual(valuesOf(dropIn, 'AmbientCapabilities'), ['']);
    assert.deepEqual(valuesOf(dropIn, 'DeviceAllow'), ['']);
    const [own] = valuesOf(await readFile(join(host, 'assay-tpm-broker.socket'), 'utf8'), 'ListenStream');
    assert.deepEqual(valuesOf(dropIn, 'Environment'), [`${agentSettings.tpmBroker.variable}=${own}`]);
    assert.deepEqual(valuesOf(dropIn, 'SupplementaryGroups'), ['', 'assay']);
    // What the unit hides for its capability, the agent must see once it has none: protected paths lie there.
    for (const setting of ['TemporaryFileSystem', 'InaccessiblePaths']) {
      const [reset, ...hidden] = valuesOf(dropIn, setting);
      assert.equal(reset, '');
      assert.doesNotMatch(hidden.join(' '), /(^|[ -])\/(var|srv|mnt|media|data)\b/);
    }
  });
});

describe('the units that start assay-agent inspect', () => {
  const names = ['service', 'timer', 'path'].map((kind) => `assay-inspect.${kind}`);
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
    await writeFile(join(folder, 'assay-agent'), '#!/bin/sh\n', { mode: 0o755 });
    for (const name of names) {
      const text = await readFile(join(host, name), 'utf8');
      const installed = `ExecStart=${join(folder, 'assay-agent')}`;
      await writeFile(join(folder, name), text.replace('ExecStart=assay-agent', installed));
    }
  });
  after(() => rm(folder, { recursive: true }));
  const unit = (name: string) => readFile(join(host, name), 'utf8');

  it('are ones that systemd takes without a word', async () => {
    const files = names.map((name) => join(folder, name));
    const args = ['verify', '--man=no', '--recursive-errors=no'];
    assert.equal(await output('systemd-analyze', ...args, ...files), '');
  });

  it('give few rights to what runs as root, by the list of systemd-analyze security', async () => {
    const args = ['security', '--no-pager', '--offline=true', `--threshold=${mostExposed}`];
    await output('systemd-analyze', ...args, join(host, 'assay-inspect.service'));
  });

  it('write where the agent reads, for the group that assay.sysusers.conf gives it', async () => {
    const text = await unit('assay-inspect.service');
    assert.deepEqual(valuesOf(text, 'RuntimeDirectory'), [inspectFolder.replace('run/', '')]);
    assert.deepEqual(valuesOf(text, 'Group'), [readers]);
    assert.match(await unit('assay.sysusers.conf'), new RegExp(`^m assay-agent ${readers}$`, 'm'));
  });

  it('write for an agent in a pod, and let it ask the broker, by drop-ins that name the group root', async () => {
    for (const [name, command] of [
      ['assay-inspect', 'assay-agent inspect --group root'],
      ['assay-tpm-broker', null],
    ] as const) {
      const dropIn = await readFile(join(host, `${name}.pods.conf`), 'utf8');
      assert.deepEqual(valuesOf(dropIn, 'Group'), ['root']);
      assert.deepEqual(valuesOf(dropIn, 'ExecStart'), command === null ? [] : ['', command]);
      await mkdir(join(folder, `${name}.service.d`), { recursive: true });
      await writeFile(
        join(folder, `${name}.service.d/pods.conf`),
        dropIn.replace('=assay-agent', `=${join(folder, 'assay-agent')}`),
      );
    }
    const args = ['verify', '--man=no', '--recursive-errors=no', join(folder, 'assay-inspect.service')];
    assert.equal(await output('systemd-analyze', ...args), '');
  });

  it('start it more often than what it writes grows old, and after what changed last', async () => {
    const text = await unit('assay-inspect.service');
    assert.deepEqual(valuesOf(await unit('assay-inspect.timer'), 'OnUnitActiveSec'), ['1h']);
    assert.ok(3_600_000 < inspectedFor);
    // Not after it: what a path unit would fire for while its service runs is lost.
    assert.deepEqual(valuesOf(text, 'ExecStartPre'), ['sleep 2']);
    assert.deepEqual(valuesOf(text, 'ExecStartPost'), []);
    assert.deepEqual(valuesOf(await unit('assay-inspect.path'), 'PathChanged'), [
      '/dev/mapper',
      '/run/cryptsetup',
    ]);
  });
});

describe('the unit assay-netfilter.service', () => {
  const name = 'assay-netfilter.service';
  let folder = '';
  let text = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
    text = await readFile(join(host, name), 'utf8');
    await writeFile(join(folder, 'assay-agent'), '#!/bin/sh\n');
    await chmod(join(folder, 'assay-agent'), 0o755);
  });
  after(() => rm(folder, { recursive: true }));

  /** What systemd finds wrong with it on a machine on which the program is installed. */
  async function verify(file: string, unit: string): Promise<string> {
    const installed = unit.replace('ExecStart=assay-agent', `ExecStart=${join(folder, 'assay-agent')}`);
    await writeFile(join(folder, file), installed);
    return output('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', join(folder, file));
  }

  it('is one that systemd takes without a word', async () => {
    assert.equal(await verify(name, text), '');
    await assert.rejects(verify(name, text.replace('PrivateTmp=yes', 'PrivateTmp=perhaps')), ToolError);
  });

  it('gives its service few rights, by the list of systemd-analyze security', async () => {
    const rate = (most: number) =>
      output(
        ...['systemd-analyze', 'security', '--no-pager', '--offline=true', `--threshold=${most}`],
        join(host, name),
      );
    await rate(mostExposed);
    await assert.rejects(rate(1), ToolError);
  });

  it('has the two capabilities that reading takes, and no address to speak to', () => {
    assert.deepEqual(valuesOf(text, 'CapabilityBoundingSet'), ['CAP_NET_ADMIN CAP_NET_RAW']);
    assert.deepEqual(valuesOf(text, 'IPAddressDeny'), ['any']);
    assert.deepEqual(valuesOf(text, 'SocketBindDeny'), ['any']);
  });

  it('may call what setpriv calls for the monitor of nft, which is refused to others, and nothing else of root', async () => {
    assert.match(await output('systemd-analyze', 'syscall-filter', '@privileged'), /^ +capset$/m);
    const [, refused, allowed, ...more] = valuesOf(text, 'SystemCallFilter');
    assert.deepEqual([refused, allowed, more], ['~@privileged @resources', 'capset', []]);
    // With it, and without ambient ones, who calls that can only lose capabilities.
    assert.deepEqual(valuesOf(text, 'NoNewPrivileges'), ['yes']);
    assert.deepEqual(valuesOf(text, 'AmbientCapabilities'), ['']);
  });

  it('makes the folder of its socket for its group alone, and the agent asks there by a drop-in', async () => {
    const { socket } = netfilterConfig({}, {});
    assert.equal(socket, '/run/assay/netfilter.sock');
    assert.deepEqual(valuesOf(text, 'RuntimeDirectory'), ['assay']);
    assert.deepEqual(valuesOf(text, 'RuntimeDirectoryMode'), ['0750']);
    const [group] = valuesOf(text, 'Group');
    const users = await readFile(join(host, 'assay.sysusers.conf'), 'utf8');
    assert.match(users, new RegExp(`^m assay-agent ${group}$`, 'm'));
    const dropIn = await readFile(join(host, 'assay-agent.netfilter.conf'), 'utf8');
    assert.deepEqual(valuesOf(dropIn, 'Environment'), [`${agentSettings.netfilter.variable}=${socket}`]);
    assert.deepEqual(valuesOf(dropIn, 'SupplementaryGroups'), [group]);
    await mkdir(join(folder, 'assay-agent.service.d'));
    const place = 'assay-agent.service.d/netfilter.conf';
    await copyFile(join(host, 'assay-agent.netfilter.conf'), join(folder, place));
    await verify(name, text);
    assert.equal(
      await verify('assay-agent.service', await readFile(join(host, 'assay-agent.service'), 'utf8')),
      '',
    );
  });
});

describe('the unit assay-gate.service', () => {
  const name = 'assay-gate.service';
  let folder = '';
  let text = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
    text = await readFile(join(host, name), 'utf8');
    await writeFile(join(folder, 'assay-agent'), '#!/bin/sh\n');
    await chmod(join(folder, 'assay-agent'), 0o755);
  });
  after(() => rm(folder, { recursive: true }));

  it('is one that systemd takes without a word', async () => {
    const verify = async (unit: string) => {
      const program = `ExecStart=${join(folder, 'assay-agent')}`;
      await writeFile(join(folder, name), unit.replace('ExecStart=assay-agent', program));
      const flags = ['--man=no', '--recursive-errors=no'];
      return output('systemd-analyze', 'verify', ...flags, join(folder, name));
    };
    assert.equal(await verify(text), '');
    await assert.rejects(verify(text.replace('ProtectHome=yes', 'ProtectHome=perhaps')), ToolError);
  });

  it('gives its service few rights, by the list of systemd-analyze security', async () => {
    const flags = ['--no-pager', '--offline=true', `--threshold=${mostExposed}`];
    await output('systemd-analyze', 'security', ...flags, join(host, name));
  });

  it('lets kubelet start only once it has ended well, which an opening without proof is, too', () => {
    assert.deepEqual(valuesOf(text, 'Type'), ['oneshot']);
    assert.deepEqual(valuesOf(text, 'Before'), ['kubelet.service']);
    assert.deepEqual(valuesOf(text, 'RequiredBy'), ['kubelet.service']);
    assert.deepEqual(valuesOf(text, 'TimeoutStartSec'), ['infinity']);
    assert.deepEqual(valuesOf(text, 'SuccessExitStatus'), [`${openedExit.operator} ${openedExit.timeout}`]);
  });

  it('has a user, a state folder and a place for operators of its own', async () => {
    const users = await readFile(join(host, 'assay.sysusers.conf'), 'utf8');
    const [user] = valuesOf(text, 'User');
    assert.match(users, new RegExp(`^u ${user} `, 'm'));
    assert.notEqual(user, 'assay-agent');
    assert.equal(gateSettings.stateDir.schema.parse(undefined), '/var/lib/assay-gate');
    assert.deepEqual(valuesOf(text, 'StateDirectory'), ['assay-gate']);
    assert.deepEqual(valuesOf(text, 'StateDirectoryMode'), ['0700']);
    assert.equal(gateSettings.openFile.schema.parse(undefined), '/run/assay/gate/open');
    assert.deepEqual(valuesOf(text, 'RuntimeDirectory'), ['assay/gate']);
    assert.deepEqual(valuesOf(text, 'RuntimeDirectoryMode'), ['0700']);
  });
});

describe('the units of disk keys', () => {
  const names = [
    'assay-unlock@.service',
    'assay-unlock@.socket',
    'assay-cap.service',
    'assay-volume@.service',
    'assay-rotate@.service',
  ];
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-unit-'));
    await writeFile(join(folder, 'assay-agent'), '#!/bin/sh\n', { mode: 0o755 });
    for (const name of names) {
      const installed = `ExecStart=${join(folder, 'assay-agent')}`;
      await writeFile(join(folder, name), (await unit(name)).replace('ExecStart=assay-agent', installed));
    }
  });
  after(() => rm(folder, { recursive: true }));
  const unit = (name: string) => readFile(join(host, name), 'utf8');
  const verify = (name: string) =>
    output('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', join(folder, name));

  it('are ones that systemd takes without a word', async () => {
    for (const name of names) assert.equal(await verify(name.replace('@', '@docker')), '', name);
    await mkdir(join(folder, 'assay-cap.service.d'));
    for (const dropIn of ['assay-cap.require.conf', 'assay-cap.volumes.conf'])
      await writeFile(join(folder, 'assay-cap.service.d', dropIn), await unit(dropIn));
    assert.equal(await verify('assay-cap.service'), '');
    await writeFile(join(folder, 'assay-cap.service.d/wrong.conf'), '[Service]\nPrivateTmp=perhaps\n');
    await assert.rejects(verify('assay-cap.service'), ToolError);
  });

  it('give their services few rights, by the list of systemd-analyze security', async () => {
    for (const name of names.filter((each) => each.endsWith('.service')))
      await output(
        ...['systemd-analyze', 'security', '--no-pager', '--offline=true'],
        ...[`--threshold=${name.startsWith('assay-cap') ? 30 : mostExposed}`, join(host, name)],
      );
  });

  it('have a program without rights and swap, a user of its own, and folders where it and the cap look', async () => {
    const text = await unit('assay-unlock@.service');
    for (const service of [text, await unit('assay-rotate@.service')]) {
      assert.deepEqual(valuesOf(service, 'CapabilityBoundingSet'), ['']);
      assert.deepEqual(valuesOf(service, 'MemorySwapMax'), ['0']);
      assert.deepEqual(valuesOf(service, 'User'), ['assay-unlock']);
    }
    assert.match(await unit('assay.sysusers.conf'), new RegExp(`^u ${valuesOf(text, 'User')[0]} `, 'm'));
    assert.equal(unlockSettings.stateDir.schema.parse(undefined), '/var/lib/assay-unlock');
    assert.equal(unlockSettings.runtimeDir.schema.parse(undefined), '/run/assay-unlock');
    assert.equal(unlockSettings.capDir.schema.parse(undefined), '/run/assay-cap');
    const folders = [
      [text, 'StateDirectory', 'assay-unlock'],
      [text, 'RuntimeDirectory', 'assay-unlock'],
      [await unit('assay-cap.service'), 'RuntimeDirectory', 'assay-cap'],
    ] as const;
    for (const [service, kind, name] of folders)
      assert.deepEqual([valuesOf(service, kind), valuesOf(service, `${kind}Mode`)], [[name], ['0700']]);
  });
});

/** The unit's own, whatever section they are in. */
function valuesOf(unit: string, key: string): string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1));
}

/** What it writes on either stream. @throws ToolError where it ends with an error */
async function output(...argv: readonly string[]): Promise<string> {
  // systemd-analyze makes folders in /run, which root alone may do.
  const [program, ...args] = withEmpty('/run');
  const { stdout, stderr } = await run(program, [...args, ...argv], bounds);
  return `${stdout.toString()}${stderr.toString()}`;
}
