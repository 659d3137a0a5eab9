import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { AuditLog } from '../../../attest-server/audit/audit-log.ts';
import { checkConfiguration, checkedText } from '../../../attest-server/commands/check.ts';
import { serverValues } from '../../../attest-server/config.ts';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { openWrappingKeys } from '../../../attest-server/custody/wrapping-keys.ts';
import { programs } from '../../programs.ts';
import { madeEvent, madeNode } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

const main = programs['assay-server'];

describe('what assay-server check says of each key', function () {
  this.timeout(60_000);
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-check-keys-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  /** A state folder as a server leaves it, which has put these authorities in force. */
  async function served(state: string, keys: string, ...inForce: readonly string[]): Promise<void> {
    const store = await openMadeStore(join(dir, state, 'assay.db'));
    const { audit, tls } = openCustody(join(dir, keys), join(dir, state));
    await AuditLog.open({
      store: store.audit,
      stateDir: join(dir, state),
      keys: audit,
      now: Date.now,
      signed: () => {},
      rolledBack: (text) => assert.fail(text),
    });
    await tls.read();
    for (const digest of inForce)
      await store.audit.append({ ...madeEvent('authority.finish', digest), actor: 'token:admin' });
    await store[Symbol.asyncDispose]();
  }

  async function check(keysDir: string | null, stateDir = 'state', wrappingKeyFile?: string) {
    const flags = { stateDir: join(dir, stateDir), keysDir: keysDir && join(dir, keysDir) };
    const environment = { ASSAY_KEYS_WRAPPING_KEY_FILE: wrappingKeyFile };
    const values = serverValues({ file: null, environment, flags });
    const found = await checkConfiguration({ values, ignored: [] }, false);
    const fits = found.keys.map(({ name, fits: each }) => `${name} ${each}`);
    return { ...found, fits, said: `${checkedText(found)}${JSON.stringify(found)}` };
  }

  const fitting = async () => {
    const { valid, fits } = await check('keys');
    return [valid, fits];
  };

  it('is nothing before the first start, and that they fit after it; nothing is written', async () => {
    assert.deepEqual((await check(null)).fits, []);
    await served('state', 'state');
    const before = await readdir(join(dir, 'state'));
    const { valid, fits, faults } = await check(null);
    assert.deepEqual([valid, fits, faults], [true, ['audit true', 'tls null'], []]);
    assert.deepEqual(await readdir(join(dir, 'state')), before);
  });

  it('is which one does not fit the database, with exit code 2', async () => {
    await served('state', 'keys');
    await served('other', 'others');
    assert.deepEqual(await fitting(), [true, ['audit true', 'tls null']]);
    const wrong = await check('others');
    assert.deepEqual([wrong.valid, wrong.fits], [false, ['audit false', 'tls null']]);
    const [fault] = wrong.faults;
    assert.deepEqual([fault?.field, fault?.file], ['keysDir', join(dir, 'others', 'audit.key')]);
    assert.match(fault?.text ?? '', /^the store is signed by the audit key [0-9a-f]{8} of assay\//);
    const env = { ASSAY_STATE_DIR: join(dir, 'state'), ASSAY_KEYS_DIR: join(dir, 'others') };
    const { status, stdout } = spawnSync(process.execPath, [main, 'check'], { env, encoding: 'utf8' });
    assert.equal(status, 2);
    assert.ok(stdout.includes(`${fault?.file}: keysDir: ${fault?.text}`), stdout);
    await rm(join(dir, 'keys', 'audit.key'));
    assert.deepEqual(await fitting(), [false, ['audit false', 'tls null']]);
  });

  it('is that a store of before a rotation fits, and a key of before it does not', async () => {
    await served('state', 'keys');
    await copyFile(join(dir, 'keys', 'audit.key'), join(dir, 'older.key'));
    const { audit } = openCustody(join(dir, 'keys'), join(dir, 'state'));
    await audit.rotate();
    assert.deepEqual(await fitting(), [true, ['audit true', 'tls null']]);
    await served('state', 'keys');
    await rename(join(dir, 'older.key'), audit.path);
    assert.deepEqual(await fitting(), [false, ['audit false', 'tls null']]);
  });

  it('is whether the authority is the one that the audit log saw in force, and whether its key is', async () => {
    await served('state', 'keys');
    const digest = /"text":"([0-9a-f]{64});/.exec((await check('keys')).said)?.[1] ?? assert.fail();
    await served('state', 'keys', digest);
    assert.deepEqual(await fitting(), [true, ['audit true', 'tls true']]);
    await served('state', 'keys', 'ab'.repeat(32));
    const older = await check('keys');
    assert.deepEqual([older.valid, older.fits], [true, ['audit true', 'tls null']]);
    assert.ok(older.said.includes('ab'.repeat(32)));
    await served('other', 'others');
    await copyFile(join(dir, 'others', 'tls', 'ca.key'), join(dir, 'keys', 'tls', 'ca.key'));
    assert.deepEqual(await fitting(), [false, ['audit true', 'tls false']]);
  });

  it('is whether the wrapping keys are there that hold the keys of disks', async () => {
    await served('state', 'state');
    const file = join(dir, 'wrapping');
    const write = async (...keys: readonly string[]) => {
      await rm(file, { force: true });
      await writeFile(file, keys.join('\n'), { mode: 0o400 });
      return openWrappingKeys({ file, beside: [] }) ?? assert.fail();
    };
    const [older, newer] = [randomBytes(32).toString('base64'), randomBytes(32).toString('base64')];
    const wrapping = await write(older);
    const ofWrapping = async () => {
      const found = await check(null, 'state', file);
      return [found.valid, found.fits.find((each) => each.startsWith('wrapping')), found.said] as const;
    };
    assert.deepEqual((await ofWrapping()).slice(0, 2), [true, 'wrapping null']);
    const store = await openMadeStore(join(dir, 'state', 'assay.db'));
    const node = madeNode('node-1');
    await store.enrolment.enrol(node, madeEvent('enrol', node.name));
    const uuid = '11111111-2222-4333-8444-555555555555';
    const context = { node: node.name, ekDigest: node.ekDigest, volume: uuid };
    const secretOf = (purpose: 'volume' | 'recovery') =>
      wrapping.wrap(Buffer.from('SECRET'), { ...context, purpose });
    const volume = {
      node: node.name,
      ekDigest: node.ekDigest,
      uuid,
      name: 'docker',
      path: '/var/lib/docker',
    };
    const made = {
      createdAt: 1,
      createdBy: 'token:admin',
      recoveryEscrow: Buffer.from('age'),
      recipients: [],
    };
    const secrets = { key: secretOf('volume'), recovery: secretOf('recovery') };
    assert.ok(await store.leases.add({ ...volume, ...made, ...secrets }, madeEvent('volume.add', node.name)));
    await store[Symbol.asyncDispose]();
    assert.deepEqual((await ofWrapping()).slice(0, 2), [true, 'wrapping true']);
    await write(newer, older);
    assert.deepEqual((await ofWrapping()).slice(0, 2), [true, 'wrapping true']);
    await write(newer);
    const [valid, fits, said] = await ofWrapping();
    assert.deepEqual([valid, fits], [false, 'wrapping false']);
    assert.ok(said.includes(`wrapped by ${wrapping.current}`), said);
    assert.ok(!said.includes(newer.slice(0, 12)), said);
    await chmod(file, 0o444);
    assert.match((await ofWrapping())[2], /keys\.wrappingKeyFile: .* is open to others/);
  });

  it('is what a server would not start with, and nothing of a secret', async () => {
    await served('state', 'keys');
    await chmod(join(dir, 'keys', 'audit.key'), 0o640);
    const open = await check('keys');
    assert.deepEqual([open.valid, open.fits], [false, []]);
    assert.ok(open.faults[0]?.text.includes('open to others'), open.said);
    await writeFile(join(dir, 'keys', 'audit.key'), 'SECRET in the wrong file', { mode: 0o600 });
    await chmod(join(dir, 'keys', 'audit.key'), 0o600);
    const damaged = await check('keys');
    assert.equal(damaged.valid, false);
    assert.doesNotMatch(damaged.said, /SECRET/);
    // Keys that were left where they were.
    await served('left', 'left');
    await mkdir(join(dir, 'empty'), { mode: 0o700 });
    assert.match((await check('empty', 'left')).faults[0]?.text ?? '', /move it there/);
  });
});
