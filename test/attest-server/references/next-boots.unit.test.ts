import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { beforeEach, describe, it } from 'mocha';
import { reference as parsed, type Reference } from '../../../attest-server/formats/reference.ts';
import { unmatched } from '../../../attest-server/policy/policy.ts';
import { type NextBootPorts, NextBoots } from '../../../attest-server/references/next-boots.ts';
import { now, reasonOf, statusOf, verdictOf } from '../http/api-fixture.ts';

const digest = 'a'.repeat(64);
const kernel = { kind: 'kernel', path: 'boot/vmlinuz-6.12', since: null, booted: false, digests: [digest] };
const part = (files: readonly object[] = [kernel]) =>
  Buffer.from(JSON.stringify({ version: 1, files, unread: [] }));
const digestOf = (bytes: Buffer) => hash('sha256', bytes, 'hex');
const known = (more: Partial<Reference> = {}): Reference => ({
  ...parsed.parse({
    version: 1,
    name: 'next',
    group: unmatched.name,
    state: 'active',
    expires: null,
    pcrs: {},
    components: [{ stage: 'kernel', scope: 'group', digests: { sha256: digest }, description: '' }],
  }),
  ...more,
});
const affirmed = verdictOf({ aspects: { boot: { status: 'affirming', source: 'tpm' } } });

describe('forecasts of a fleet', () => {
  let parts: Map<string, Buffer>;
  let references: Reference[];
  let hasLease: boolean;
  let hasOpened: boolean;
  let reads: string[];
  let inForce: object;
  let at: number;
  let statuses: ReturnType<NextBootPorts['statuses']>;
  let boots: NextBoots;
  beforeEach(() => {
    parts = new Map([[digestOf(part()), part()]]);
    references = [];
    hasLease = false;
    hasOpened = false;
    reads = [];
    inForce = {};
    at = now;
    statuses = ['node-1', 'node-2'].map((name) =>
      statusOf(name, affirmed, { parts: { installed: digestOf(part()) }, expiresAt: now + 1000 }),
    );
    boots = new NextBoots({
      store: { list: async () => references },
      statuses: () => statuses,
      readPart: async (named, node) => {
        reads.push(node);
        return parts.get(named) ?? null;
      },
      groupOf: () => unmatched,
      hasLease: () => hasLease,
      hasOpened: () => hasOpened,
      inForce: () => inForce,
      now: () => at,
    });
  });
  const answers = async () => [...(await boots.by())].map(([name, { answer }]) => `${name} ${answer}`);

  it('say of a node with a disk of ours which shows another header that it gets no key', async () => {
    references = [known()];
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would']);
    hasLease = true;
    const [first, second] = statuses;
    assert(first !== undefined && second !== undefined);
    const shows = (reference?: string) => {
      const reasons = [reasonOf('luks_header_changed', { reference })];
      return { ...first, verdict: { ...affirmed, reasons } };
    };
    // What lies there before its first boot with the volume.
    statuses = [shows(), second];
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would']);
    // Another volume lies in the place of it: whether its own is there, and asks, nobody knows.
    hasOpened = true;
    assert.deepEqual(await answers(), ['node-1 unknown', 'node-2 would']);
    statuses = [shows('disk-1'), second];
    assert.deepEqual(await answers(), ['node-1 would_not', 'node-2 would']);
    const [cause] = (await boots.by('node-1')).get('node-1')?.causes ?? [];
    assert.match(cause?.text ?? '', /another LUKS header .* its key opens nothing/);
    statuses = [{ ...shows('disk-1'), expiresAt: now - 1 }];
    assert.deepEqual(await answers(), ['node-1 would_not']);
  });

  it('say of a boot that was merely announced that it gets no key, unless it is approved', async () => {
    const booted = part([{ ...kernel, booted: true }]);
    parts.set(digestOf(booted), booted);
    const announced = {
      nodes: null,
      by: 'alice',
      at: '2020-01-01T00:00:00Z',
      until: '2099-01-01T00:00:00Z',
      reason: 'x',
    };
    references = [known({ state: 'staged', announced })];
    const verdict = { ...affirmed, reasons: [reasonOf('change_expected', { severity: 'info' })] };
    statuses = statuses.map((one) => ({ ...one, verdict, parts: { installed: digestOf(booted) } }));
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would']);
    hasLease = true;
    assert.deepEqual(await answers(), ['node-1 would_not', 'node-2 would_not']);
    // As where its command line alone was announced.
    references = [known()];
    inForce = {};
    assert.deepEqual(await answers(), ['node-1 unknown', 'node-2 unknown']);
  });

  it('are made once, and again only where references, policy or what is installed moved', async () => {
    assert.deepEqual(await answers(), ['node-1 would_not', 'node-2 would_not']);
    await answers();
    assert.deepEqual(reads, ['node-1', 'node-2']);
    const other = part([{ ...kernel, booted: true }]);
    parts.set(digestOf(other), other);
    statuses = statuses.map((one, index) =>
      index === 0 ? { ...one, parts: { installed: digestOf(other) } } : one,
    );
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would_not']);
    assert.deepEqual(reads, ['node-1', 'node-2', 'node-1']);
    references = [known()];
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would_not']);
    inForce = {};
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would']);
    assert.equal(reads.length, 5);
  });

  it('are made again once a part is there that was not kept', async () => {
    parts.clear();
    assert.deepEqual(await answers(), ['node-1 unknown', 'node-2 unknown']);
    parts.set(digestOf(part()), part());
    assert.deepEqual(await answers(), ['node-1 would_not', 'node-2 would_not']);
  });

  it('of one node look at no other', async () => {
    assert.deepEqual([...(await boots.by('node-2')).keys()], ['node-2']);
    assert.deepEqual(reads, ['node-2']);
    await answers();
    assert.deepEqual(reads, ['node-2', 'node-1']);
  });

  it('end with the reference that they rest on', async () => {
    references = [known({ expires: new Date(now + 500).toISOString() })];
    assert.deepEqual(await answers(), ['node-1 would', 'node-2 would']);
    at = now + 500;
    assert.deepEqual(await answers(), ['node-1 would_not', 'node-2 would_not']);
  });

  for (const [name, change, why] of [
    ['is silent', { expiresAt: now }, /it is silent: its latest proof is of 20/],
    ['was never proven', { expiresAt: null, verifiedAt: null, parts: {} }, /it is silent/],
    ['has an old agent', { parts: {} }, /its agent says nothing of it.*update it/],
    [
      'has said what a restored database lost',
      { parts: { installed: 'b'.repeat(64) } },
      /its next answer brings it/,
    ],
    ['says what nobody can read', { parts: { installed: 'c'.repeat(64) } }, /cannot be read/],
    ['says a time without end', { parts: { installed: 'd'.repeat(64) } }, /files\.0\.since.*update/],
  ] as const)
    it(`are unknown of a node that ${name}, with what to do`, async () => {
      parts.set('c'.repeat(64), Buffer.from('{"version":2}'));
      parts.set('d'.repeat(64), part([{ ...kernel, since: `2026-12-03T12:00:00.${'0'.repeat(5_000)}Z` }]));
      statuses = [
        statusOf('node-1', affirmed, {
          parts: { installed: digestOf(part()) },
          expiresAt: now + 1000,
          ...change,
        }),
      ];
      const { answer, causes } = (await boots.by()).get('node-1') ?? assert.fail();
      assert.equal(answer, 'unknown');
      assert.match(causes[0]?.text ?? '', why);
      assert.match(causes[0]?.next ?? '', /node-1/);
    });
});
