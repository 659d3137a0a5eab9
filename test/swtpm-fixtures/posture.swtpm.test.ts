import { deepEqual, equal, match, notEqual, ok } from 'node:assert/strict';
import { readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { parseInspectedFile } from '../../agent/inspect/inspected-file.ts';
import { mountOf, parseMountTable } from '../../attest-server/wire/mount-table.ts';
import { inspectedPath, mountTablePath } from '../../swtpm-fixtures/disk.ts';
import { type FixtureMachine, startMachine } from '../../swtpm-fixtures/machine.ts';
import { openNamespace } from '../../swtpm-fixtures/namespace.ts';
import { recordedLog } from './recorded-log.ts';

describe('what a fixture machine says of its disk and firewall', () => {
  let machine: FixtureMachine;
  let other: FixtureMachine;
  before(async () => {
    const log = recordedLog('debian13-shim-grub');
    machine = await startMachine({ log, network: true });
    other = await startMachine({ log });
  });
  after(async () => {
    await machine?.dispose();
    await other?.dispose();
  });

  const read = (of: FixtureMachine, path: string) => readFile(join(of.sysroot, path));
  const inspected = async (of: FixtureMachine) => parseInspectedFile(await read(of, inspectedPath)).inspected;
  const dockerDevice = async () =>
    mountOf(parseMountTable(await read(machine, mountTablePath)), '/var/lib/docker')?.device;

  it('stores containers on a LUKS2 volume, down to the disk', async () => {
    equal(await dockerDevice(), '253:0');
    const mapping = join(machine.sysroot, 'sys/dev/block/253:0');
    match(await readFile(join(mapping, 'dm/uuid'), 'latin1'), /^CRYPT-LUKS2-[0-9a-f]{32}-docker_crypt\n$/);
    equal(await readFile(join(mapping, 'slaves/vdd/dev'), 'latin1'), '254:48\n');
    equal(
      await realpath(join(mapping, 'slaves/vdd/holders/dm-0')),
      await realpath(join(machine.sysroot, 'sys/block/dm-0')),
    );
  });

  it('shares no header and no digest of a volume key with another', async () => {
    const [one, two] = [await inspected(machine), await inspected(other)];
    const [header] = one.headers;
    const [another] = two.headers;
    for (const name of ['uuid', 'digest', 'metadata'] as const) notEqual(header?.[name], another?.[name]);
    const digestOf = (metadata: string | null | undefined) => JSON.parse(metadata ?? '').digests['0'];
    notEqual(digestOf(header?.metadata).salt, digestOf(another?.metadata).salt);
    notEqual(digestOf(header?.metadata).digest, digestOf(another?.metadata).digest);
  });

  it('has a directory bound over that storage when it is told so, and not any more after that', async () => {
    await machine.mountStorage('bound over');
    equal(await dockerDevice(), '254:0');
    await machine.mountStorage('encrypted');
    equal(await dockerDevice(), '253:0');
  });

  it('has the same volume after the next boot, and the rules that it booted with', async () => {
    const before = await inspected(machine);
    ok(machine.network !== null && typeof machine.network !== 'string', String(machine.network));
    await machine.network.run('nft', [
      'insert',
      'rule',
      'inet',
      'filter',
      'input',
      'tcp',
      'dport',
      '22',
      'accept',
    ]);
    match(await machine.network.run('nft', ['list', 'ruleset']), /dport 22 accept/);
    await machine.powerCycle(recordedLog('debian13-shim-grub'));
    ok(machine.network !== null && typeof machine.network !== 'string');
    const rules = await machine.network.run('nft', ['list', 'ruleset']);
    match(rules, /policy drop/);
    ok(!rules.includes('dport 22'));
    const now = await inspected(machine);
    deepEqual(now.headers, before.headers);
  });

  it('has no network that nobody asked for, and says why where there can be none', async () => {
    equal(other.network, null);
    match(String(await openNamespace('table inet {')), /^no network namespace .*syntax error/s);
  });
});
