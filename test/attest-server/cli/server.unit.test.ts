import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { version } from '../../../attest-server/version.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  longestToken,
  now,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from '../http/api-fixture.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

let world: World;
let server: ApiServer;
let operator: Record<string, string>;
const assay = (line: string, env = operator, cwd = '/nonexistent') =>
  runAssay(line.split(' '), { env, cwd, now: Date.now });

beforeEach(async () => {
  world = emptyWorld();
  world.nodes.set('node-1', { enrolled: enrolled('node-1'), status: statusOf('node-1', verdictOf()) });
  server = await startApi(world);
  operator = environmentOf(server, 'operator-token');
});
afterEach(() => server.close());

describe('the token that assay shows', () => {
  const withToken = (text: string) => {
    const tokenFile = join(server.dir, 'cluster.token');
    writeFileSync(tokenFile, text);
    return assay('get nodes', { ...operator, ASSAY_TOKEN_FILE: tokenFile });
  };

  it('is as long as the server takes it, and a longer one is told by its length and not by its text', async () => {
    assert.equal((await withToken(`${longestToken}\n`)).code, 0);
    const { code, err } = await withToken(`${longestToken}b\n`);
    assert.deepEqual([code, /8193/.test(err), /8192/.test(err), /bbbb/.test(err)], [1, true, true, false]);
  });
});

