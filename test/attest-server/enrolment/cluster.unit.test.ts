import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { verifyChain } from '../../../attest-server/audit/chain.ts';
import type { ClusterPorts } from '../../../attest-server/enrolment/cluster.ts';
import { createRegistry, type Registry } from '../../../attest-server/enrolment/registry.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import type { VouchedTpm } from '../../../attest-server/verify/endorsement-paths.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';
import { openMadeStore } from '../store/made-store.ts';
import { endorsed, hello, refused, unendorsed } from './made-candidate.ts';

const ekOf = (digit: string) => digit.repeat(64);
const keysOf = (digit: string) => ({
  ekDigest: ekOf(digit),
  keyDigest: ekOf(digit),
  akName: `000b${ekOf(digit)}`,
});

let store: Store;
let ways: string[];
let tpm: VouchedTpm;
let machines: Map<string, string>;
let cloud: Map<string, string>;
let tokens: Map<string, string>;
let now: number;
let registry: Registry;

beforeEach(async () => {
  store = await openMadeStore(':memory:');
  tpm = endorsed;
  machines = new Map([['node-1', 'example://1']]);
  cloud = new Map([['example://1', ekOf('a')]]);
  tokens = new Map([['head.claims.signature', 'node-1']]);
  now = 0;
  registry = registryWith({
    cluster: {
      providerIdOf: async (node) => machines.get(node) ?? null,
      nodeOfToken: async (token) => tokens.get(token) ?? null,
    },
    ekOfMachine: async (providerId) => cloud.get(providerId) ?? null,
  });
});

function registryWith(clusterPorts: ClusterPorts | null): Registry {
  return createRegistry({
    checkPins: async () => {},
    store: store.enrolment,
    mayEnrol: (_node, by) => ways.includes(by),
    authority: { digest: 'c'.repeat(64) },
    firstUsePerSource: 256,
    trial: false,
    alert: () => {},
    clusterPorts,
  });
}

function identify(node: string, digit: string, token: string | null = null) {
  const keys = {
    ...keysOf(digit),
    ekPublicArea: Buffer.from(digit),
    ekCertificate: null,
    akPublicArea: Buffer.from(digit),
  };
  now += 1;
  const isJoin = token !== null && /^[\w-]{12}\.[\w-]{43}$/.test(token);
  const tokens = { join: isJoin ? token : null, cluster: isJoin ? null : token };
  return registry.identify(hello(node), keys, tokens, { at: now, source: '10.0.0.1' });
}

async function join(node: string, digit: string, token: string | null = null) {
  const found = await identify(node, digit, token);
  if ('candidate' in found) await registry.enrol(found.candidate, found.joinTokenId, tpm);
  return found;
}

const auditOf = async () => {
  const entries = await store.audit.entries({ limit: 100 });
  assert.equal(verifyChain(entries).ok, true);
  return entries.map(({ action, subject, actor }) => `${actor} ${action} ${subject}`);
};
const revokeByPerson = (node: string, digit: string) =>
  store.enrolment.revoke(
    { name: node, ekDigest: ekOf(digit), at: now, reason: 'stolen' },
    { at: now, actor: 'token:admin', action: 'enrol.revoke', subject: node, code: null, detail: {} },
  );

