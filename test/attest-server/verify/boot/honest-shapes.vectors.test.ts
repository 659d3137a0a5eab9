import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { reference } from '../../../../attest-server/formats/reference.ts';
import { captureReference } from '../../../../attest-server/policy/boot/capture.ts';
import { judgeBoot } from '../../../../attest-server/policy/boot/judge-boot.ts';
import { prepareReferences } from '../../../../attest-server/policy/boot/reference-set.ts';
import { defaultBootRules } from '../../../../attest-server/policy/boot/rules.ts';
import { vouchedBoot } from '../../../../attest-server/policy/boot/vouched-boot.ts';
import { asTheLogSays, bootState } from '../../../../attest-server/verify/boot/derive-boot-state.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../../../attest-server/verify/measured-boot.ts';
import { parseEventLog } from '../../../../attest-server/verify/tpm/event-log.ts';
import { pcrBanks } from '../../../../attest-server/wire/messages.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import { replayedValues } from '../../policy/made-proof.ts';

interface Shape {
  /** How many notes of each code. */
  readonly notes: Readonly<Record<string, number>>;
  readonly secureBoot: boolean | null;
  readonly firmwareVersion: string | null;
  /** What a capture of it is then judged as; null where it has SHA-1 alone, or no kernel, and cannot be green. */
  readonly codes: readonly string[] | null;
}

const sameBoot: readonly string[] = [];

/** What makers do differently; the banks' values are in the folders' expected.json. */
const shapes: Readonly<Record<string, Shape>> = {
  'poweredge-version': {
    notes: { other_data: 1 },
    secureBoot: false,
    firmwareVersion: null,
    codes: sameBoot,
  },
  'fit-of-zeros': {
    notes: { not_a_separator: 1 },
    secureBoot: false,
    firmwareVersion: null,
    codes: ['kernel_unknown'],
  },
  'amd-second-attempt': {
    notes: { second_separator: 8 },
    secureBoot: true,
    firmwareVersion: null,
    codes: sameBoot,
  },
  openpower: {
    notes: { other_data: 18, not_a_separator: 7, retyped_separator: 1, second_separator: 1 },
    secureBoot: null,
    firmwareVersion: null,
    codes: ['kernel_unknown'],
  },
  'eve-configuration': {
    notes: { after_boot: 19 },
    secureBoot: false,
    firmwareVersion: null,
    codes: sameBoot,
  },
  'dell-spdm-sha384': { notes: {}, secureBoot: false, firmwareVersion: null, codes: sameBoot },
  'boot-order-elsewhere': {
    notes: { other_data: 1 },
    secureBoot: false,
    firmwareVersion: null,
    codes: ['kernel_unknown'],
  },
  'kunpeng-sm3': { notes: {}, secureBoot: false, firmwareVersion: '1.88', codes: ['kernel_unknown'] },
  'tpm12-value-alone': {
    notes: { value_alone: 5 },
    secureBoot: null,
    firmwareVersion: 'N1FET43W',
    codes: null,
  },
  'tpm12-separators-of-a-byte': { notes: {}, secureBoot: null, firmwareVersion: null, codes: null },
  'tpm12-boot-sector': { notes: {}, secureBoot: null, firmwareVersion: null, codes: null },
  'ia32-images': { notes: {}, secureBoot: false, firmwareVersion: '0.3', codes: ['kernel_unknown'] },
};

describe('an honest machine that does something differently', () => {
  for (const [name, { notes, secureBoot, firmwareVersion, codes }] of Object.entries(shapes))
    it(`is not called altered, and what it does is noted: ${name}`, () => {
      const log = parseEventLog(recordedLog(name));
      const state = bootState(log, asTheLogSays(log));
      assert.deepEqual(state.problems, []);
      assert.deepEqual(counted(state.notes), notes);
      assert.equal(state.secureBoot.enabled, secureBoot);
      assert.equal(state.firmwareVersion?.text ?? null, firmwareVersion);
      if (codes !== null) assert.deepEqual(judgedAfterCapture(name), codes);
    });

  it('shows a digest that its header does not declare beside its event', () => {
    const { notes } = parseEventLog(recordedLog('dell-spdm-sha384'));
    assert.deepEqual(
      notes.map(({ code, event }) => [code, event]),
      [['undeclared_bank', 11]],
    );
  });

  it('has the paths of images that firmware of 32 bits logs', () => {
    const { events } = parseEventLog(recordedLog('ia32-images'));
    assert.equal(events.at(-1)?.describes, String.raw`\Tcg2DumpLog.efi`);
  });
});

function counted(notes: readonly { readonly code: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { code } of notes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}

/** The boot captured as a reference, and judged by it. */
function judgedAfterCapture(name: string): readonly string[] {
  const bytes = recordedLog(name);
  const log = parseEventLog(bytes);
  const banks = pcrBanks
    .filter((bank) => bank !== 'sha1' && log.banks[bank] !== undefined)
    .map((bank) => ({ bank, mask: 0xff_ffff, values: replayedValues(bytes, bank) }));
  const boot = replayBoot(hashPart(bytes), banks);
  const captured = captureReference(
    { banks, boot },
    { name: 'captured', group: 'workers', state: 'active', by: 'somebody', node: name, at: 0 },
  );
  const { active } = prepareReferences('workers', defaultBootRules, [reference.parse(captured)]);
  const vouched = vouchedBoot(boot, banks, defaultBootRules, active);
  const about = { group: 'workers', rules: defaultBootRules, node: name };
  const context = { ...about, active, revocations: null, contents: null };
  const { findings, asReferenced } = judgeBoot(vouched, banks, context);
  const codes = findings.map(({ code }) => code);
  assert.equal(asReferenced, codes.length === 0);
  return codes;
}
