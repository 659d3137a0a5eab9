import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { cp, mkdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { statusView } from '../../../attest-server/api/server-api.ts';
import { reference } from '../../../attest-server/formats/reference.ts';
import {
  type Manifest,
  manifestText,
  parseManifest,
} from '../../../attest-server/verify/declared/manifest.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { bootPolicyFile } from '../boot-policy.ts';
import { runAssay } from '../cli/cli-fixture.ts';
import { type ForgedFleet, startForgedFleet } from '../references/forged-fleet.ts';
import { change, type SignedDirectory, signedDirectory } from './signed-directory.ts';

const good = recordedLog('debian13-sdboot-uki');

describe('a signed directory', () => {
  let git: SignedDirectory;
  let fleet: ForgedFleet;
  before(async () => {
    git = await signedDirectory(['merge', 'stranger']);
    fleet = await startForgedFleet(
      { 'node-1': good, 'node-2': tamper(good, 'kernel') },
      { declared: { directory: git.directory, keys: [git.publicKey('merge')] } },
    );
    for (const node of fleet.nodes) await fleet.answer(node);
    const { world } = fleet;
    await world.call('POST', '/v1/references', { node: 'node-1', name: 'one' });
    await world.call('POST', '/v1/references', { node: 'node-2', name: 'two' });
  });
  after(async () => {
    await fleet?.[Symbol.asyncDispose]();
    await git?.[Symbol.asyncDispose]();
  });

  const status = async () => statusView.parse(await fleet.world.call('GET', '/v1/status'));
  const serial = async () => (await status()).declared?.inForce?.serial ?? 0;
  const inForce = (wanted: number) => fleet.world.until(async () => (await serial()) === wanted);
  const faulty = async () => (await status()).faulty.find(({ part }) => part === 'declared')?.text ?? null;
  const stateOf = async (name: string) => (await exported(name)).state;
  const exported = async (name: string) =>
    reference.parse(await fleet.world.call('GET', `/v1/references/${name}`));
  const step = async (action: string, name: string) =>
    (
      await fleet.world.ask(
        'POST',
        `/v1/references/${name}/${action}`,
        (await readFile(join(fleet.world.stateDir, 'admin.token'), 'utf8')).trim(),
        { reason: 'because' },
      )
    ).status;
  const references = async () => JSON.stringify(await fleet.world.store.references.list());

  it('that has no manifest yet is told, and the server goes on with what it has', async () => {
    assert.match((await faulty()) ?? '', /manifest/);
    assert.equal((await status()).declared?.inForce, null);
    assert.equal(await fleet.answer('node-1'), 'trusted');
  });

  it('is in force once it is signed: what it names counts, under the name of the key', async () => {
    const { captured: _here, ...one } = await exported('one');
    await git.write('references/fleet.json', { ...one, name: 'fleet' });
    await git.declare();
    await inForce(1);
    assert.equal(await faulty(), null);
    const { captured, declared, state } = await exported('fleet');
    assert.deepEqual(
      [captured?.by, declared?.key, declared?.serial, state],
      ['declared:merge', 'merge', 1, 'active'],
    );
    assert.equal(await step('retire', 'one'), 200);
    assert.equal(await step('retire', 'two'), 200);
    assert.deepEqual([await fleet.answer('node-1'), await fleet.answer('node-2')], ['trusted', 'untrusted']);
    assert.equal(await fleet.world.metric('assay_declared_serial'), 1);
    const entries = (await fleet.world.audit()).filter(({ actor }) => actor === 'declared:merge');
    assert.deepEqual(
      entries.map(({ action, subject, detail }) => [action, subject, detail.serial]),
      [
        ['declare', git.directory, 1],
        ['reference.declare', 'fleet', 1],
      ],
    );
  });

  it('alone changes what it declares; a person may revoke, and the directory takes that back by its name only', async () => {
    for (const action of ['approve', 'retire', 'delete', 'restore'])
      assert.equal(await step(action, 'fleet'), 409, action);
    assert.equal(await step('revoke', 'fleet'), 200);
    assert.equal(await fleet.answer('node-1'), 'untrusted');
    await git.write('references/two.json', { ...(await exported('two')), state: 'active' });
    await git.declare();
    await inForce(2);
    assert.deepEqual([await stateOf('fleet'), await stateOf('two')], ['revoked', 'active']);
    assert.deepEqual([await fleet.answer('node-1'), await fleet.answer('node-2')], ['untrusted', 'trusted']);
    await git.declare('merge', '--restore', 'fleet');
    await inForce(3);
    assert.deepEqual([await stateOf('fleet'), await fleet.answer('node-1')], ['active', 'trusted']);
    // Of a later revocation that word says nothing.
    assert.equal(await step('revoke', 'fleet'), 200);
    await git.write('references/two.json', { ...(await exported('two')), state: 'staged' });
    await git.declare();
    await inForce(4);
    assert.deepEqual([await stateOf('fleet'), await stateOf('two')], ['revoked', 'staged']);
    assert.equal(await step('restore', 'fleet'), 200);
    assert.equal(await fleet.answer('node-1'), 'trusted');
    assert.equal(await fleet.answer('node-2'), 'untrusted');
    const node = await fleet.world.call('GET', '/v1/nodes/node-2');
    assert.ok(!JSON.stringify(node).includes('reference approve two'), 'a command that would be refused');
    assert.ok(JSON.stringify(node).includes(`two is declared in ${git.directory}`));
  });

  it('retires what it names no longer, which then is the operators’ again', async () => {
    await git.remove('references/two.json');
    await git.declare();
    await inForce(5);
    const two = await exported('two');
    assert.deepEqual([two.state, two.declared], ['retired', undefined]);
    assert.equal(await step('delete', 'two'), 200);
  });

  const at = (path: string) => join(git.directory, path);
  /** Writes another manifest, and has it signed: by somebody with a key, or as it was signed at another time. */
  const rewrite = async (change: (manifest: Manifest) => Partial<Manifest>) => {
    const manifest = parseManifest(await readFile(at('manifest')));
    await writeFile(at('manifest'), manifestText({ ...manifest, ...change(manifest) }));
    await git.sign();
  };
  const listed = async (path: string) => ({ path, sha256: hash('sha256', await readFile(at(path)), 'hex') });
  const attacks: readonly (readonly [whatItHas: string, told: string, attack: () => Promise<unknown>])[] = [
    ['a file that nobody signed (row 210)', 'unsigned: extra.json', () => git.write('extra.json', '{}')],
    [
      'a file that was changed after it was signed (row 210)',
      'changed: references/fleet.json',
      () => change(at('references/fleet.json'), '"active"', '"staged"'),
    ],
    [
      'no file that the manifest names (row 210)',
      'unreadable: references/fleet.json',
      () => git.remove('references/fleet.json'),
    ],
    [
      'a signature by a key that is not configured (row 210)',
      'sig_invalid: manifest',
      () => git.sign('stranger'),
    ],
    ['a signature for something else (row 210)', 'sig_invalid: manifest', () => git.sign('merge', 'git')],
    ['no signature (row 210)', 'unsigned: ', () => git.remove('manifest.sig')],
    [
      'a manifest that was changed after it was signed (row 210)',
      'sig_invalid: manifest',
      () => change(at('manifest'), /serial \d+/, 'serial 99'),
    ],
    ['an older manifest (row 211)', 'serial: ', () => rewrite(() => ({ serial: 4 }))],
    [
      'another manifest of the same serial (row 211)',
      'serial: ',
      async () => {
        await git.write('references/more.json', { ...(await exported('fleet')), name: 'more' });
        const more = await listed('references/more.json');
        await rewrite(({ files }) => ({ files: [...files, more] }));
      },
    ],
    [
      'a path that leads out of it (row 212)',
      'malformed: manifest',
      () =>
        rewrite(({ files }) => ({ files: [{ path: '../server.yaml', sha256: '0'.repeat(64) }, ...files] })),
    ],
    [
      'a link that leads out of it (row 212)',
      'unreadable: references/fleet.json',
      async () => {
        await rename(at('references/fleet.json'), join(git.directory, '..', 'fleet.json'));
        await symlink('../../fleet.json', at('references/fleet.json'));
      },
    ],
    [
      'a huge file (row 212)',
      'too_large: manifest',
      () => writeFile(at('manifest'), Buffer.alloc(300 * 1024, 'a')),
    ],
    [
      'a pipe in the place of a file (row 212)',
      'unreadable: references/fleet.json',
      async () => {
        await git.remove('references/fleet.json');
        await run('mkfifo', [at('references/fleet.json')], { timeoutMs: 10_000, maxOutputBytes: 1024 });
      },
    ],
    [
      'one name of two references (row 213)',
      'malformed: references/other.json',
      async () => {
        await git.write('references/other.json', await exported('fleet'));
        const other = await listed('references/other.json');
        await rewrite(({ files }) => ({ serial: 6, files: [...files, other] }));
      },
    ],
    [
      'a policy with a fault (row 213)',
      'malformed: policy.yaml',
      async () => {
        await git.write('policy.yaml', 'groups: 7\n');
        const policy = await listed('policy.yaml');
        await rewrite(({ files }) => ({ serial: 6, files: [policy, ...files] }));
      },
    ],
    [
      'a pin of a key that is another node’s (row 213)',
      'pins: pins.csv',
      async () => {
        const ek = (await fleet.world.store.enrolment.node('node-1'))?.ekDigest;
        await git.write('pins.csv', `node-5,${ek}\n`);
        const pins = await listed('pins.csv');
        await rewrite(({ files }) => ({ serial: 6, files: [pins, ...files] }));
      },
    ],
  ];
  for (const [what, told, attack] of attacks)
    it(`changes nothing, says so, and counts again when it is right, where it has ${what}`, async () => {
      const { world } = fleet;
      const [copy, before] = [join(git.directory, '..', 'copy'), await references()];
      await cp(git.directory, copy, { recursive: true });
      try {
        await attack();
        await world.until(async () => (await faulty())?.startsWith(told) ?? false);
        assert.deepEqual([await references(), await serial()], [before, 5]);
        // A check of the files would find nothing where the server alone knows it.
        const next = (await status()).faulty.find(({ part }) => part === 'declared')?.next;
        const known = {
          'serial: ': `assay declare ${git.directory} --serial 6`,
          'pins: pins.csv': 'assay get enrolments',
        };
        assert.equal(next, new Map(Object.entries(known)).get(told) ?? 'assay-server check --here');
        assert.equal(await fleet.answer('node-1'), 'trusted');
      } finally {
        await rename(git.directory, `${copy}.faulty-${what.replaceAll(/\W/g, '-')}`);
        await rename(copy, git.directory);
      }
      await world.until(async () => (await faulty()) === null);
    });

  it('says what is wrong although somebody writes it at every look (row 252)', async () => {
    const { world } = fleet;
    let turn = 0;
    await world.until(async () => {
      turn += 1;
      await git.write('more.json', `{"turn": ${turn}}`);
      return (await faulty())?.startsWith('unsigned: more.json');
    });
    await git.remove('more.json');
    await world.until(async () => (await faulty()) === null);
    assert.equal(await serial(), 5);
  });

  it('also holds the policy and pins: neither settings nor operators change them', async () => {
    const { world } = fleet;
    const policy = await readFile(bootPolicyFile, 'utf8');
    const ek = 'ab'.repeat(32);
    await git.write('policy.yaml', `${policy}# from Git\n`);
    await git.write('pins.csv', `node-9,${ek}\n`);
    await git.declare();
    await inForce(6);
    await world.server.reload();
    const { text } = (await world.call('GET', '/v1/policy')) as { text: string };
    assert.match(text, /# from Git/);
    const token = (await readFile(join(world.stateDir, 'admin.token'), 'utf8')).trim();
    const pin = (node: string, key: string) =>
      world.ask('POST', '/v1/pins', token, { pins: [{ node, ek: key }] }).then(({ status }) => status);
    assert.deepEqual(
      [
        await pin('node-9', 'cd'.repeat(32)),
        await pin('node-8', ek),
        await pin('node-9', ek),
        await pin('node-7', 'ef'.repeat(32)),
      ],
      [409, 409, 201, 201],
    );
    await git.write('pins.csv', `node-9,${'09'.repeat(32)}\n`);
    await git.declare();
    await inForce(7);
    assert.equal((await world.store.enrolment.pinFor('node-9'))?.ekDigest, '09'.repeat(32));
    await git.remove('pins.csv');
    await git.declare();
    await inForce(8);
    assert.equal(await world.store.enrolment.pinFor('node-9'), null);
    assert.notEqual(await world.store.enrolment.pinFor('node-7'), null);
  });

  it('is in force after a restart, although its files are bad by then', async () => {
    const { world } = fleet;
    const before = await references();
    await change(at('manifest'), /serial \d+/, 'serial 77');
    await world.restart();
    assert.deepEqual([await references(), await serial()], [before, 8]);
    assert.match((await faulty()) ?? '', /^sig_invalid: manifest/);
    // A counter that begins with 1 has no increase that an alert could see.
    assert.equal(await world.metric('assay_reload_faulty{part="declared"}'), 1);
    const { text } = (await world.call('GET', '/v1/policy')) as { text: string };
    assert.match(text, /# from Git/);
    await git.sign();
    await inForce(77);
    assert.equal(await world.metric('assay_reload_faulty{part="declared"}'), 0);
    await git.remove('policy.yaml');
    await git.declare();
    await inForce(78);
    const after = (await world.call('GET', '/v1/policy')) as { text: string };
    assert.doesNotMatch(after.text, /# from Git/);
  });

  it('is read as one version where it is a mounted ConfigMap, whose link the kubelet changes', async () => {
    const { world } = fleet;
    const versions = join(git.directory, '..', 'mounted');
    await mkdir(versions);
    const swap = async (version: string) => {
      await cp(git.directory, join(versions, version), { recursive: true });
      await symlink(version, join(versions, '..data_tmp'));
      await rename(join(versions, '..data_tmp'), join(versions, '..data'));
    };
    await swap('..1');
    for (const name of ['manifest', 'manifest.sig', 'references'])
      await symlink(`..data/${name}`, join(versions, name));
    await rename(git.directory, `${git.directory}.source`);
    await symlink('mounted', git.directory);
    await world.server.reload();
    assert.deepEqual([await serial(), await faulty()], [78, null]);
    const source = `${git.directory}.source`;
    assert.equal((await runAssay(['declare', source, '--serial', '80'])).code, 0);
    // What is half there does not count: the link still leads to the version of before.
    await cp(source, join(versions, '..2'), { recursive: true });
    assert.equal(await serial(), 78);
    await rename(git.directory, `${git.directory}.link`);
    await rename(source, git.directory);
    await git.sign();
    await swap('..3');
    await rename(git.directory, source);
    await rename(`${git.directory}.link`, git.directory);
    await inForce(80);
  });
});
