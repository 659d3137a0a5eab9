import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { createIdentify } from '../../../attest-server/enrolment/identify.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import type { CheckedKeys, IdentifiedTpm } from '../../../attest-server/enrolment/registry.ts';
import { EndorsementPaths } from '../../../attest-server/verify/endorsement-paths.ts';
import { forgedTpm } from '../forged-tpm.ts';

const hello = forgedTpm().hello('node-1');

const recordOf = (keys: CheckedKeys): EnrolledNode => ({
  ...keys,
  name: 'node-1',
  bound: 'pin',
  banks: null,
  enrolledAt: 0,
  enrolledBy: null,
  endorsedBy: null,
  manufacturer: null,
  tpmClass: 'unknown',
});

function identifyAs(found: (keys: CheckedKeys) => IdentifiedTpm) {
  return createIdentify({
    store: { node: async () => null },
    lastSeen: () => null,
    registry: { identify: async (_: unknown, keys: CheckedKeys) => found(keys) } as never,
    cluster: null,
    candidates: { note() {} },
    withoutTpm: { note: () => {} } as never,
    paths: new EndorsementPaths(() => {}),
    trust: () => ({ digest: '', roots: new Map(), intermediates: new Map() }) as never,
    now: () => 0,
  })(hello, { join: null, cluster: null }, '127.0.0.1');
}

describe('what stays of a hello with its connection', () => {
  it('is nothing of an enrolment where the node is enrolled', async () => {
    const { node, activation } = await identifyAs((keys) => ({ known: recordOf(keys) }));
    assert.equal(activation, null);
    assert.equal(node.enrolling, null);
  });

  it('has its bytes in memory of their own, which keeps nothing else', async () => {
    const { node } = await identifyAs((keys) => ({ candidate: recordOf(keys), joinTokenId: null }));
    assert.notEqual(node.enrolling, null);
    assert(node.record.ekCertificate !== null, 'the TPM has a certificate');
    for (const bytes of [node.record.ekPublicArea, node.record.ekCertificate, node.record.akPublicArea])
      assert.equal(bytes.buffer.byteLength, bytes.length);
  });
});
