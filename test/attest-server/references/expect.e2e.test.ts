import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, it } from 'mocha';
import { tokenAnswer } from '../../../attest-server/api/api.ts';
import type { Reason } from '../../../attest-server/wire/verdict.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, insertBefore } from '../../vectors/log-surgery.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { namedPe } from '../cli/offline/compute/named-pe.ts';
import { referenceOf } from '../http/api-fixture.ts';
import { capturedFrom, madeProof } from '../policy/made-proof.ts';
import { type ForgedFleet, startForgedFleet } from './forged-fleet.ts';

const old = recordedLog('debian13-shim-grub');
const updated = recordedLog('debian13-shim-grub-kernel');

describe('assay expect, at a server with nodes', () => {
  const boots: Record<string, Buffer> = { 'node-1': old, 'node-2': old, 'node-3': old };
  let fleet: ForgedFleet;
  let folder: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'assay-expect-'));
    fleet = await startForgedFleet(boots);
    const { world, nodes, answer } = fleet;
    for (const node of nodes) await answer(node);
    await world.call('POST', '/v1/references', { nodes, name: 'old' });
    for (const node of nodes) assert.equal(await answer(node), 'trusted');
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await fleet?.[Symbol.asyncDispose]();
  });

  function assay(...args: readonly string[]) {
    return runAssay(args, { env: fleet.world.env(), cwd: folder, now: Date.now });
  }
  const because = ['--reason', 'kernel update'];
  const codesOf = async (node: string) =>
    (await fleet.world.status(node))?.verdict?.reasons.map(({ code }) => code) ?? [];

  it('says that nothing is announced', async () => {
    const listed = await assay('expect');
    assert.deepEqual([listed.code, listed.out], [0, 'no change is announced\n']);
  });

  it('of any change leaves a node pending that boots another kernel, and others trusted', async () => {
    const made = await assay('expect', 'node-1', '--for', '1h', ...because, '-o', 'json');
    assert.equal(made.code, 0, made.err);
    const { name, state, announced } = JSON.parse(made.out);
    assert.deepEqual([state, announced.nodes, announced.by], ['staged', ['node-1'], 'token:admin']);
    boots['node-1'] = updated;
    assert.equal(await fleet.answer('node-1'), 'pending');
    assert.deepEqual(await codesOf('node-1'), ['change_expected']);
    assert.equal(await fleet.answer('node-2'), 'trusted');
    const why = await assay('why', 'node-1');
    assert.match(why.out, /kernel update/);
    assert.match(why.out, /assay expect\n/);
    assert.match(
      (await assay('expect')).out,
      new RegExp(`^${name} +\\S+ +1 +in \\d+[smhd] +token:admin`, 'm'),
    );
    const until = announced.until.replace(/\.\d+Z$/, 'Z');
    assert.match(
      (await assay('expect', '--utc')).out,
      new RegExp(`^${name} +\\S+ +1 +${until} +token:admin`, 'm'),
    );
    assert.equal((await assay('expect', '--end', name)).code, 0);
    assert.equal(await fleet.answer('node-1'), 'untrusted');
    assert.deepEqual(
      (await fleet.world.audit())
        .filter(({ action }) => action.startsWith('reference.announce'))
        .map(({ action }) => action),
      ['reference.announce', 'reference.announce.end'],
    );
  });

  it('of a staged reference makes nodes trusted that boot it, and holds something else against them', async () => {
    // node-1 has booted the update: somebody looked at it, and nobody has approved it yet.
    await fleet.world.call('POST', '/v1/references', { node: 'node-1', name: 'new', staged: true });
    const { group } = (await fleet.world.status('node-1'))?.verdict ?? assert.fail();
    const made = await assay('expect', '--group', group, '--reference', 'new', '--for', '1h', ...because);
    assert.equal(made.code, 0, made.err);
    assert.match(made.out, /1 node changed before this was announced \(node-1\)/);
    assert.equal(await fleet.answer('node-1'), 'trusted');
    boots['node-2'] = tamper(old, 'kernel');
    assert.equal(await fleet.answer('node-2'), 'untrusted');
    assert.deepEqual(await codesOf('node-2'), ['kernel_unknown']);
    // What a verdict under an announcement was made from is in its bundle: it gives the same offline.
    const file = join(folder, 'node-1.json');
    assert.equal((await assay('bundle', 'node-1', '-f', file)).code, 0);
    const offline = await assay('verify', file, '-o', 'json');
    const { state, reasons } = JSON.parse(offline.out);
    assert.equal(state, 'trusted');
    assert.ok(
      reasons.some(({ code, severity }: Reason) => code === 'change_expected' && severity === 'info'),
    );
    assert.equal((await assay('reference', 'approve', 'new', ...because, '--yes')).code, 0);
    assert.equal(await fleet.answer('node-1'), 'trusted');
    assert.ok(!(await codesOf('node-1')).includes('change_expected'));
  });

  it('does not make a revoked boot good again (row 180)', async () => {
    assert.equal((await assay('reference', 'revoke', 'new', ...because, '--yes')).code, 0);
    assert.equal((await assay('expect', 'node-1', '--for', '1h', ...because)).code, 0);
    assert.equal(await fleet.answer('node-1'), 'untrusted');
    assert.ok((await codesOf('node-1')).includes('revoked_reference'));
  });

  it('is over when its time is, without anybody', async () => {
    boots['node-3'] = tamper(old, 'kernel');
    const made = await assay('expect', 'node-3', '--for', '2s', ...because, '-o', 'json');
    const { announced } = JSON.parse(made.out);
    let state = 'pending';
    for (; state === 'pending'; await delay(100)) state = await fleet.answer('node-3');
    assert.deepEqual([state, Date.now() >= Date.parse(announced.until)], ['untrusted', true]);
    const { items } = JSON.parse((await assay('expect', '-o', 'json')).out);
    assert.deepEqual(
      items.filter(({ announced: { until } }: { announced: { until: string } }) => until === announced.until),
      [],
    );
  });

  it('keeps whom it covers: one of fewer nodes, or of another group, is refused', async () => {
    const { world } = fleet;
    await world.call('POST', '/v1/references', { node: 'node-3', name: 'wave', staged: true });
    const announce = (...args: readonly string[]) =>
      assay('expect', ...args, '--reference', 'wave', '--for', '1h', ...because);
    assert.equal((await announce('node-3')).code, 0);
    assert.equal((await announce('node-1')).code, 1);
    assert.equal(await fleet.answer('node-3'), 'trusted');
    assert.equal((await announce('node-3', 'node-1')).code, 0);
    const other = { ...referenceOf('elsewhere'), group: 'others', state: 'staged' };
    await world.call('POST', '/v1/references/import', other);
    const refused = await assay('expect', 'node-1', '--reference', 'elsewhere', '--for', '1h', ...because);
    assert.equal(refused.code, 1);
    assert.doesNotMatch((await assay('expect', '-o', 'json')).out, /elsewhere/);
  });

  for (const [what, code, args] of [
    ['no reason', 2, ['expect', 'node-1', '--for', '1h']],
    ['no end', 2, ['expect', 'node-1', ...because]],
    ['an end too far away', 2, ['expect', 'node-1', '--for', '31d', ...because]],
    ['a node that is not there', 1, ['expect', 'node-9', '--for', '1h', ...because]],
    [
      'a reference that is not there',
      1,
      ['expect', 'node-1', '--reference', 'none', '--for', '1h', ...because],
    ],
    ['a reference that is active', 1, ['expect', 'node-1', '--reference', 'old', '--for', '1h', ...because]],
    ['a kernel that is none', 1, ['expect', 'node-1', '--kernel', 'none.txt', '--for', '1h', ...because]],
    ['nodes and a group', 2, ['expect', 'node-1', '--group', 'workers', '--for', '1h', ...because]],
    ['nobody', 2, ['expect', '--for', '1h', ...because]],
  ] as const)
    it(`refuses ${what}, and leaves no reference behind`, async () => {
      writeFileSync(join(folder, 'none.txt'), 'no kernel');
      const before = await fleet.world.call('GET', '/v1/references');
      const refused = await assay(...args);
      assert.deepEqual([refused.code, refused.out], [code, '']);
      assert.deepEqual(await fleet.world.call('GET', '/v1/references'), before);
    });
});

