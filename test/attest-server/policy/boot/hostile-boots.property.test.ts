import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, it } from 'mocha';
import { eventBytes, type LogEvent, parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { type EventChange, rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { trials } from '../../../trials.ts';
import { insertBefore } from '../../../vectors/log-surgery.ts';
import { shimGuid, variable } from '../../verify/boot/made-boot.ts';
import { capturedFrom, madeProof, policyOf, verdictsBy } from '../made-proof.ts';

const logs = ['debian13-shim-grub', 'debian13-sdboot-uki', 'rhel8-shim-grub', 'centos9-shim-grub'] as const;
/** None of them lets anything else run than the reference has. */
const rules = [
  '{}',
  '{signers: ["*"]}',
  '{sbat: {minimum: 2021030218}}',
  '{mok: forbid}',
  '{explained: [0, 2, 4, 7]}',
  '{byValue: [0, 2, 6]}',
  '{scope: {initrd: node}}',
  '{cmdline: {forbid: ["zzz"], allow: ["zz*"]}}',
];
const judgedPcrs = [0, 2, 4, 6, 7, 8, 9, 12, 13, 14];

const boots = logs.map((name) => {
  const log = recordedLog(name);
  const reference = capturedFrom(madeProof({ log }));
  const parsed = parseEventLog(log);
  const events = parsed.events.filter(
    ({ pcr, type, describes }) =>
      judgedPcrs.includes(pcr) &&
      type !== 'EV_NO_ACTION' &&
      !(pcr === 9 && /\.(?:cfg|conf)$|grubenv$/.test(describes)),
  );
  const appraisers = rules.map((boot) =>
    verdictsBy(policyOf('require: [identity, boot]', `boot: ${boot}`), [reference], { remembers: false }),
  );
  return { name, log, events, data: parsed.events.map(({ index }) => eventBytes(parsed, index)), appraisers };
});

/** What a log may say of an event so that somebody takes it for something else. */
const words = [
  ...[
    'grub_cmd: menuentry x\0',
    '(hd0)/grub.cfg\0',
    'grubenv',
    'MokListTrusted\0',
    'initrd',
    '/initrd.img',
  ].map((text) => Buffer.from(text)),
  ...['.linux\0', '.cmdline\0'].map((text) => Buffer.from(text, 'utf16le')),
  ...['ec223b8f', 'ed223b8f', '2c58bcf5'].map((tag) => Buffer.from(`${tag}0400000061616161`, 'hex')),
  variable('SbatLevel', Buffer.from('sbat,1,2025021800\n'), shimGuid),
];
/** The rest of EV_*; EV_NO_ACTION extends nothing. */
const types = [
  ...[1, 4, 5, 6, 7, 8, 9, 0x0a, 0x0c, 0x0d, 0x0e, 0x11],
  ...[1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 0x0b, 0xe0, 0xe1, 0xe2].map((low) => 0x80000000 + low),
];
const digestsOf = (seed: number) =>
  Object.fromEntries(
    (['sha1', 'sha256', 'sha384', 'sha512'] as const).map((bank) => [bank, hash(bank, `other ${seed}`)]),
  );

type How = 'instead' | 'more' | 'with the true digest extended later';

/** What the log then is; the digest of what was measured is that of nothing in the log. */
function hostile(log: Buffer, at: LogEvent, type: number, data: Buffer, how: How, seed: number): Buffer {
  const change = { digest: digestsOf(seed), type, data };
  if (how === 'instead') return rewriteLog(log, new Map([[at.index, change]]));
  if (how === 'more') {
    const more = insertBefore(log, at.index, { pcr: at.pcr, type, data });
    return rewriteLog(more, new Map([[at.index, change]]));
  }
  const { raw, bytes } = parseEventLog(log);
  const end = raw.pcrs.lastIndexOf(at.pcr) + 1;
  const trueData = bytes.subarray(raw.dataOffsets[at.index], raw.ends[at.index]);
  const later = { pcr: at.pcr, type: raw.types[at.index] ?? 0, data: trueData };
  return rewriteLog(
    insertBefore(log, end, later),
    new Map<number, EventChange>([
      [at.index, change],
      [end, { digest: at.digests }],
    ]),
  );
}

describe('something else that was measured', () => {
  it('is never trusted, whatever the log calls it', () =>
    fc.assert(
      fc.property(
        fc.record({
          boot: fc.nat(boots.length - 1),
          rule: fc.nat(rules.length - 1),
          event: fc.nat(),
          said: fc.nat(),
          seed: fc.nat(),
          type: fc.constantFrom(...types),
          how: fc.constantFrom<How>('instead', 'more', 'with the true digest extended later'),
        }),
        ({ boot, rule, event, said, seed, type, how }) => {
          const { name, log, events, data, appraisers } = boots[boot]!;
          const at = events[event % events.length]!;
          const known = [...data, ...words];
          const other = hostile(log, at, type, known[said % known.length]!, how, seed);
          const verdict = appraisers[rule]!(madeProof({ log: other }), { name: 'n' }, 0);
          assert.notEqual(verdict.state, 'trusted', `${name} event ${at.index} under ${rules[rule]}`);
        },
      ),
      { numRuns: trials(40) },
    ));
});