describe('enrolment by the method cloud', () => {
  beforeEach(() => {
    ways = ['cloud', 'pin', 'join-token'];
  });

  it('binds the TPM of the machine behind the Node, keeps which machine that is, and says so in the audit log', async () => {
    await join('node-1', 'a');
    const record = await store.enrolment.node('node-1');
    assert.deepEqual([record?.bound, record?.providerId], ['cloud', 'example://1']);
    assert.ok('known' in (await join('node-1', 'a')));
    const [entry] = await store.audit.entries({ limit: 1 });
    assert.deepEqual(
      [entry?.action, entry?.detail.bound, entry?.detail.providerId],
      ['enrol', 'cloud', 'example://1'],
    );
  });

  it('refuses another TPM than the one that the cloud names, whatever else it brings', async () => {
    ways = ['cloud', 'vendor', 'first-use'];
    await refused(join('node-1', 'b'), 'enrolment_pending');
    await refused(join('node-1', 'b', 'head.claims.signature'), 'enrolment_pending');
    assert.equal(await store.enrolment.node('node-1'), null);
  });

  it('binds nobody where there is no such Node, or the cloud does not know its machine', async () => {
    await refused(join('node-2', 'a'), 'enrolment_pending');
    cloud.clear();
    await refused(join('node-1', 'a'), 'enrolment_pending');
  });

  it('binds nobody where cluster or cloud give no answer, by no other way either', async () => {
    ways = ['cloud', 'first-use'];
    const broken = async (): Promise<never> => {
      throw new Rejection('enrolment_pending', 'no answer');
    };
    const fault = async (): Promise<never> => {
      throw new Error('the cluster cannot be reached');
    };
    const nodeOfToken = async () => null;
    registry = registryWith({
      cluster: { providerIdOf: async () => 'example://1', nodeOfToken },
      ekOfMachine: broken,
    });
    await refused(join('node-1', 'a'), 'enrolment_pending');
    registry = registryWith({ cluster: { providerIdOf: fault, nodeOfToken }, ekOfMachine: broken });
    await assert.rejects(join('node-1', 'a'), Error);
    assert.equal(await store.enrolment.node('node-1'), null);
  });

  it('is no way where the policy does not name it, or the server has no cluster', async () => {
    ways = ['pin', 'approval', 'join-token', 'vendor'];
    await refused(join('node-1', 'a'), 'enrolment_pending');
    ways = ['cloud', 'vendor'];
    registry = registryWith(null);
    await refused(join('node-1', 'a'), 'enrolment_pending');
    await refused(join('node-1', 'a', 'head.claims.signature'), 'enrolment_pending');
  });

  it('yields to a pin', async () => {
    await registry.importPins([{ node: 'node-1', ekDigest: ekOf('b') }], 'token:admin', 0);
    await refused(join('node-1', 'a'), 'enrolment_pending');
    await join('node-1', 'b');
    assert.equal((await store.enrolment.node('node-1'))?.bound, 'pin');
  });

  it('gives a reused name to the new machine, revokes the old record, and says both in the audit log', async () => {
    await join('node-1', 'a');
    machines.set('node-1', 'example://2');
    cloud.set('example://2', ekOf('b'));
    await join('node-1', 'b');
    const record = await store.enrolment.node('node-1');
    assert.deepEqual([record?.ekDigest, record?.providerId], [ekOf('b'), 'example://2']);
    assert.equal(await store.enrolment.nodeByEk(ekOf('a')), null);
    assert.equal(await store.enrolment.wasRevoked(keysOf('a')), true);
    assert.equal((await store.verdicts.status('node-1'))?.state, 'pending');
    assert.deepEqual(await auditOf(), [
      'agent:node-1 enrol node-1',
      'server enrol.revoke node-1',
      'agent:node-1 enrol node-1',
    ]);
    const [, revoked] = await store.audit.entries({ limit: 3 });
    assert.deepEqual(
      [revoked?.detail.ek, revoked?.detail.reason, revoked?.detail.providerId],
      [ekOf('a'), 'superseded by example://2', 'example://1'],
    );
    await refused(join('node-1', 'a'), 'enrolment_pending');
  });

  it('gives a name to no new TPM of the same machine, and to none that the cloud does not name', async () => {
    await join('node-1', 'a');
    cloud.set('example://1', ekOf('b'));
    await refused(join('node-1', 'b'), 'enrolment_pending');
    machines.set('node-1', 'example://2');
    await refused(join('node-1', 'b'), 'enrolment_pending');
    cloud.set('example://2', ekOf('c'));
    await refused(join('node-1', 'b'), 'enrolment_pending');
    assert.equal((await store.enrolment.node('node-1'))?.ekDigest, ekOf('a'));
  });

  it('supersedes nothing that a person bound or pinned', async () => {
    await registry.importPins([{ node: 'node-1', ekDigest: ekOf('b') }], 'token:admin', 0);
    await join('node-1', 'b');
    await refused(join('node-1', 'a'), 'enrolment_pending');
    machines.set('node-2', 'example://1');
    await join('node-2', 'a');
    await registry.importPins([{ node: 'node-2', ekDigest: ekOf('a') }], 'token:admin', 0);
    machines.set('node-2', 'example://3');
    cloud.set('example://3', ekOf('d'));
    await refused(join('node-2', 'd'), 'enrolment_pending');
    assert.equal((await store.enrolment.node('node-2'))?.ekDigest, ekOf('a'));
  });

  it('lets no slow enrolment displace one that was identified after it', async () => {
    await join('node-1', 'a');
    machines.set('node-1', 'example://2');
    cloud.set('example://2', ekOf('b'));
    const slow = await identify('node-1', 'b');
    machines.set('node-1', 'example://3');
    cloud.set('example://3', ekOf('c'));
    await join('node-1', 'c');
    assert.ok('candidate' in slow);
    await refused(registry.enrol(slow.candidate, null, tpm), 'ek_already_bound');
    assert.equal((await store.enrolment.node('node-1'))?.ekDigest, ekOf('c'));
    assert.equal((await auditOf()).length, 3);
  });

  it('lets no second TPM of one machine displace the first, even if both were identified before', async () => {
    const first = await identify('node-1', 'a');
    cloud.set('example://1', ekOf('b'));
    const second = await identify('node-1', 'b');
    assert.ok('candidate' in first && 'candidate' in second);
    await registry.enrol(first.candidate, null, tpm);
    await refused(registry.enrol(second.candidate, null, tpm), 'ek_already_bound');
  });

  it('takes back no TPM that a person revoked, until the cloud has it in another machine', async () => {
    await join('node-1', 'a');
    await revokeByPerson('node-1', 'a');
    await refused(join('node-1', 'a'), 'enrolment_pending');
    machines.set('node-1', 'example://9');
    cloud.set('example://9', ekOf('a'));
    await join('node-1', 'a');
    assert.equal((await store.enrolment.node('node-1'))?.providerId, 'example://9');
  });
});

