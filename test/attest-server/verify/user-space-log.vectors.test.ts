import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { readCap } from '../../../attest-server/verify/boot-cap.ts';
import { hashPart } from '../../../attest-server/verify/hashed-part.ts';
import { replayBoot } from '../../../attest-server/verify/measured-boot.ts';
import { parseEventLog } from '../../../attest-server/verify/tpm/event-log.ts';
import { parseUserSpaceLog } from '../../../attest-server/verify/tpm/user-space-log.ts';
import { vouchedPcrs } from '../../../attest-server/verify/vouched-pcrs.ts';
import { bankBytes, pcrBanks } from '../../../attest-server/wire/messages.ts';
import type { PcrValues } from '../../../attest-server/wire/pcr-values.ts';

const folder = new URL('../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
const recorded = (name: string) => readFileSync(new URL(name, folder));
const firmware = recorded('binary_bios_measurements');
const userSpace = recorded('tpm2-measure.log');
/** What the TPM of that guest held, as tpm2_pcrread printed it. */
const pcrs: Readonly<Record<string, Readonly<Record<string, string>>>> = JSON.parse(
  recorded('pcrs.json').toString(),
);

const quoted = pcrBanks.map((bank): PcrValues => {
  const values = Array.from({ length: 24 }, (_, pcr) => pcrs[bank]?.[pcr] ?? '');
  return { bank, mask: 0xffffff, values: Buffer.from(values.join(''), 'hex') };
});

const vouched = (log: Buffer | null) => {
  const [read, later] = [parseEventLog(firmware), log && parseUserSpaceLog(log)];
  const { pcrs } = vouchedPcrs(read, quoted, later, readCap(read, quoted, later));
  return Array.from({ length: 24 }, (_, pcr) => pcr).filter((pcr) => ((pcrs >>> pcr) & 1) === 1);
};
const measured = (log: Buffer | null) =>
  replayBoot(hashPart(firmware), quoted, log && hashPart(log)).userSpace?.map(
    ({ pcr, type, describes, verified }) => [pcr, type, describes, verified],
  );

describe('what systemd measured from user space', () => {
  it('leads from the firmware log to the quoted PCR 11 and 15 in every bank', () => {
    assert.deepEqual(vouched(userSpace), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15]);
    assert.deepEqual(measured(userSpace), [
      [15, 'machine-id', 'machine-id:0123456789abcdef0123456789abcdef', true],
      [11, 'phase', 'sysinit', true],
      [11, 'phase', 'ready', true],
    ]);
  });

  it('leaves PCR 11 and 15 without a word where its log is missing', () => {
    assert.deepEqual(vouched(null), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14]);
    assert.deepEqual(measured(null), []);
  });

  it('counts as far as the quote goes, where more was measured after it', () => {
    const first = userSpace.subarray(0, userSpace.indexOf(0x1e, 1));
    assert.deepEqual(measured(Buffer.concat([userSpace, first])), measured(userSpace));
  });

  it('vouches for nothing in a PCR in which one digest was changed', () => {
    const at = userSpace.indexOf('730bb5a5');
    const changed = Buffer.concat([
      userSpace.subarray(0, at),
      Buffer.from('830b'),
      userSpace.subarray(at + 4),
    ]);
    assert.equal(vouched(changed).includes(11), false);
    assert.equal(vouched(changed).includes(15), true);
  });
});

describe('what systemd measured into PCR 9', () => {
  const text = 'nvpcr-init:hardware:0x1800421:sha256:00ff';

  /** The same machine, which extended PCR 9 by these texts, and its log of that. */
  const measuring = (...texts: readonly string[]) => logging([], texts);

  /** A log that also says texts of PCR 9 before them, of which it gives digests in these banks alone. */
  function logging(said: readonly (readonly [text: string, bank: string])[], texts: readonly string[]) {
    const banks = quoted.map((bank): PcrValues => {
      const values = Buffer.from(bank.values);
      const size = bankBytes[bank.bank];
      const value = values.subarray(9 * size, 10 * size);
      for (const one of texts)
        Buffer.from(
          hash(bank.bank, Buffer.concat([value, hash(bank.bank, one, 'buffer')]), 'hex'),
          'hex',
        ).copy(value);
      return { ...bank, values };
    });
    const record = (string: string, known: readonly string[]) => {
      const digests = known.map((hashAlg) => ({ hashAlg, digest: hash(hashAlg, string) }));
      return `\x1e${JSON.stringify({ pcr: 9, digests, content: { eventType: 'nvpcr-init', string } })}\n`;
    };
    const records = [
      ...said.map(([string, bank]) => record(string, [bank])),
      ...texts.map((string) => record(string, pcrBanks)),
    ];
    const log = Buffer.concat([userSpace, Buffer.from(records.join(''))]);
    const { problems, state } = replayBoot(hashPart(firmware), banks, hashPart(log));
    return [problems.map(({ code }) => code), state.components.some(({ pcr }) => pcr === 9)];
  }

  it('of its NV indices explains the value', () => {
    assert.deepEqual(measuring(), [[], true]);
    assert.deepEqual(measuring(text, 'nvpcr-separator'), [[], true]);
  });

  it('explains nothing where it is anything else', () => {
    const mismatches = pcrBanks.map(() => 'log_replay_mismatch');
    assert.deepEqual(measuring('nvpcr-init: an initrd'), [mismatches, false]);
    assert.deepEqual(measuring(text, 'an initrd'), [mismatches, false]);
  });

  it('explains nothing where an event that extended no quoted bank stands before a file', () => {
    const mismatches = pcrBanks.map(() => 'log_replay_mismatch');
    assert.deepEqual(logging([['nvpcr-separator', 'sha3-256']], ['an initrd']), [mismatches, false]);
  });
});