describe('assay expect, where approvals are separate', () => {
  it('announces any change by one person, and a kernel by two', async () => {
    await using fleet = await startForgedFleet({ 'node-1': old }, { separateApprovals: true });
    const { world } = fleet;
    const cwd = mkdtempSync(join(tmpdir(), 'assay-expect-'));
    try {
      await fleet.answer('node-1');
      writeFileSync(join(cwd, 'vmlinuz'), namedPe({ '.text': Buffer.alloc(0x200, 0x41) }));
      const assay = (...args: readonly string[]) => runAssay(args, { env: world.env(), cwd });
      const ending = ['--for', '1h', '--reason', 'kernel update'];
      assert.equal((await assay('expect', 'node-1', ...ending)).code, 0);
      const made = await assay('expect', 'node-1', '--kernel', 'vmlinuz', ...ending);
      assert.equal(made.code, 1);
      // What it says is typed by another person.
      const [, typed = ''] = /\n +assay (expect .*)/.exec(made.err) ?? assert.fail(made.err);
      const words = [...typed.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
      const { token } = tokenAnswer.parse(
        await world.call('POST', '/v1/tokens', { name: 'second', role: 'operator', ttlSeconds: 3600 }),
      );
      writeFileSync(join(world.stateDir, 'second.token'), token, { mode: 0o600 });
      const done = await runAssay(words, { env: world.env('second.token'), cwd });
      assert.equal(done.code, 0, done.err);
    } finally {
      rmSync(cwd, { recursive: true });
    }
  });
});

describe('assay expect, where each node makes its own initrd', () => {
  it('excuses that initrd, and no loader beside the kernel that was announced (row 230)', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-expect-'));
    const policy = join(folder, 'policy.yaml');
    writeFileSync(
      policy,
      'apiVersion: assay.dev/v1\nkind: Policy\ngroups: [{name: workers, nodes: ["*"], require: [identity, boot], boot: {scope: {initrd: node}}}]\n',
    );
    const boots: Record<string, Buffer> = { 'node-1': old };
    await using fleet = await startForgedFleet(boots, { policy });
    const { world } = fleet;
    try {
      await fleet.answer('node-1');
      await world.call('POST', '/v1/references', { node: 'node-1', name: 'old' });
      assert.equal(await fleet.answer('node-1'), 'trusted');
      const whole = capturedFrom(madeProof({ log: updated }), { name: 'kernel', state: 'staged' });
      const components = whole.components.filter(({ stage }) => stage === 'kernel');
      await world.call('POST', '/v1/references/import', { ...whole, components, events: [] });
      const ends = ['--for', '1h', '--reason', 'kernel update'];
      const made = await runAssay(['expect', 'node-1', '--reference', 'kernel', ...ends], {
        env: world.env(),
      });
      assert.equal(made.code, 0, made.err);
      // Its initrd is another one than that of before, and no reference has it.
      boots['node-1'] = updated;
      assert.equal(await fleet.answer('node-1'), 'pending');
      const kernel = eventsWhere(updated, ({ pcr, stage }) => pcr === 9 && stage === 'kernel')[0]?.index ?? 0;
      boots['node-1'] = insertBefore(updated, kernel, { pcr: 4, type: 13, data: Buffer.from('/evil') });
      assert.equal(await fleet.answer('node-1'), 'untrusted');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
