import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

/** A PowerEdge, whose version (event 3) is not what it measures. */
const log = recordedLog('poweredge-version');
const reference = capturedFrom(madeProof({ log }));

function reasonsOf(bytes: Buffer) {
  const policy = policyOf('require: [identity, boot]', 'boot: {}');
  return verdictOn(madeProof({ log: bytes }), policy, { name: 'n' }, [reference], 1).reasons;
}

describe('the notes of a boot log', () => {
  it('are no reason for an honest machine that was captured', () => assert.deepEqual(reasonsOf(log), []));

  it('stand beside a reason that speaks of their event', () => {
    const another = rewriteLog(log, new Map([[3, { digest: { sha256: 'ab'.repeat(32) } }]]));
    const [first] = reasonsOf(another);
    assert.equal(first?.code, 'firmware_unknown');
    assert.match(first?.detail?.[0] ?? '', /^note on event 3: /);
  });
});
