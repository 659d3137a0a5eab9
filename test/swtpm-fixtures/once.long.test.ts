import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, before, describe, it } from 'mocha';
import { type Cluster, openCluster } from '../../swtpm-fixtures/cluster/cluster.ts';
import { Expectations } from '../../swtpm-fixtures/cluster/expectations.ts';
import { createNarrator, type LeftOut } from '../../swtpm-fixtures/cluster/narrator.ts';
import { tellChange, vouch } from '../../swtpm-fixtures/cluster/story.ts';
import { withEmpty } from '../own-namespaces.ts';
import { programs, storyArguments } from '../programs.ts';
import { endOf } from './end-of.ts';

const program = join(import.meta.dirname, '../../swtpm-fixtures/cluster/main.ts');

async function runOnce(...args: readonly string[]) {
  return await runOnceAfter([], ...args);
}

async function runOnceAfter(before: readonly string[], ...args: readonly string[]) {
  const argv = [program, ...storyArguments, '--once', ...args];
  const { code, stdout, stderr } = await endOf(argv, {}, before);
  return { exit: code, out: stdout, err: stderr };
}

interface Line {
  readonly t: number;
  readonly node: string;
  readonly state: string;
  readonly reasons: readonly string[];
}

describe('npm start -- --once -o json', function () {
  this.timeout(180_000);
  /** It is in /usr/sbin. Who is not root can hide that only where it is root, and then has no need of user namespaces. */
  const canHideNft = process.getuid?.() === 0;
  let ofKernel: ReturnType<typeof runOnce>;
  let withoutNft: ReturnType<typeof runOnce> | null;

  /** Both at once: most of a story is silence, until it counts as one. */
  before(() => {
    ofKernel = runOnce('-o', 'json', '--tamper', 'kernel');
    withoutNft = canHideNft ? runOnceAfter(withEmpty('/usr/sbin'), '-o', 'json') : null;
  });
  after(() => Promise.all([ofKernel, withoutNft]));

  it('reports a changed kernel in one object a line, and exits 0', async () => {
    const { exit, out, err } = await ofKernel;
    assert.equal(exit, 0, err);
    assert.equal(err, '');
    const lines = out.trimEnd().split('\n');
    const last: unknown = JSON.parse(lines.pop() ?? '');
    assert(typeof last === 'object' && last !== null && 'summary' in last && 'ok' in last);
    assert.deepEqual(Object.assign({}, last, { summary: {} }), { summary: {}, ok: true, leftOut: [] });
    const { seconds, ...counts } = Object(last.summary) as Record<string, unknown>;
    assert.deepEqual(counts, { nodes: 3, trusted: 1, untrusted: 1, unknown: 1 });
    assert.equal(typeof seconds, 'number');
    const reported = lines.map((line) => JSON.parse(line) as Line);
    for (const each of reported) assert.deepEqual(Object.keys(each), ['t', 'node', 'state', 'reasons']);
    assert.deepEqual(
      reported.map(({ t }) => t),
      reported.map(({ t }) => t).sort((a, b) => a - b),
    );
    const of = (name: string) => reported.filter(({ node }) => node === name).map(({ state }) => state);
    assert.equal(of('node-1').at(-1), 'trusted');
    assert.equal(of('node-3').at(-1), 'unknown');
    assert.equal(of('node-2').at(-1), 'untrusted');
    const found = reported.findLast(({ node, state }) => node === 'node-2' && state === 'untrusted');
    assert(found?.reasons.includes('kernel_unknown') === true, found?.reasons.join() ?? 'never untrusted');
  });

  describe('where there is no nft', () => {
    before(function () {
      if (!canHideNft) this.skip();
    });

    it('says in its summary that the firewall was left out, and why', async () => {
      const { exit, out, err } = (await withoutNft) ?? assert.fail();
      assert.equal(exit, 0, err);
      const last = JSON.parse(out.trimEnd().split('\n').at(-1) ?? '') as { ok: unknown; leftOut: LeftOut[] };
      assert.equal(last.ok, true);
      assert.deepEqual(
        last.leftOut.map(({ aspect }) => aspect),
        ['firewall'],
      );
      assert.match(last.leftOut[0]?.why ?? '', /\bnft\b/);
    });

    it('refuses to change a firewall before anything is started', async () => {
      const { exit, out, err } = await runOnceAfter(withEmpty('/usr/sbin'), '--tamper', 'firewall');
      assert.deepEqual([exit, out], [1, '']);
      assert.match(err, /\bnft\b/);
    });
  });

  it('takes fewer than three nodes for a mistake in the command', async () => {
    const { exit, out, err } = await runOnce('--nodes', '2');
    assert.equal(exit, 2);
    assert.equal(out, '');
    assert.match(err, /at least 3/);
  });
});

describe('what npm start -- --tamper changes on a node', function () {
  this.timeout(180_000);
  let dir = '';
  let cluster: Cluster;
  let said = '';
  const ends = new AsyncDisposableStack();
  const narrator = createNarrator(
    'json',
    new Writable({
      write(chunk, _encoding, done) {
        said += String(chunk);
        done();
      },
    }),
  );
  const expected = () => new Expectations(cluster, narrator);
  const second = () => cluster.nodes[1] ?? assert.fail();

  /** One story for all changes: each is taken back before the next one. */
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'assay-changes-'));
    ends.defer(() => rm(dir, { recursive: true, force: true }));
    cluster = ends.use(
      await openCluster({
        dir,
        nodes: 2,
        challengeEvery: 5_000,
        unknownAfter: 60_000,
        logLevel: 'silent',
        ports: 'free',
        narrator,
        signal: new AbortController().signal,
        programs,
      }),
    );
    const alone = { ...cluster, nodes: [second()] };
    const { name, ekDigest } = second();
    await cluster.operator.importKeys([{ node: name, ekDigest }]);
    await second().startAgent();
    await vouch(alone, narrator);
    await trusted();
  });
  after(() => ends.disposeAsync());

  async function trusted(): Promise<void> {
    assert(await cluster.reaches('node-2', 'trusted', null, 60_000), JSON.stringify(cluster.state('node-2')));
  }

  for (const [change, code, takeBack] of [
    ['cmdline', 'cmdline_policy', () => second().reboot(second().log)],
    ['secureboot', 'secureboot_off', () => second().reboot(second().log)],
    ['firewall', 'fw_drift', () => second().reboot(second().log)],
    ['disk', 'mount_not_encrypted', () => second().machine.mountStorage('encrypted')],
    // It is allowed by a command, once it was found.
    ['runtime', 'ima_unknown_file', async () => undefined],
  ] as const)
    it(`is reported in one object a line: ${change}`, async () => {
      said = '';
      const its = expected();
      await tellChange(cluster, narrator, second(), change, its);
      assert(its.held, said);
      const lines = said.trimEnd().split('\n');
      const reported = lines.map((line) => JSON.parse(line) as Line).filter(({ node }) => node === 'node-2');
      for (const each of reported) assert.deepEqual(Object.keys(each), ['t', 'node', 'state', 'reasons']);
      const found = reported.findLast(({ state }) => state === 'untrusted');
      assert(found?.reasons.includes(code) === true, said);
      assert.equal(reported.at(-1)?.state, change === 'runtime' ? 'trusted' : 'untrusted');
      await takeBack();
      await trusted();
    });
});
