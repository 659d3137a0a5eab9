import assert from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { reference } from '../../../../attest-server/formats/reference.ts';
import { maskIdentifiers } from '../../../../attest-server/policy/boot/masked-text.ts';
import { isOfMenu } from '../../../../attest-server/policy/boot/only-read.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { tamperEvent } from '../../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../../trials.ts';
import { insertBefore } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictsBy } from '../made-proof.ts';

const logs = ['debian13-shim-grub', 'debian13-sdboot-uki', 'rhel8-shim-grub', 'fedora41-locality-3'] as const;
const policy = policyOf('require: [identity, boot]');

const boots = logs.map((name) => {
  const log = recordedLog(name);
  const proven = madeProof({ log });
  const captured = reference.parse(JSON.parse(JSON.stringify(capturedFrom(proven))));
  // A loader's configuration does not count beside the commands that it led to, nor a constant of the firmware.
  const judged = (proven.boot?.state.components ?? []).filter(
    ({ pcr, kind }) =>
      [0, 2, 4, 6, 7, 8, 9, 12, 13, 14].includes(pcr) && kind !== 'configuration' && kind !== 'marker',
  );
  return { name, log, proven, judged, appraise: verdictsBy(policy, [captured]) };
});
/** By its place: a counterexample that is shown must not hold a whole log. */
const anyBoot = fc.nat(boots.length - 1);

describe('a boot that was captured', () => {
  for (const { name, proven, appraise } of boots)
    it(`as ${name} is trusted`, () => assert.equal(appraise(proven, { name: 'n' }, 0).state, 'trusted'));
});

describe('a boot in which one event differs from its reference', () => {
  it('is never trusted, whatever the event is called', () =>
    fc.assert(
      fc.property(anyBoot, fc.nat(), fc.nat(63), fc.option(anyType), (which, n, at, type) => {
        const boot = boots[which]!;
        const event = boot.judged[n % boot.judged.length]!;
        const digest = Object.fromEntries(
          Object.entries(event.digests).map(([bank, hex]) => {
            const digit = (15 - Number.parseInt(hex[at % hex.length]!, 16)).toString(16);
            return [bank, hex.slice(0, at % hex.length) + digit + hex.slice((at % hex.length) + 1)];
          }),
        );
        const other = tamperEvent(boot.log, event.event, { digest, ...(type !== null && { type }) });
        const verdict = boot.appraise(madeProof({ log: other }), { name: 'n' }, 0);
        assert.notEqual(verdict.state, 'trusted', `${boot.name} event ${event.event}`);
      }),
      { numRuns: trials(30) },
    ));

  it('is never trusted where that event is missing, unless another one like it is there', () =>
    fc.assert(
      fc.property(anyBoot, fc.nat(), (which, n) => {
        const boot = boots[which]!;
        const event = boot.judged[n % boot.judged.length]!;
        const alike = boot.judged.filter(
          ({ pcr, digests }) => pcr === event.pcr && digests.sha256 === event.digests.sha256,
        );
        const isMenu = isOfMenu(event);
        if (alike.length > 1 || event.kind === 'cmdline' || isMenu) return;
        const other = rewriteLog(boot.log, new Map([[event.event, 'drop']]));
        const verdict = boot.appraise(madeProof({ log: other }), { name: 'n' }, 0);
        assert.notEqual(verdict.state, 'trusted', `${boot.name} event ${event.event}`);
      }),
      { numRuns: 200 },
    ));

  it('is never trusted with an event more', () =>
    fc.assert(
      fc.property(anyBoot, fc.nat(), fc.constantFrom(0, 2, 4, 6, 7, 8, 9, 12, 13, 14), (which, n, pcr) => {
        const boot = boots[which]!;
        const after = n % parseEventLog(boot.log).raw.count;
        const more = { pcr, type: 13, data: Buffer.alloc(0), measured: Buffer.from('something else') };
        const other = insertBefore(boot.log, after + 1, more);
        const verdict = boot.appraise(madeProof({ log: other }), { name: 'n' }, 0);
        assert.notEqual(verdict.state, 'trusted', `${boot.name} after event ${after}`);
      }),
      { numRuns: 200 },
    ));
});

/** EV_NO_ACTION aside, which extends nothing: then the event is missing. */
const anyType = fc.integer({ min: 0, max: 0x80000010 }).filter((type) => type !== 3);

describe('masking identifiers', () => {
  it('twice is masking them once, and takes no longer for hostile text', () =>
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF-= ') })),
        (text) => {
          const once = maskIdentifiers(text.repeat(20));
          assert.equal(maskIdentifiers(once), once);
        },
      ),
    ));
});
