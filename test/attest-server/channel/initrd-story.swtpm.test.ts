import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { referenceCandidates } from '../../../attest-server/api/candidates-api.ts';
import { DigestList } from '../../../attest-server/formats/digest-list.ts';
import type { Verdict } from '../../../attest-server/wire/verdict.ts';
import { madeInitrd, withInitrds } from '../../../swtpm-fixtures/initrd.ts';
import { type FixtureMachine, startMachine } from '../../../swtpm-fixtures/machine.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { runtimeReference } from '../policy/made-files.ts';
import { agentsOf, collectorsReading, ekDigestOf, type RealAgent, startAgent } from '../real-agent.ts';
import { startTestServer, type TestServer } from '../running-server.ts';

const base = recordedLog('debian13-shim-grub');
const known = { init: Buffer.from('init'), tool: randomBytes(300_000) };
const image = madeInitrd(known);
const changed = madeInitrd({ ...known, tool: randomBytes(300_000) });

const failing = (reasons: readonly { readonly code: string; readonly severity: string }[]) =>
  reasons.flatMap(({ code, severity }) => (severity === 'fail' ? [code] : []));

/** Each test goes on where the one before it ended. */
describe('a fleet whose initrds are judged by lists of packages', () => {
  let folder = '';
  let world: TestServer;
  let uploads = 0;
  const machines: FixtureMachine[] = [];
  const agents: RealAgent[] = [];

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-initrd-'));
    const policy = (await readFile(bootPolicyFile, 'utf8')).trimEnd();
    await writeFile(join(folder, 'policy.yaml'), `${policy}\n    boot: {scope: {initrd: contents}}\n`);
    await writeFile(join(folder, 'by-digest.yaml'), `${policy}\n`);
    await writeFile(join(folder, 'image'), image);
    const files = Object.entries(known).map(([path, bytes]) => ({
      digest: hash('sha256', bytes, 'buffer'),
      path: `/${path}`,
      package: null,
    }));
    const list = runtimeReference(DigestList.of(files), { name: 'packages', group: 'default' });
    await writeFile(join(folder, 'packages.json'), JSON.stringify(list));
    world = await startTestServer({ policy: join(folder, 'policy.yaml') });
  });
  after(async () => {
    for (const agent of agents) await agent[Symbol.asyncDispose]();
    for (const machine of machines) await machine.dispose();
    await world?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  async function boot(node: string, booted: Buffer): Promise<void> {
    const machine = await startMachine({ log: withInitrds(base, [booted]) });
    machines.push(machine);
    await world.pin(node, await ekDigestOf(machine));
    await mkdir(join(machine.sysroot, 'boot'), { recursive: true });
    await writeFile(join(machine.sysroot, 'boot/initrd.img-6.12'), booted);
    const counting = collectorsReading((real) => (...asked) => {
      uploads += 1;
      return real.read(...asked);
    });
    agents.push(await startAgent(machine, node, agentsOf(world), counting));
    await world.until(async () => (await world.status(node))?.verdict != null, 60_000);
  }

  const assay = async (line: string) => {
    const ran = await runAssay(line.split(' '), { env: world.env(), cwd: folder, now: Date.now });
    return { ...ran, all: `${ran.out}${ran.err}` };
  };
  const done = async (line: string) => {
    const { code, all } = await assay(line);
    assert.equal(code, 0, `${line}: ${all}`);
  };
  /** Once the server has judged it again. */
  const becomes = async (node: string, state: string) => {
    const is = async () => (await world.status(node))?.state === state;
    await world.until(is, 60_000).catch(async (error: unknown) => {
      throw new Error(`${node} is not ${state}: ${(await assay(`why ${node}`)).out}`, { cause: error });
    });
  };
  const codesOf = async (node: string) => failing((await world.status(node))?.verdict?.reasons ?? []);

  it('is trusted where each file is of an active list', async () => {
    await boot('node-1', image);
    assert.equal((await world.status('node-1'))?.state, 'untrusted');
    await done('reference capture node-1 --name boot-1 --reason first --yes');
    await done('reference import packages.json');
    await becomes('node-1', 'trusted');
    assert.equal(uploads, 1);
    assert.equal(await world.metric('assay_initrd_received_bytes_total'), image.length);
  });

  it('is told of one file that somebody changed, and takes it where a person vouches for it', async () => {
    await boot('node-2', changed);
    await becomes('node-2', 'untrusted');
    assert.deepEqual(await codesOf('node-2'), ['initrd_unknown']);
    const { out } = await assay('why node-2');
    assert.match(out, /\/tool/);
    assert.doesNotMatch(out, /"\/init"/);
    const { out: told } = await assay('reference candidates -o json');
    const { items } = referenceCandidates.parse(JSON.parse(told));
    const [{ command = '', name, kind } = assert.fail(), ...others] = items;
    assert.deepEqual([kind, others], ['runtime', []]);
    assert.match(command ?? '', / node-2 --kind runtime --initrd --only \/tool /);
    await done(String(command).replace(/^assay /, ''));
    await done(`reference approve ${name} --reason wanted --yes`);
    await becomes('node-2', 'trusted');
    assert.equal((await world.status('node-1'))?.state, 'trusted');
  });

  it('is told before a list is retired or revoked whose initrds hold files of it', async () => {
    for (const action of ['retire', 'revoke']) {
      const { code, all } = await assay(`reference ${action} packages --dry-run --reason old`);
      assert.match(all, /2 are like reference packages; 2 would turn untrusted/, `${action} ${code}`);
    }
  });

  it('is not trusted any longer when the list is retired, and sends nothing again', async () => {
    const before = uploads;
    await done('reference retire packages --reason old --yes');
    for (const node of ['node-1', 'node-2']) {
      await becomes(node, 'untrusted');
      assert.deepEqual(await codesOf(node), ['initrd_unknown']);
    }
    assert.equal(uploads, before);
  });

  it('is judged alike offline, of a bundle, and by the image itself', async () => {
    await done('bundle node-1 -f node-1.json');
    const offline = async (more = '') => {
      const { out } = await assay(`verify node-1.json -o json${more}`);
      const { state, reasons }: Pick<Verdict, 'state' | 'reasons'> = JSON.parse(out);
      return [state, ...failing(reasons)].join(' ');
    };
    assert.equal(await offline(), 'untrusted initrd_unknown');
    assert.equal(await offline(' --initrd image'), 'untrusted initrd_unknown');
    await mkdir(join(folder, 'references'));
    await done('reference export boot-1 -f references/boot-1.json');
    await writeFile(join(folder, 'references/packages.json'), await readFile(join(folder, 'packages.json')));
    const asBefore = ' --policy policy.yaml --references references';
    // Its identity is the exporter's word.
    const good = 'pending identity_unproven';
    assert.equal(await offline(asBefore), good);
    assert.equal(await offline(`${asBefore} --initrd image`), good);
    assert.equal(await offline(' --policy by-digest.yaml'), good);
  });

  it('shows in a simulation whom the rule changes', async () => {
    const { out } = await assay('policy simulate by-digest.yaml -o json --all');
    const { items }: { items: { node: string; before: { state: string }; after: { state: string } }[] } =
      JSON.parse(out);
    assert.deepEqual(
      items.map(({ node, before, after }) => [node, before.state, after.state]),
      [
        ['node-1', 'untrusted', 'trusted'],
        ['node-2', 'untrusted', 'untrusted'],
      ],
    );
  });
});
