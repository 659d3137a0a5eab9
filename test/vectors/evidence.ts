import { hash } from 'node:crypto';
import type { EarlierBundle } from '../../attest-server/formats/bundle.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import type { MeasuredEntry } from '../../swtpm-fixtures/ima-list.ts';
import { forgedTpm } from '../attest-server/forged-tpm.ts';
import { replayedValues } from '../attest-server/policy/made-proof.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { type AreaOptions, madeArea } from '../attest-server/verify/software-key.ts';

/** One moment of one machine, in the words of whoever attacks it. */
export interface Moment {
  /** The log that is shown; null: none, empty: zero bytes. */
  readonly log: Buffer | null;
  /** The log of what was really measured; default: the one shown. */
  readonly booted?: Buffer;
  /** What was extended into a PCR after it: PCR and digest, hex. */
  readonly extended?: readonly (readonly [number, string])[];
  /** Entries of the kernel's list: those that are shown, and those that it measured; default: the ones shown. */
  readonly ima?: { readonly shown: readonly MeasuredEntry[]; readonly measured?: readonly MeasuredEntry[] };
  readonly node?: string;
  readonly bootId?: string;
  readonly clock?: bigint;
  readonly safe?: boolean;
  readonly resetCount?: number;
  readonly restartCount?: number;
  readonly firmwareVersion?: bigint;
  readonly host?: object;
  readonly previous?: EarlierBundle['previous'];
  /** The endorsement key that is shown, in this form; default none. */
  readonly endorsementKey?: AreaOptions;
  /** What its loader read, as far as the node sends it; needs version 2. */
  readonly files?: readonly Buffer[];
}

/** One TPM for all vectors: software keys, so that it signs what a real one would after the same attack. */
const tpm = forgedTpm();
const nonce = Buffer.alloc(32, 0x5a);
const channel = Buffer.alloc(32, 0xc4);
export const firstBoot = '6f9619ff-8b86-d011-b42d-00cf4fc964ff';
export const otherBoot = '0a9619ff-8b86-d011-b42d-00cf4fc964aa';

function endorsementIn(form: AreaOptions): EarlierBundle['endorsement'] {
  const area = madeArea(tpm.ek.kind, tpm.ek.publicKey, form);
  return { publicArea: area.toString('base64'), certificate: null };
}

/** The evidence of that moment as a bundle, signed. */
export function evidenceOf(moment: Moment): EarlierBundle {
  const { log, ima, node = 'worker-1', bootId = firstBoot, host, previous } = moment;
  const facts = JSON.stringify({
    purpose: 'attest',
    node,
    bootId,
    helloDigest: hash('sha256', 'hello', 'hex'),
    ...(host !== undefined && { host }),
  });
  const bound = {
    facts: Buffer.from(hash('sha256', facts, 'hex'), 'hex'),
    bootLog: log === null ? Buffer.alloc(0) : Buffer.from(hash('sha256', log, 'hex'), 'hex'),
    keyRequest: Buffer.alloc(0),
  };
  const values = pcrsOf(moment);
  const { attest, signature } = madeQuote(
    tpm.ak,
    Buffer.from(qualifyingData({ nonce, channel, ...bound }), 'hex'),
    {
      clock: moment.clock ?? 1_000_000_000n,
      resetCount: moment.resetCount ?? 7,
      safe: moment.safe ?? true,
      restartCount: moment.restartCount ?? 1,
      pcrs: { sha256: values },
      ...(moment.firmwareVersion !== undefined && { firmwareVersion: moment.firmwareVersion }),
    },
  );
  return {
    version: 1,
    ...(moment.endorsementKey !== undefined && { endorsement: endorsementIn(moment.endorsementKey) }),
    attestationKey: tpm.ak.publicArea.toString('base64'),
    binding: {
      nonce: nonce.toString('hex'),
      channel: channel.toString('hex'),
      facts: bound.facts.toString('hex'),
      bootLog: bound.bootLog.toString('hex'),
      keyRequest: '',
    },
    quotes: [
      {
        attest: attest.toString('base64'),
        signature: signature.toString('base64'),
        pcrs: { sha256: Object.fromEntries(every.map((pcr) => [pcr, pcrIn(values, pcr).toString('hex')])) },
      },
    ],
    ...(log !== null && { bootLog: log.toString('base64') }),
    ...(ima !== undefined && {
      imaLog: Buffer.concat(ima.shown.map(({ bytes }) => bytes)).toString('base64'),
    }),
    facts,
    ...(previous !== undefined && { previous }),
  };
}

/** What the SHA-256 bank holds after this boot and what was extended since. */
function pcrsOf({ log, booted = log ?? undefined, extended = [], ima }: Moment): Buffer {
  const values =
    booted === undefined || booted.length === 0 ? Buffer.alloc(24 * 32) : replayedValues(booted, 'sha256');
  const measured = (ima?.measured ?? ima?.shown ?? []).map(
    ({ digests }) => [10, digests.sha256.toString('hex')] as const,
  );
  for (const [pcr, digest] of [...measured, ...extended]) {
    const value = pcrIn(values, pcr);
    hash('sha256', Buffer.concat([value, Buffer.from(digest, 'hex')]), 'buffer').copy(value);
  }
  return values;
}

const every = Array.from({ length: 24 }, (_, pcr) => pcr);
const pcrIn = (values: Buffer, pcr: number) => values.subarray(32 * pcr, 32 * (pcr + 1));
