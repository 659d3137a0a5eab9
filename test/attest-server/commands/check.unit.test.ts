import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2';
import { run } from 'node-tpm2/run';
import { z } from 'zod';
import { checkConfiguration, checkedText } from '../../../attest-server/commands/check.ts';
import { type serverSettings, serverValues } from '../../../attest-server/config.ts';
import { programs } from '../../programs.ts';
import { signedDirectory } from '../declared/signed-directory.ts';

const main = programs['assay-server'];
const answer = z.object({ valid: z.boolean(), faults: z.array(z.object({ field: z.string() })) });
const policy = (group: string) =>
  `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - {name: a, nodes: ["*"], ${group}}\n`;
const marked = 'mode: enforce, require: [identity, boot]';

describe('what assay-server check finds', function () {
  this.timeout(120_000);
  let dir: string;
  const at = (name: string) => join(dir, name);
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'assay-check-'));
    writeFileSync(at('policy.yaml'), policy(`${marked}, enrolment: [pin]`));
    writeFileSync(at('kubeconfig'), 'current-context: none\n');
  });
  afterEach(() => rmSync(dir, { recursive: true }));
  const check = (flags: Partial<Record<keyof typeof serverSettings, unknown>>, isHere = false) =>
    checkConfiguration({ values: serverValues({ file: null, environment: {}, flags }), ignored: [] }, isHere);
  const fieldsOf = async (flags: Parameters<typeof check>[0]) =>
    (await check(flags)).faults.map(({ field }) => field);

  it('is nothing where a server would start', async () => {
    const found = await check({ policy: at('policy.yaml') });
    assert.deepEqual([found.valid, found.faults, found.warnings, found.absent], [true, [], [], []]);
    assert.match(found.policy ?? '', /^policy@[0-9a-f]{12}$/);
    assert.equal((await check({})).policy?.split('@')[0], 'observe');
  });

  it('is a warning where it would be on trial', async () => {
    const { valid, warnings } = await check({ trial: true });
    assert.deepEqual([valid, warnings.map(({ field }) => field)], [true, ['trial']]);
  });

  it('is a warning where a setting says nothing any more, with its line, whoever sets it', async () => {
    writeFileSync(at('server.yaml'), 'policy: observe\nhelloWithinSeconds: 0\ngone:\n  afterSeconds: soon\n');
    const { stdout } = await run(process.execPath, [main, 'check', '--config', at('server.yaml')], {
      ...{ timeoutMs: 20_000, maxOutputBytes: 65_536 },
      env: { ASSAY_GONE_AFTER_SECONDS: '5' },
    });
    const said = stdout.toString('utf8');
    for (const place of [
      `${at('server.yaml')}:2: helloWithinSeconds: `,
      `${at('server.yaml')}:4: gone.afterSeconds: `,
      'warning: gone.afterSeconds (ASSAY_GONE_AFTER_SECONDS): ',
    ])
      assert.ok(said.includes(place), said);
    assert.match(said, /the next version refuses it/);
    assert.match(said, /the configuration is valid; policy observe/);
  });

  it('looks at the policy of a signed directory in the place of that of the settings', async () => {
    await using git = await signedDirectory();
    const keys = [git.publicKey('merge')];
    const directory = { 'declared.directory': git.directory, 'declared.keys': keys };
    await git.write('policy.yaml', policy(marked));
    await git.declare();
    const found = await check({ ...directory, policy: 'strict' });
    assert.deepEqual([found.valid, found.policy?.split('@')[0]], [true, 'policy']);
    await git.remove('policy.yaml');
    await git.write('pins.csv', `node-1,${'ab'.repeat(32)}\n`);
    await git.declare();
    assert.equal((await check(directory)).policy?.split('@')[0], 'observe');
    await git.sign('merge', 'git');
    assert.deepEqual(await fieldsOf(directory), ['declared.directory']);
  });

  it('is each fault of the policy, with its line', async () => {
    writeFileSync(at('policy.yaml'), policy('mode: label, colour: red'));
    const { faults, valid } = await check({ policy: at('policy.yaml') });
    assert.deepEqual(
      faults.map(({ field, line, file }) => [field, line, file]),
      [
        ['groups.0.mode', 4, at('policy.yaml')],
        ['groups.0.colour', 4, at('policy.yaml')],
      ],
    );
    assert.equal(valid, false);
    assert.deepEqual(await fieldsOf({ policy: at('none.yaml') }), ['policy']);
    assert.deepEqual(await fieldsOf({ policy: dir }), ['policy']);
  });

  it('is a group that marks nodes, and that none can enrol in', async () => {
    writeFileSync(at('policy.yaml'), policy(`${marked}, enrolment: [vendor]`));
    const settings = { policy: at('policy.yaml'), 'kubernetes.api': 'pod' };
    assert.deepEqual(await fieldsOf(settings), []);
    for (const lacking of [{ 'kubernetes.api': 'none' }, { endorsementRoots: ['none'] }])
      assert.deepEqual(await fieldsOf({ ...settings, ...lacking }), ['groups.0.enrolment.0']);
    writeFileSync(at('policy.yaml'), policy(`${marked}, enrolment: []`));
    assert.deepEqual(await fieldsOf(settings), ['groups.0.enrolment']);
    writeFileSync(at('policy.yaml'), policy(`${marked}, enrolment: [first-use]`));
    assert.deepEqual(await fieldsOf(settings), ['groups.0.enrolment.0']);
  });

  it('is what is wrong with the files that settings name, and which of them are not there', async () => {
    mkdirSync(at('roots'));
    for (const name of ['secret', 'ca.pem', 'cloud']) writeFileSync(at(name), 'whsec_short', { mode: 0o600 });
    chmodSync(at('cloud'), 0o600);
    const files = {
      endorsementRoots: [at('roots')],
      'webhook.url': 'https://receiver.example/hook',
      'webhook.secretFile': at('secret'),
      'webhook.caFile': at('ca.pem'),
      'kubernetes.api': at('kubeconfig'),
      cloudProgram: at('cloud'),
    };
    assert.deepEqual(await fieldsOf(files), [
      'endorsementRoots',
      'webhook.secretFile',
      'kubernetes.api',
      'cloudProgram',
    ]);
    for (const name of ['roots', 'secret', 'ca.pem', 'kubeconfig', 'cloud'])
      rmSync(at(name), { recursive: true });
    const without = await check(files);
    assert.deepEqual(without.faults, []);
    assert.deepEqual(
      without.absent.map(({ path }) => path),
      ['roots', 'secret', 'ca.pem', 'kubeconfig', 'cloud'].map(at),
    );
    // Where the server is to run it would not start without them.
    const here = await check(files, true);
    assert.deepEqual(
      here.faults.map(({ file }) => file),
      without.absent.map(({ path }) => path),
    );
    assert.deepEqual([here.absent, here.valid], [[], false]);
    const text = checkedText(await check({ ...files, policy: at('none') }));
    assert.doesNotMatch(text, /whsec/);
    assert.match(text, /the configuration has a fault\n$/);
  });

  it('is what keeps a copy from being made in the folder of backups, which it leaves as it is', async () => {
    mkdirSync(at('state'), { mode: 0o700 });
    mkdirSync(at('volume'));
    const look = async (directory: string, more: object = {}, isHere = true) => {
      const flags = {
        stateDir: at('state'),
        'backup.everyHours': 24,
        'backup.directory': directory,
        ...more,
      };
      const { faults, absent, backups } = await check(flags, isHere);
      const text = faults.find(({ field }) => field === 'backup.directory')?.text ?? null;
      return { text, absent, fits: backups?.fits ?? null };
    };
    const copies = at('volume/copies');
    assert.deepEqual(await look(copies), { text: null, absent: [], fits: true });
    assert.equal(existsSync(copies), false);
    mkdirSync(copies, { mode: 0o755 });
    assert.match((await look(copies)).text ?? '', /is open to others \(mode 755\): chmod go= /);
    chmodSync(copies, 0o700);
    assert.equal((await look(copies)).fits, true);
    symlinkSync(copies, at('linked'));
    assert.match((await look(at('linked'))).text ?? '', /is a symbolic link/);
    symlinkSync(at('state'), at('volume/elsewhere'));
    assert.match((await look(at('volume/elsewhere/copies'))).text ?? '', /is in .*state, and would be lost/);
    mkdirSync(at('keys'), { mode: 0o700 });
    assert.match((await look(at('keys/copies'), { keysDir: at('keys') })).text ?? '', /is in .*keys, and/);
    writeFileSync(at('volume/file'), '');
    assert.match((await look(at('volume/file'))).text ?? '', /is not a folder/);
    assert.match((await look(at('none/copies'))).text ?? '', /none is missing: mount the volume/);
    const away = await look(at('none/copies'), {}, false);
    assert.deepEqual([away.text, away.absent.map(({ path }) => path)], [null, [at('none')]]);
    // Larger than what is free on its disk: holes take nothing.
    writeFileSync(at('state/assay.db'), '');
    const { bavail, bsize } = statfsSync(dir);
    truncateSync(at('state/assay.db'), bavail * bsize);
    assert.match((await look(copies)).text ?? '', /has no room for \d+ bytes more/);
  });

  it('says that it did not look into the folder of backups as another user than that of the server', async () => {
    const isRoot = process.geteuid?.() === 0;
    const stateDir = isRoot ? at('state') : '/usr';
    if (isRoot) {
      mkdirSync(stateDir, { mode: 0o700 });
      chownSync(stateDir, 65_534, 65_534);
    }
    const { backups, faults } = await check(
      { stateDir, 'backup.everyHours': 24, 'backup.directory': at('copies') },
      true,
    );
    assert.deepEqual([backups?.fits, faults], [null, []]);
    assert.match(backups?.text ?? '', /belongs to another user/);
  });

  it('ends with 2, with the faults of settings and policy together, and writes nothing', async () => {
    writeFileSync(at('policy.yaml'), policy('colour: red'));
    writeFileSync(
      at('server.yaml'),
      `policy: ${at('policy.yaml')}\nlogLevel: loud\nstateDir: ${at('state')}\n`,
    );
    const before = readdirSync(dir);
    const checked = (...args: readonly string[]) =>
      run(process.execPath, [main, 'check', '--config', at('server.yaml'), ...args], {
        timeoutMs: 20_000,
        maxOutputBytes: 65_536,
        env: {},
      });
    await assert.rejects(checked(), (error) => error instanceof ToolError && error.exitCode === 2);
    writeFileSync(at('policy.yaml'), policy('enrolment: [pin]'));
    writeFileSync(at('server.yaml'), `policy: ${at('policy.yaml')}\nstateDir: ${at('state')}\n`);
    const { stdout } = await checked('-o', 'json');
    assert.equal(answer.parse(JSON.parse(stdout.toString('utf8'))).valid, true);
    assert.deepEqual(readdirSync(dir), before);
  });
});
