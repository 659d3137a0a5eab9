import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { run, ToolError } from 'node-tpm2/run';
import { notSimulated, type SimulatedNode } from '../../../attest-server/policy/draft/simulation.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
} from '../http/api-fixture.ts';
import { type MadeVolumes, openMadeVolumes } from '../keys/made-volumes.ts';
import { madeNode } from '../store/made-records.ts';
import { environmentOf, type Ran, runAssay } from './cli-fixture.ts';

const side = (state: NodeState, untrusted = state === 'untrusted') => ({
  state,
  group: 'workers',
  mode: 'enforce' as const,
  reasons: untrusted ? [reasonOf('revoked_reference')] : [],
});
const simulated: readonly SimulatedNode[] = [
  { node: 'node-1', before: side('trusted'), after: side('untrusted'), changed: true, note: null },
  { node: 'node-2', before: side('trusted'), after: side('trusted'), changed: false, note: null },
  notSimulated('node-3', 'its evidence was erased'),
];

describe('a command that is dear', () => {
  const world = emptyWorld();
  let server: ApiServer;
  let made: MadeVolumes;
  before(async () => {
    made = await openMadeVolumes(() => now);
    await made.enrol(madeNode('node-1'));
    world.volumes = made.volumes;
    server = await startApi(world);
  });
  after(async () => {
    await server.close();
    await made[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    const volume = { name: 'docker', path: '/var/lib/docker', by: 'token:admin' };
    const [group = assert.fail()] = made.groups;
    await made.volumes.add({ node: madeNode('node-1'), group, ...volume });
    const at = { firstAt: 0, lastAt: 0, endedAt: 1, by: null, reason: null };
    const text = 'kind: Policy\n';
    const kept = { digest: '333d'.repeat(16), name: 'site', source: 'site.yaml', length: text.length, text };
    world.policies.push({ ...kept, ...at, came: 'start' });
    world.references.push({ ...referenceOf('workers-7'), state: 'staged' });
    world.simulated.push(...simulated);
    for (const name of ['node-1', 'node-2'])
      world.nodes.set(name, {
        enrolled: { ...enrolled(name), bound: 'first-use' },
        status: statusOf(name, verdictOf()),
      });
  });
  afterEach(() => {
    world.policies.length = 0;
    world.policyRollback = null;
    world.references.length = 0;
    world.simulated.length = 0;
    world.shared.length = 0;
    world.decisions.length = 0;
    world.nodes.clear();
  });

  /** What was asked on the terminal, beside what came of it. */
  async function assay(
    line: string,
    answer: string | null | undefined,
  ): Promise<Ran & { asked: readonly string[] }> {
    const asked: string[] = [];
    const ran = await runAssay(line.split(' '), {
      env: environmentOf(server, 'admin-token'),
      cwd: server.dir,
      ask:
        answer === undefined
          ? null
          : async (question) => {
              asked.push(question);
              return answer;
            },
    });
    return { ...ran, asked };
  }
  const state = () => world.references.find(({ name }) => name === 'workers-7')?.state;
  const changes = () => [state(), ...world.decisions];
  const volumes = async () => (await made.volumes.list()).length;

  const lines = [
    'reference approve workers-7 --reason because',
    'reference retire workers-7 --reason because',
    'reference revoke workers-7 --reason because',
    'reference delete workers-7 --reason because',
    'enrol revoke node-1 --reason sold',
    'enrol revoke node-1 --reason sold --erase-evidence',
    'enrol approve --all',
    'token revoke taken',
    'authority finish --force',
    'policy rollback 333d --reason because',
    'policy allow e25b0a91c7d4 --reason because',
    'disk remove node-1 docker',
  ];
  for (const line of lines) {
    it(`is refused where nobody can be asked, before it asks the server for anything: ${line}`, async () => {
      const answered = world.answered.length;
      const { code, out, err } = await assay(line, undefined);
      assert.deepEqual([code, out, world.answered.length], [2, '', answered]);
      assert.match(err, /--yes/);
    });

    it(`is asked for once, after it said whom it changes: ${line}`, async () => {
      for (const answer of ['n', '', 'yesterday', 'no y', null]) {
        const { code, out, err, asked } = await assay(line, answer);
        assert.deepEqual([code, out, asked.length, changes()], [1, '', 1, ['staged']], `${answer}`);
        assert.match(err, /^\S.*\n[\s\S]*nothing was changed\n$/);
        assert.equal(await volumes(), 1);
      }
      assert.deepEqual((await assay(line, ' YES ')).code, 0);
    });

    it(`asks nobody with --yes, and changes nothing with --dry-run: ${line}`, async () => {
      const tried = await assay(`${line} --dry-run`, undefined);
      assert.ok(tried.code === 0 || tried.code === 10, `${tried.code} ${tried.err}`);
      assert.deepEqual([tried.err, changes(), await volumes()], ['', ['staged'], 1]);
      assert.notEqual(tried.out, '');
      const both = await assay(`${line} --dry-run --yes`, 'y');
      assert.deepEqual([both.out, both.asked, changes()], [tried.out, [], ['staged']]);
      const done = await assay(`${line} --yes`, undefined);
      assert.equal(done.code, 0, done.err);
    });
  }

  it('does what was asked for, and no other thing', async () => {
    for (const line of [lines[2] ?? '', ...lines.slice(4, 7)]) await assay(line, 'y');
    assert.deepEqual(changes(), [
      'revoked',
      'token:admin revokes node-1: sold',
      'token:admin revokes node-1 and its evidence: sold',
      'token:admin approves node-1 abab,node-2 abab',
    ]);
  });

  it('shows of each TPM what a person compares, and who was refused under its name', async () => {
    const claim = { node: 'node-1', code: 'enrolment_pending', text: null, attempts: 1 } as const;
    const at = { firstSeen: 0, lastSeen: 0, address: '192.0.2.7' };
    for (const ekDigest of ['cd'.repeat(32), 'ab'.repeat(32), null])
      world.claims.push({ ...claim, ...at, ekDigest });
    try {
      const { out } = await assay('enrol approve --all --dry-run', undefined);
      const [, heading, one, two] = out.split('\n');
      assert.match(heading ?? '', /^NODE +EK +TPM +STATE +ADDRESS +NOTE$/);
      assert.match(one ?? '', /^node-1 +(ab){32} +virtual, IBM.* 1 other TPM refused under this name$/);
      assert.match(two ?? '', /^node-2 +(ab){32} .* -$/);
    } finally {
      world.claims.length = 0;
    }
  });

  it('says the sum first, and ends with 10 where a node would turn untrusted, as policy simulate does', async () => {
    const { code, out } = await assay('reference revoke workers-7 --reason because --dry-run', undefined);
    assert.equal(code, 10);
    assert.deepEqual(out.split('\n').slice(0, 2), [
      'of 3 nodes, 1 boots like reference workers-7; 1 would turn untrusted: node-1; 1 cannot be judged',
      'NODE    NOW      THEN       REASONS',
    ]);
    const line = 'reference revoke workers-7 --reason because --dry-run -o json';
    const { items, ...sums } = JSON.parse((await assay(line, undefined)).out);
    assert.deepEqual(Object.entries(sums).slice(0, 4).flat(), [
      ...['reference', 'workers-7', 'action', 'revoke'],
      ...['from', 'staged', 'to', 'revoked'],
    ]);
    const { nodes, like, changed, untrusted, sharedWith } = sums;
    assert.deepEqual([nodes, like, changed, untrusted, sharedWith], [3, 1, 1, 1, []]);
    assert.equal(items.length, 3);
    world.simulated.splice(0, 1);
    assert.equal((await assay(line, undefined)).code, 0);
  });

  it('names active references that affirm the same, to people and to programs', async () => {
    world.shared.push(
      { name: 'workers-1', whole: true, stages: ['kernel'] },
      { name: 'workers-2', whole: true, stages: ['kernel'] },
      { name: 'workers-3', whole: false, stages: ['kernel', 'initrd'] },
    );
    const { err } = await assay('reference revoke workers-7 --reason because', 'n');
    assert.match(err, /^active references workers-1 and workers-2 .* workers-7: .*revoked too$/m);
    assert.match(err, /^active reference workers-3 shares kernel and initrd with it.*stay good/m);
    const line = 'reference retire workers-7 --reason because --dry-run -o json';
    assert.deepEqual(JSON.parse((await assay(line, undefined)).out).sharedWith, []);
    assert.doesNotMatch((await assay(line.replace(' -o json', ''), undefined)).out, /workers-1/);
  });

  it('says of a restoration who revoked the reference, when, why, and what it will be', async () => {
    await assay('reference revoke workers-7 --reason mistaken --yes', undefined);
    const { code, err, out } = await assay('reference restore workers-7 --reason sorry', 'y');
    assert.match(
      err,
      /^token:admin revoked it on 2026-11-20T12:00:00Z: mistaken\nit would be staged again\n/,
    );
    assert.deepEqual([code, out, state()], [0, 'reference workers-7 of group workers is staged\n', 'staged']);
    assert.equal((await assay('reference restore workers-7 --reason sorry', 'y')).code, 1);
    const listed = await assay('reference list -o wide', undefined);
    assert.match(listed.out, /CHANGED +CHANGED BY +WHY\n.*restore 0s ago +token:admin +sorry\n$/);
    const [item] = JSON.parse((await assay('reference list -o json', undefined)).out).items;
    assert.deepEqual([item.changed.action, item.changed.from], ['restore', 'revoked']);
  });

  it('says whom a replaced authority would cut off, and refuses that without --force', async () => {
    const { code, err, asked } = await assay('authority finish', 'y');
    assert.deepEqual([code, asked], [1, []]);
    assert.match(err, /1 of 2 nodes .*: node-2\n/);
    assert.equal((await assay('authority finish --dry-run', undefined)).code, 10);
  });

  it('does not revoke a node that is none, nor ask for it', async () => {
    const { code, asked } = await assay('enrol revoke node-9 --reason sold', 'y');
    assert.deepEqual([code, asked, world.decisions], [1, [], []]);
  });

  it('does not ask about a token that there is not', async () => {
    for (const more of ['', ' --dry-run']) {
      const { code, asked } = await assay(`token revoke nobody${more}`, 'y');
      assert.deepEqual([code, asked], [1, []]);
    }
  });

  it('asks all the same where the server cannot say whom it changes', async () => {
    world.busy = true;
    try {
      const { code, err, asked } = await assay('reference revoke workers-7 --reason because', 'n');
      assert.deepEqual([code, asked.length, state()], [1, 1, 'staged']);
      assert.match(err, /could not say/);
      assert.equal((await assay('reference revoke workers-7 --reason because --dry-run', 'n')).code, 1);
    } finally {
      world.busy = false;
    }
  });

  describe('on a terminal', () => {
    const main = join(import.meta.dirname, '../../../attest-server/cli/main.ts');
    /** What stood on the terminal, and the exit code. `script` gives the command a pseudo-terminal. */
    async function onTerminal(line: string, typed: string): Promise<[code: number | null, text: string]> {
      const options = {
        env: environmentOf(server, 'admin-token'),
        input: Buffer.from(typed),
        timeoutMs: 30_000,
        maxOutputBytes: 65_536,
      };
      const command = `'${process.execPath}' '${main}' ${line}`;
      try {
        return [0, (await run('script', ['-qec', command, '/dev/null'], options)).stdout.toString()];
      } catch (error) {
        if (!(error instanceof ToolError)) throw error;
        return [error.exitCode, error.message];
      }
    }

    it('takes the line that is typed', async () => {
      const line = 'reference revoke workers-7 --reason because';
      assert.deepEqual([(await onTerminal(line, 'n\n'))[0], state()], [1, 'staged']);
      const [code, text] = await onTerminal(line, 'y\n');
      assert.deepEqual([code, state()], [0, 'revoked'], text);
      assert.match(text, /1 would turn untrusted: node-1[\s\S]*\[y\/N\]/);
    });

    it('takes a pipe for no person', async () => {
      const line = 'reference revoke workers-7 --reason because';
      const [code] = await onTerminal(`${line} </dev/null`, 'y\n');
      assert.deepEqual([code, state()], [2, 'staged']);
    });
  });
});
