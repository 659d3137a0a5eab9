import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { agentSettings } from '../../../agent/config.ts';
import { netfilterConfig } from '../../../agent/netfilter/config.ts';

const host = join(import.meta.dirname, '../../../manifests/host');
const bounds = { timeoutMs: 60_000, maxOutputBytes: 1 << 18, env: { SYSTEMD_COLORS: '0' } };

/** What the rights that a service has weigh by systemd's own list, times ten: from 100, all of them, to 0. */
const mostExposed = 20;

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

/** The unit's own, whatever section they are in. */
function valuesOf(unit: string, key: string): string[] {
  return unit
    .split('\n')
    .filter((line) => line.startsWith(`${key}=`))
    .map((line) => line.slice(key.length + 1));
}

/** What it writes on either stream. @throws ToolError where it ends with an error */
async function output(program: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(program, args, bounds);
  return `${stdout.toString()}${stderr.toString()}`;
}