describe('what assay says of the server', () => {
  it('says both versions, and its own where the server cannot be asked, with exit code 1', async () => {
    const both = JSON.parse((await assay('version -o json')).out);
    assert.deepEqual([both.client.version, both.server.version], [version, '0.2.0']);
    const away = { ...operator, ASSAY_SERVER: 'https://localhost:1' };
    const { code, out, err } = await assay('version', away);
    assert.deepEqual(
      [code, out.startsWith(`Client: ${version}`), /cannot be reached/.test(err)],
      [1, true, true],
    );
    assert.deepEqual([(await assay('version', {})).code, (await assay('version --client', {})).code], [1, 0]);
    assert.equal(JSON.parse((await assay('version -o json', away)).out).server, null);
  });

  it('says each fault of a file that was read again on a line of its own, and what to type beside them', async () => {
    world.faulty.push({
      part: 'policy',
      at: now,
      text: '/p.yaml:3: a: no\n/p.yaml:9: b: no \u001b[2J',
      refused: null,
    });
    const { out } = await assay('status');
    const lines = out.split('\n').map((line) => line.trim());
    for (const line of [
      '/p.yaml:3: a: no',
      '/p.yaml:9: b: no \\u001b[2J',
      'assay policy check /etc/assay/policy.yaml',
    ])
      assert.ok(lines.includes(line), out);
  });

  it('says which policy somebody went back to, which one is compared, and what to type where one is refused', async () => {
    const digest = 'e25b'.repeat(16);
    Object.assign(world, {
      policyRollback: {
        digest: '333d'.repeat(16),
        insteadOf: digest,
        at: now - 60_000,
        by: 'token:bob',
        reason: 'a slip',
      },
      comparing: { policy: 'site@0123456789ab', judged: 1200 },
    });
    world.faulty.push({
      part: 'policy',
      at: now,
      text: 'p.yaml:1: policy: no',
      refused: { policy: 'site@e25be25be25b', digest, trusted: 120, untrusted: 37 },
    });
    const { out } = await assay('status');
    assert.match(
      out,
      /^Rolled back: +since \S+ \(\w+ ago\), by token:bob: a slip; e25be25be25b stays out of force until the policy in \/etc\/assay\/policy\.yaml changes$/m,
    );
    assert.match(out, /^Comparing: +site@0123456789ab with it, .*: 1200 nodes so far$/m);
    assert.match(out, /^ +assay policy simulate \S+\n +assay policy allow e25be25be25b --reason "/m);
    const { policy, faulty } = JSON.parse((await assay('status -o json')).out);
    assert.equal(policy.rollback.insteadOf, 'e25be25be25b');
    assert.equal(faulty.at(-1).refused.untrusted, 37);
  });

  it('says when the latest backup was made, when one is overdue and why, and that there is none', async () => {
    const backups = async () => (await assay('status')).out.match(/^Backups: .*\n(?: .*\n)*/m)?.[0] ?? '';
    assert.match(await backups(), /^Backups: +none by themselves \(docs\/backup\.md\)\n$/);
    const shown = {
      ...{ directory: '/srv/copies', every: 24 * 3_600_000, keep: 7, count: 3 },
      ...{ latestAt: now - 7_200_000, isOverdue: false, fault: null },
    };
    world.backups = shown;
    assert.match(await backups(), /^Backups: +3 in \/srv\/copies, the latest \S+ \(\w+ ago\)\n$/);
    world.backups = { ...shown, latestAt: null, count: 0, isOverdue: true, fault: 'no room \u001b[2J' };
    assert.match(
      await backups(),
      /^Backups: +0 in \/srv\/copies\n +overdue: one is to be made every 24 h\n +the latest try failed: no room \\u001b\[2J\n +what to do: docs\/runbooks\//,
    );
    const { backups: view } = JSON.parse((await assay('status -o json')).out);
    assert.deepEqual([view.latestAt, view.overdue, view.everySeconds], [null, true, 86_400]);
    world.backups = null;
    assert.equal(JSON.parse((await assay('status -o json')).out).backups, null);
  });

  it('says how the webhook is, tries it, and exits with 1 where nothing arrives', async () => {
    assert.equal((await assay('webhook test')).code, 1);
    const tried = { delivered: false, status: 503, text: 'the receiver answered 503', milliseconds: 7 };
    const shown = {
      to: 'https://receiver.example',
      waiting: 2,
      oldestAt: new Date(now).toISOString(),
      deliveredAt: null,
      fault: 'the receiver answered 503',
      dropped: 3,
    };
    await server.close();
    server = await startApi({ ...world, webhook: { shown: () => shown, test: async () => tried } });
    operator = environmentOf(server, 'operator-token');
    const { out } = await assay('status');
    for (const text of [
      'https://receiver.example: ',
      '2 wait',
      'answered 503',
      'assay webhook test',
      '3 events were dropped',
    ])
      assert.ok(out.includes(text), out);
    const answer = await assay('webhook test');
    assert.deepEqual(
      [answer.code, answer.out],
      [1, 'not delivered: the receiver answered 503, after 7 ms\n'],
    );
  });

  it('says who one is', async () => {
    const { out } = await assay('whoami');
    for (const word of ['token:operator', 'operator: ', server.url]) assert.ok(out.includes(word), out);
    const { name, role, expiresAt, ...rest } = JSON.parse((await assay('whoami -o json')).out);
    assert.deepEqual(
      [name, role, Date.parse(expiresAt), rest],
      ['token:operator', 'operator', now + 3_600_000, { server: server.url }],
    );
  });

  it('says how the server is, and exits with 11 where it is not ready, with the text of /readyz', async () => {
    assert.equal((await assay('status')).code, 0);
    world.ready = { ok: false, reason: 'the disk is full' };
    world.rollback = 'shorter than it was';
    const { code, out } = await assay('status');
    assert.equal(code, 11);
    assert.match(out, /Ready: +no: the disk is full/);
    for (const word of [
      'Store:',
      'schema 12',
      'free (25 %)',
      'strict@0123456789ab',
      'Certificate:',
      'Authority:',
      '2 agents proven',
      '1 trusted',
      'audit_rollback',
      'assay audit resolve',
    ])
      assert.ok(out.includes(word), `${word}\n${out}`);
    assert.equal(JSON.parse((await assay('status -o json')).out).ready.ok, false);
    assert.equal((await assay('status', { ...operator, ASSAY_SERVER: 'https://localhost:1' })).code, 1);
  });

  it('shows the policy in force with its revision', async () => {
    for (const line of ['policy show', 'get policy']) {
      const { code, out } = await assay(line);
      assert.deepEqual([code, out], [0, '# in force: strict@0123456789ab\nkind: Policy\n']);
    }
    assert.equal((await assay('policy show -o name')).out, 'strict@0123456789ab\n');
    assert.equal(JSON.parse((await assay('policy show -o json')).out).revision, '0123456789ab');
  });

  it('lists join tokens that can be used, all of them with --all, and takes one back', async () => {
    const at = Date.now();
    world.madeTokens.push(
      { id: 'openopenopen', node: 'node-7', by: 'token:alice', expiresAt: at + 60_000, usedAt: null },
      { id: 'usedusedused', node: 'node-8', by: 'token:alice', expiresAt: at + 60_000, usedAt: at },
      { id: 'overoverover', node: 'node-9', by: 'token:alice', expiresAt: at - 60_000, usedAt: null },
    );
    assert.equal((await assay('join-token list -o name')).out, 'openopenopen\n');
    const { out } = await assay('get join-tokens --all');
    assert.deepEqual(
      out
        .trim()
        .split('\n')
        .map((line) => line.split(/ {2,}/)[2]),
      ['STATE', 'open', 'used', 'expired'],
    );
    assert.equal((await assay('join-token revoke openopenopen')).code, 0);
    assert.equal((await assay('join-token revoke openopenopen')).code, 1);
    assert.equal((await assay('join-token list')).out.trim().split('\n').length, 1);
  });
});

describe('attest', () => {
  const judged = (state: 'trusted' | 'untrusted') => () =>
    world.nodes.set('node-1', {
      enrolled: enrolled('node-1'),
      status: statusOf('node-1', verdictOf({ state }), { verifiedAt: now, expiresAt: Date.now() + 60_000 }),
    });

  for (const [state, code] of [
    ['untrusted', 10],
    ['trusted', 0],
  ] as const)
    it(`waits for the new verdict, and exits with ${code} where that is ${state}`, async () => {
      world.answering.set('node-1', () => setTimeout(judged(state), 300));
      const ran = await assay('attest node/node-1 -o json');
      const { name, verifiedAt } = JSON.parse(ran.out);
      assert.deepEqual([name, Date.parse(verifiedAt), world.asked], ['node-1', now, ['node-1']]);
      assert.equal(ran.code, code);
    });

  it('exits with 11 where the node is not connected, or no verdict comes in time', async () => {
    const away = await assay('attest node-1');
    assert.deepEqual([away.code, /not connected/.test(away.err)], [11, true]);
    world.answering.set('node-1', () => {});
    const silent = await assay('attest node-1 --timeout 1s');
    assert.deepEqual([silent.code, silent.out], [11, '']);
  });

  it('only asks with --no-wait', async () => {
    world.answering.set('node-1', () => {});
    const { code, out } = await assay('attest node-1 --no-wait');
    assert.deepEqual([code, out], [0, 'node-1 was asked\n']);
  });

  it('is for operators, of nodes that there are', async () => {
    assert.equal((await assay('attest node-1', environmentOf(server, 'reader-token'))).code, 1);
    assert.equal((await assay('attest node-9')).code, 1);
  });
});

describe('contexts', () => {
  const file = () => join(server.dir, 'assay', 'config.json');
  const user = () => ({ XDG_CONFIG_HOME: server.dir });
  const write = (more: object = {}) => {
    mkdirSync(join(server.dir, 'assay'), { recursive: true });
    const home = { server: server.url, tokenFile: '../operator-token', caFile: server.caFile };
    const work = { server: 'https://work.example:8444', tokenFile: '/nonexistent' };
    writeFileSync(file(), JSON.stringify({ contexts: { home, work }, ...more }), { mode: 0o640 });
    chmodSync(file(), 0o640);
  };

  it('lists them, uses one, and keeps all else in the file, its mode too', async () => {
    write({ note: 'mine' });
    assert.equal((await assay('context current', user())).code, 1);
    assert.equal((await assay('get nodes', user())).code, 1);
    assert.deepEqual(await assay('context use home', user()), {
      code: 0,
      out: 'context home is in use\n',
      err: '',
    });
    assert.equal((await assay('context current', user())).out, 'home\n');
    assert.equal((await assay('get nodes', user())).code, 0);
    const kept = JSON.parse(readFileSync(file(), 'utf8'));
    assert.deepEqual(
      [kept.note, kept.current, Object.keys(kept.contexts)],
      ['mine', 'home', ['home', 'work']],
    );
    assert.equal(statSync(file()).mode & 0o777, 0o640);
    assert.deepEqual(readdirSync(join(server.dir, 'assay')), ['config.json']);
    const { items } = JSON.parse((await assay('context list -o json', user())).out);
    assert.deepEqual(
      items.map(({ name, current }: { name: string; current: boolean }) => [name, current]),
      [
        ['home', true],
        ['work', false],
      ],
    );
    assert.match((await assay('context list', user())).out, /^\* +home /m);
  });

  it('changes nothing for a name that is none, and says which there are', async () => {
    write();
    const before = readFileSync(file(), 'utf8');
    assert.equal((await assay('context use constructor', user())).code, 2);
    const { code, err } = await assay('context use hom', user());
    assert.deepEqual([code, err.includes('home, work')], [2, true]);
    assert.equal(readFileSync(file(), 'utf8'), before);
    assert.equal((await assay('context list', {})).out.trim().split('\n').length, 1);
  });

  it('writes behind a symbolic link, and leaves the link', async () => {
    write();
    const kept = join(server.dir, 'dotfiles');
    mkdirSync(kept);
    writeFileSync(join(kept, 'config.json'), readFileSync(file()));
    const linked = join(server.dir, 'linked');
    mkdirSync(join(linked, 'assay'), { recursive: true });
    symlinkSync(join(kept, 'config.json'), join(linked, 'assay', 'config.json'));
    assert.equal((await assay('context use home', { XDG_CONFIG_HOME: linked })).code, 0);
    assert.equal(JSON.parse(readFileSync(join(kept, 'config.json'), 'utf8')).current, 'home');
  });

  it('says what takes precedence over it here', async () => {
    write();
    const { err } = await assay('context use home', { ...operator, ...user() });
    assert.match(err, /ASSAY_SERVER takes precedence over it/);
    mkdirSync(join(server.dir, '.assay'));
    writeFileSync(join(server.dir, '.assay', 'cli.json'), '{}');
    assert.match(
      (await assay('context use home', user(), server.dir)).err,
      /cli\.json takes precedence over it/,
    );
  });
});

describe('standard input as a file', () => {
  const piped = (line: string, ...chunks: readonly (Buffer | string)[]) =>
    runAssay(line.split(' '), {
      env: operator,
      stdin: Readable.from(
        chunks.map((chunk) => Buffer.from(chunk)),
        { objectMode: false },
      ),
    });

  it('is a boot log, in as many pieces as it comes', async () => {
    const log = recordedLog('debian13-shim-grub');
    const whole = await piped('eventlog - -o json', log.subarray(0, 1000), log.subarray(1000));
    assert.deepEqual([whole.code, JSON.parse(whole.out).format], [0, 'crypto-agile']);
    assert.equal((await piped('eventlog -', log.subarray(0, 1000))).code, 1);
    assert.equal((await piped('eventlog -')).code, 1);
    assert.equal((await piped('eventlog - --userspace -', log)).code, 2);
  });

  it('is a bundle', async () => {
    assert.equal((await piped('verify - -o json', '{"version":1}')).code, 10);
  });

  it('is a policy, and a list of keys', async () => {
    const checked = await piped(
      'policy check - -o json',
      'apiVersion: assay.dev/v1\nkind: Policy\nmode: 1\n',
    );
    assert.deepEqual([checked.code, JSON.parse(checked.out).valid], [1, false]);
    assert.equal((await piped('ek import -', `node-1,${'a'.repeat(64)}\n`)).code, 0);
    assert.equal(world.pins.length, 1);
  });

  it('is read as far as a file may be large', async () => {
    let given = 0;
    const piece = Buffer.alloc(4 * 1024 * 1024);
    async function* endless() {
      for (;;) {
        given += 1;
        yield piece;
      }
    }
    const { code, err } = await runAssay(['verify', '-'], { stdin: endless() });
    assert.deepEqual([code, given], [1, 65]);
    assert.match(err, /larger than 256 MiB/);
  });
});