describe('enrolment by the method vendor, a TPM maker and a token of the node', () => {
  const token = 'head.claims.signature';
  beforeEach(() => {
    ways = ['vendor', 'join-token', 'first-use'];
  });

  it('gives the name to the first TPM that brings both, and shows it as such', async () => {
    await join('node-1', 'a', token);
    const record = await store.enrolment.node('node-1');
    assert.deepEqual([record?.bound, record?.endorsedBy], ['vendor', endorsed.endorsedBy]);
    assert.equal(record?.providerId, undefined);
    await refused(join('node-1', 'b', token), 'enrolment_pending');
    const [entry] = await store.audit.entries({ limit: 1 });
    assert.deepEqual([entry?.action, entry?.detail.bound], ['enrol', 'vendor']);
  });

  it('takes no certificate that does not chain to a configured root, and none that is not there', async () => {
    ways = ['vendor', 'join-token'];
    tpm = unendorsed('ek_untrusted_root');
    await refused(join('node-1', 'a', token), 'ek_untrusted_root');
    tpm = unendorsed('enrolment_pending');
    await refused(join('node-1', 'a', token), 'enrolment_pending');
    assert.equal(await store.enrolment.node('node-1'), null);
  });

  it('takes the first use of a TPM for which no root vouches, where the policy allows both', async () => {
    for (const [node, digit, code] of [
      ['node-1', 'a', 'enrolment_pending'],
      ['node-2', 'b', 'ek_untrusted_root'],
    ] as const) {
      tpm = unendorsed(code);
      ways = ['vendor', 'first-use'];
      tokens.set(token, node);
      await join(node, digit, token);
      const record = await store.enrolment.node(node);
      assert.deepEqual([record?.bound, record?.enrolledBy, record?.endorsedBy], ['first-use', 'node', null]);
      assert.notEqual(record?.enrolledFrom, undefined);
    }
  });

  it('takes no token of another node, and none that the cluster does not know', async () => {
    await refused(join('node-2', 'a', token), 'token_rejected');
    await refused(join('node-1', 'a', 'made.up.token'), 'token_rejected');
    await refused(join('node-1', 'a', ''), 'token_rejected');
  });

  it('binds nobody without a token', async () => {
    ways = ['vendor'];
    await refused(join('node-1', 'a'), 'enrolment_pending');
  });

  it('is no way where the policy does not name it', async () => {
    ways = ['join-token'];
    await refused(join('node-1', 'a', token), 'enrolment_pending');
    ways = ['pin'];
    await refused(join('node-1', 'a', token), 'enrolment_pending');
  });

  it('stands beside join tokens, which the cluster never sees', async () => {
    const text = await registry.createJoinToken({
      node: 'node-1',
      ttlMs: 1000,
      actor: 'token:admin',
      now: 0,
    });
    tokens.set(text.split('.').slice(2, 4).join('.'), 'node-2');
    await join('node-1', 'a', text.split('.').slice(2, 4).join('.'));
    assert.equal((await store.enrolment.node('node-1'))?.bound, 'join-token');
  });

  it('takes back no TPM that a person revoked', async () => {
    await join('node-1', 'a', token);
    await revokeByPerson('node-1', 'a');
    await refused(join('node-1', 'a', token), 'enrolment_pending');
    assert.equal(await store.enrolment.node('node-1'), null);
  });

  it('binds nobody where the cluster gives no answer', async () => {
    registry = registryWith({
      cluster: {
        providerIdOf: async () => null,
        nodeOfToken: async () => {
          throw new Error('the cluster cannot be reached');
        },
      },
      ekOfMachine: null,
    });
    await assert.rejects(join('node-1', 'a', token), Error);
    assert.equal(await store.enrolment.node('node-1'), null);
  });
});
