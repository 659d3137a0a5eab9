import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { verifyBundle } from '../../attest-server/cli/offline/verify/verify.ts';
import type { Bundle } from '../../attest-server/formats/bundle.ts';
import { atOnce } from '../../attest-server/formats/in-steps.ts';
import type { Reference } from '../../attest-server/formats/reference.ts';
import { captureReferencesInSteps } from '../../attest-server/policy/capture.ts';
import { parsePolicy } from '../../attest-server/policy/file/policy-file.ts';
import { groupOf } from '../../attest-server/policy/policy.ts';
import { verifyBundleEvidence } from '../../attest-server/verify/bundle-evidence.ts';
import { type Boots, bootAll, bootedBy } from './boots.ts';

const policy = parsePolicy(bootedBy, 'policy.yaml');

describe('a virtual machine that systemd-boot starts', () => {
  let boots: Boots;
  let reference: Reference;
  before(async function () {
    this.timeout(0);
    boots = await bootAll();
    const proven = verifyBundleEvidence(boots.honest, null);
    const about = { name: 'good', state: 'active', by: 'me', at: 0, only: null } as const;
    const group = groupOf(policy, 'worker-1', {});
    const answers = [{ node: 'worker-1', proven }];
    const [made] = atOnce(captureReferencesInSteps('boot', answers, group, about));
    reference = made ?? assert.fail();
  });
  after(() => undefined);

  const judged = (bundle: Bundle, by = reference) => {
    const { verdict } = verifyBundle(JSON.stringify(bundle), { policy, references: [by], now: 1 });
    const codes = verdict.reasons.map(({ code, severity }) => `${code} ${severity}`);
    return [verdict.state, ...codes.filter((code) => !code.startsWith('identity_unproven'))];
  };

  it('is trusted as it was captured, and its kernel proves that nothing was measured again', () => {
    assert.deepEqual(judged(boots.honest), ['trusted']);
  });

  it('shows every PCR but 10 as before when a replaced initrd extends what it should have been (row 132)', () => {
    const [honest, attacked] = [boots.honest, boots.attacked].map(
      ({ quotes: [quote] }) => quote?.pcrs.sha256,
    );
    assert(honest !== undefined && attacked !== undefined);
    const differing = Object.keys(honest).filter((pcr) => honest[pcr] !== attacked[pcr]);
    assert.deepEqual(differing, ['10']);
  });

  it('is untrusted then, since its kernel found another PCR 9 when it started (row 132)', () => {
    assert.deepEqual(judged(boots.attacked), ['untrusted', 'boot_remeasured fail']);
  });

  it('is told not to prove it where the list is withheld, and nobody demands it (row 133)', () => {
    const { ima: _, ...parts } = boots.attacked.parts;
    const { aggregate: __, ...before } = reference;
    assert.deepEqual(judged({ ...boots.attacked, parts }, before), ['trusted', 'facts_unavailable info']);
  });

  it('is pending where the list is withheld that the captured boot sent (row 340)', () => {
    const { ima: _, ...parts } = boots.attacked.parts;
    assert.equal(reference.aggregate, 'required');
    assert.deepEqual(judged({ ...boots.attacked, parts }), ['pending', 'facts_unavailable fail']);
  });

  it('is untrusted with the log that was really written, which names an initrd and has none (row 134)', () => {
    assert.ok(judged(boots.unmasked).includes('initrd_unmeasured fail'));
  });
});
