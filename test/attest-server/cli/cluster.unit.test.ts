import assert from 'node:assert/strict';
import { mkdtempDisposableSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { defaultTaintKeys, trustedCondition, trustedLabel } from '../../../attest-server/formats/marks.ts';
import type { Control } from '../../../attest-server/marking/control.ts';
import { ClusterError } from '../../../attest-server/marking/ports.ts';
import { strictPolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import { madeKey } from '../audit/made-key.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { madeClusterNode } from '../marking/made-cluster.ts';
import { type MadeControl, madeControl } from '../marking/made-control.ts';
import { madeStatus } from '../marking/made-marking.ts';
import { environmentOf, type Ran, runAssay } from './cli-fixture.ts';

const alike = {
  group: 'workers',
  code: 'kernel_unknown',
  value: `kernel ${'ab'.repeat(32)}`,
  nodes: 5,
  tainted: 1,
  waiting: 4,
  isMass: true,
  isOurs: false,
} as const;

describe('the commands about marks', () => {
  const key = madeKey();
  let made: MadeControl;
  let server: ApiServer;
  let token: string;
  let policyText = strictPolicy.text;
  const start = async (control: Control | null) => {
    const world = emptyWorld();
    const verdict = verdictOf({ state: 'untrusted', reasons: [reasonOf('kernel_unknown')] });
    world.nodes.set('node-1', { enrolled: enrolled('node-1'), status: statusOf('node-1', verdict) });
    world.cluster = control;
    world.auditKey = key.origin;
    world.policyText = policyText;
    return startApi(world);
  };
  beforeEach(async () => {
    made = await madeControl(() => now);
    made.cluster.add(madeClusterNode('node-1'), madeClusterNode('node-2'));
    made.statuses.set('node-1', madeStatus('node-1', { state: 'untrusted' }));
    server = await start(made.control);
    token = 'operator-token';
  });
  afterEach(async () => {
    await server.close();
    await made[Symbol.asyncDispose]();
  });
  const assay = (words: readonly string[], answer: string | null = null): Promise<Ran> =>
    runAssay(words, {
      env: environmentOf(server, token),
      ...(answer !== null && { ask: async () => answer }),
    });
  const open = () =>
    made.decisions.hold({
      group: alike.group,
      code: 'kernel_unknown',
      value: alike.value,
      at: now,
      decision: 'open',
      by: null,
      reason: null,
    });

  it('pause and resume', async () => {
    assert.equal((await assay(['pause'])).code, 2, 'it needs a reason');
    assert.equal((await assay(['pause', '--reason', 'the night'])).code, 0);
    assert.equal(made.decisions.pause()?.reason, 'the night');
    const { out } = await assay(['status']);
    assert.match(out, /^Paused: +by token:operator .*: the night\n +assay resume$/m);
    assert.equal((await assay(['resume'])).out, 'nodes are marked again\n');
    assert.equal((await assay(['resume'])).out, 'nothing was paused\n');
    token = 'reader-token';
    assert.equal((await assay(['pause', '--reason', 'mine'])).code, 1);
    assert.equal(made.decisions.pause(), null);
  });

  it('list what waits, and end with 12 while it does', async () => {
    assert.deepEqual(await assay(['breaker', 'list']), {
      code: 0,
      out: 'no taint waits, and no nodes fail the same way\n',
      err: '',
    });
    made.failing = [alike];
    await open();
    const { code, out, err } = await assay(['breaker', 'list']);
    assert.equal(code, 12);
    assert.match(out, /^workers +kernel_unknown +kernel abababababab +5 +1 +4 +open/m);
    const json = JSON.parse((await assay(['breaker', 'list', '-o', 'json'])).out);
    assert.equal(json.items[0].value, alike.value);
    const commands = err.split('\n').filter((line) => line.startsWith('  assay '));
    assert.deepEqual(
      json.items[0].next.split('\n').filter((line: string) => line.startsWith('  ')),
      commands,
    );
    assert.match(err, /^4 nodes of workers by kernel_unknown\. See which/);
    const typed = commands.map((line) =>
      [...line.trim().matchAll(/"([^"]*)"|(\S+)/g)].slice(1).map(([, quoted, bare]) => quoted ?? bare ?? ''),
    );
    assert.deepEqual(
      typed.map(([verb, what]) => `${verb} ${what}`),
      ['get nodes', 'breaker release', 'breaker hold'],
    );
    for (const [index, words] of typed.entries()) {
      const done = await assay(index === 1 ? [...words, '--dry-run'] : words);
      assert.equal(done.code, 0, `${words.join(' ')}: ${done.err}`);
    }
    assert.match((await assay(['status'])).out, /the taints of 4 nodes wait: assay breaker list/);
  });

  it('hold at once, and release after a question', async () => {
    made.failing = [alike];
    await open();
    const hold = await assay(['breaker', 'hold', 'workers', '--reason', 'the reference is late']);
    assert.equal(hold.code, 0, hold.err);
    assert.match(hold.out, / held .*token:operator: the reference is late$/m);
    const release = ['breaker', 'release', '--reason', 'it is bad'];
    assert.equal((await assay(release)).code, 2, 'there is nobody to ask');
    const dry = await assay([...release, '--dry-run']);
    assert.match(dry.out, / held /);
    assert.equal((await assay(release, 'n')).code, 1);
    assert.equal(made.decisions.holds()[0]?.decision, 'held');
    const done = await assay(release, 'y');
    assert.equal(done.code, 0, done.err);
    assert.match(done.err, /4 nodes would be tainted/);
    assert.equal(made.decisions.holds()[0]?.decision, 'released');
    const none = await assay([...release, '--yes']);
    assert.deepEqual([none.code, /assay breaker list/.test(none.err)], [1, true]);
  });

  it('exempt a node for a time, and show that wherever the node is shown', async () => {
    const exempt = (...words: readonly string[]) => assay(['exempt', 'node-1', ...words]);
    const done = await exempt('--reason', 'a demo', '--for', '2h');
    assert.equal(done.code, 0, done.err);
    assert.match(done.out, /No boot of it gets the key of a disk until then/);
    assert.equal(made.decisions.exemption('node-1')?.until, now + 7_200_000);
    const wide = await assay(['get', 'nodes', '-o', 'wide']);
    assert.match(wide.out, /EXEMPT\n.* for 2h\n$/);
    assert.equal(
      JSON.parse((await assay(['get', 'nodes', 'node-1', '-o', 'json'])).out).exemption.reason,
      'a demo',
    );
    assert.match((await assay(['describe', 'node-1'])).out, /^Exempt: +until .*by token:operator: a demo$/m);
    const why = await assay(['why', 'node-1']);
    assert.match(why.out, /exempt +from taints until .*, by token:operator: a demo/);
    assert.deepEqual([why.code, /is untrusted/.test(why.out)], [10, true], 'the state stays');
    assert.match((await assay(['status'])).out, /^Exempt: +node-1 until/m);
    assert.equal((await exempt('--end')).code, 0);
    assert.equal((await exempt('--end')).code, 1);
    assert.doesNotMatch((await assay(['describe', 'node-1'])).out, /Exempt/);
  });

  it('say in the status that the API of the cluster gives no answer, or which right is missing', async () => {
    made.faults = ['the Nodes cannot be read: ECONNREFUSED', 'the server has no right to patch nodes'];
    const { out } = await assay(['status']);
    for (const fault of made.faults) assert.match(out, new RegExp(`^ +wrong with its API: ${fault}$`, 'm'));
    assert.deepEqual(JSON.parse((await assay(['status', '-o', 'json'])).out).cluster.faults, made.faults);
  });

  it('show what the Node of a node carries, and why it is not as its verdict says', async () => {
    const untrusted = { key: defaultTaintKeys.untrusted, value: 'kernel_unknown' };
    const bare = { taints: [], foreignForm: false, label: null, condition: null };
    const none = { taints: [], label: false, condition: null, suppressed: null };
    const cases = [
      [
        { observed: bare, marks: { ...none, suppressed: 'breaker' } },
        /none; its taint waits .*: assay breaker list$/,
        'none (breaker)',
      ],
      [
        { observed: { ...bare, taints: [untrusted] }, marks: { ...none, taints: [untrusted] } },
        /taint assay.dev\/untrusted=kernel_unknown$/,
        'untrusted',
      ],
      [{ observed: { ...bare, label: 'true' }, marks: none }, /label trusted; to be none$/, 'label'],
      [
        { observed: { ...bare, condition: { type: trustedCondition, status: 'True' } }, marks: none },
        /none; condition True, to be none$/,
        'none',
      ],
      [
        { observed: bare, marks: none, tamperedAt: now },
        /none; label_tamper: somebody changed them, last 20\d\d-.*; they are put back$/,
        'none',
      ],
    ] as const;
    for (const [looked, text, cell] of cases) {
      made.marks.set('node-1', { tamperedAt: null, resource: null, ...looked });
      const lineOf = async (words: readonly string[], label: RegExp) => {
        const { out } = await assay(words);
        return label.exec(out.replace(/\n {8,}/g, ' '))?.[1] ?? assert.fail(out);
      };
      assert.match(await lineOf(['describe', 'node-1'], /^Marks: +(.*)$/m), text);
      assert.match(await lineOf(['why', 'node-1'], /^ {2}marks +(.*)$/m), text);
      const { out } = await assay(['get', 'nodes', '-o', 'wide', '--no-headers']);
      assert.equal(out.split(/ {2,}/).at(-2), cell);
    }
    made.marks.clear();
    assert.doesNotMatch((await assay(['describe', 'node-1'])).out, /Marks/);
  });

  it('show what the resource of a node says instead of the truth, and why it cannot be written', async () => {
    const observed = { taints: [], foreignForm: false, label: null, condition: null };
    const looked = { observed, marks: { ...observed, label: false, suppressed: null }, tamperedAt: null };
    const refused = new ClusterError('invalid', 'the API of the cluster answers 422: status.state: no');
    for (const [shows, fault, text] of [
      ['old', refused, /^ {2}resource +its NodeAttestation is an old one: the API .* answers 422/m],
      ['least', refused, /^ {2}resource +its NodeAttestation shows the state alone: the API .* 422/m],
      ['none', null, /^ {2}resource +it has no NodeAttestation: it waits for its turn$/m],
    ] as const) {
      made.marks.set('node-1', { ...looked, resource: { shows, fault } });
      assert.match((await assay(['why', 'node-1'])).out.replace(/\n {8,}/g, ' '), text);
      assert.match((await assay(['describe', 'node-1'])).out, /^Resource: /m);
      const { marks } = JSON.parse((await assay(['get', 'nodes', '-o', 'json'])).out).items[0];
      assert.deepEqual(marks.resource, { shows, fault: fault?.message ?? null });
    }
    made.marks.clear();
  });

  it('enable trust for a group without nodes without a word of who is trusted', async () => {
    made.cluster.nodesByName.clear();
    token = 'admin-token';
    const dry = await assay(['trust', 'enable', '--dry-run']);
    assert.match(dry.out, /now 0 nodes/);
    assert.doesNotMatch(dry.out, /trusted/);
  });

  for (const [what, words] of [
    ['no reason', ['--for', '2h']],
    ['no end', ['--reason', 'a demo']],
    ['two ends', ['--reason', 'a demo', '--for', '2h', '--until', '2026-12-01T08:00:00Z']],
    ['an end that is no moment', ['--reason', 'a demo', '--until', 'tomorrow']],
    ['31 days', ['--reason', 'a demo', '--for', '31d']],
    ['--end and a time', ['--end', '--for', '2h']],
  ] as const)
    it(`exempt nobody with ${what}`, async () => {
      assert.equal((await assay(['exempt', 'node-1', ...words])).code, 2);
      assert.deepEqual(made.decisions.exemptions(), []);
    });

  it('enable trust for good after a question, and say for whom', async () => {
    token = 'admin-token';
    assert.equal((await assay(['trust', 'status'])).code, 11);
    const dry = await assay(['trust', 'enable', '--dry-run']);
    assert.deepEqual([dry.code, made.decisions.latch()], [0, null]);
    assert.match(dry.out, /2 nodes not trusted now: node-1 \(untrusted\) and node-2 \(pending\)/);
    assert.match(dry.out, /needs a copy of the audit key [0-9a-f]{8}, kept elsewhere: --audit-key-copy FILE/);
    using folder = mkdtempDisposableSync(join(tmpdir(), 'assay-copy-'));
    const fileOf = (name: string, text: string) => {
      writeFileSync(join(folder.path, name), text, { mode: 0o600 });
      return join(folder.path, name);
    };
    const copy = fileOf('audit.key', key.text);
    const enable = (file: string, answer: string | null) =>
      assay(['trust', 'enable', '--audit-key-copy', file], answer);
    assert.equal((await enable(copy, 'n')).code, 1);
    assert.equal((await enable(copy, null)).code, 2);
    const none = await assay(['trust', 'enable'], 'yes');
    assert.deepEqual([none.code, /--audit-key-copy FILE/.test(none.err)], [2, true], none.err);
    for (const file of [
      fileOf('no.key', 'PRIVATE'),
      fileOf('old.key', key.earlier),
      fileOf('empty.key', ''),
      join(folder.path, 'none'),
      folder.path,
      '/dev/zero',
    ]) {
      const refused = await enable(file, 'yes');
      assert.equal(refused.code, 1, file);
      assert.doesNotMatch(refused.err, /PRIVATE/);
    }
    const database = fileOf('assay.db', '');
    const link = join(mkdtempSync(join(folder.path, 'elsewhere-')), 'copy.key');
    symlinkSync(copy, link);
    for (const near of [copy, link])
      assert.match((await enable(near, 'yes')).err, /beside a server.s database/);
    rmSync(database);
    assert.equal(made.decisions.latch(), null);
    const done = await enable(copy, 'yes');
    assert.equal(done.code, 0, done.err);
    assert.match(done.out, /^enabled for good for all groups, by token:admin .*the cluster has it, too$/m);
    assert.equal((await assay(['trust', 'status'])).code, 0);
    assert.equal((await assay(['trust', 'enable', '--group', 'gpu', '--yes'])).code, 1);
  });

  it('unmark a latched cluster only by its uid: else they end with 12, (row 105)', async () => {
    made.cluster.change('node-1', { labels: { [trustedLabel]: 'true' } });
    await made.control.enableTrust([], { by: 'token:admin', copyOf: '00000000' });
    token = 'admin-token';
    const refused = await assay(['unmark', '--all', '--yes']);
    assert.equal(refused.code, 12);
    assert.match(refused.err, /latched/);
    assert.match(refused.err, /kubectl get namespace kube-system/);
    assert.equal(made.cluster.nodesByName.get('node-1')?.labels[trustedLabel], 'true');
    assert.equal((await assay(['unmark', '--yes'])).code, 2, 'it needs --all');
    const dry = await assay(['unmark', '--all', '--dry-run']);
    assert.match(dry.out, /1 node carry marks: node-1/);
    const words = ['unmark', '--all', '--cluster-uid', 'cluster-1', '--reason', 'given up'];
    const done = await assay(words, 'y');
    assert.equal(done.code, 0, done.err);
    assert.deepEqual(made.cluster.nodesByName.get('node-1')?.labels, {});
  });

  it('hold a policy against the latch before it is used', async () => {
    const cwd = mkdtempSync(join(tmpdir(), 'assay-latch-'));
    const file = join(cwd, 'policy.yaml');
    const text = (mode: string) =>
      `apiVersion: assay.dev/v1\nkind: Policy\ngroups:\n  - name: default\n    nodes: ["*"]\n    mode: ${mode}\n    require: [identity, boot, disk, firewall, host]\n`;
    await made.control.enableTrust([], { by: 'token:admin', copyOf: '00000000' });
    policyText = 'kind: Nonsense\n';
    await server.close();
    server = await start(made.control);
    const check = (mode: string) => {
      writeFileSync(file, text(mode));
      return assay(['policy', 'check', file, '--latched']);
    };
    const unreadable = await check('enforce');
    assert.deepEqual([unreadable.code, /same version/.test(unreadable.err)], [1, true]);
    policyText = strictPolicy.text;
    await server.close();
    server = await start(made.control);
    const refused = await check('observe');
    assert.equal(refused.code, 12);
    assert.match(refused.err, /policy\.yaml:6: groups\.0\.mode: latched: /);
    assert.equal((await check('enforce')).code, 0);
    rmSync(cwd, { recursive: true });
  });

  it('say that the server is in no cluster', async () => {
    const other = await start(null);
    const { code, err } = await runAssay(['breaker', 'list'], { env: environmentOf(other, token) });
    assert.equal(code, 1);
    assert.match(err, /no cluster/);
    assert.doesNotMatch(
      (await runAssay(['status'], { env: environmentOf(other, token) })).out,
      /Breaker|Trust/,
    );
    await other.close();
  });
});
