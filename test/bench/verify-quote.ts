import { verify as bareVerify, randomBytes } from 'node:crypto';
import { quotesOf } from '../../attest-server/attest/answer.ts';
import { type AttestationKey, checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import { parseSignature } from '../../attest-server/verify/tpm/signature.ts';
import { Verifier } from '../../attest-server/verify/verifier.ts';
import type { Evidence, ExpectedIdentity } from '../../attest-server/verify/verify.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { byValues, replayedValues, verdictsBy } from '../attest-server/policy/made-proof.ts';
import { firmware, madeLog, types } from '../attest-server/verify/boot/made-boot.ts';
import { partOf } from '../attest-server/verify/made-by-hand.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { type KeyKind, softwareKey } from '../attest-server/verify/software-key.ts';
import { at, node } from './bench-node.ts';
import { interleaved } from './cpu-time.ts';
import { sized } from './sized.ts';

/** Per second of CPU time. `ratio` is the whole check, PCR 10 having moved, to bare crypto.verify; `unchanged_ratio` the same where none moved. */
export interface QuoteFigures {
  readonly per_s: number;
  readonly bare_per_s: number;
  readonly ratio: number;
  readonly unchanged_ratio: number;
}

const keys = sized(200, 2);
const rounds = sized(100, 2);

/** The full check, from a message's base64 to the policy's answer, beside bare verification of the same signatures. */
export async function benchVerifyQuote(): Promise<{ rsa2048: QuoteFigures; p256: QuoteFigures }> {
  return { rsa2048: bench('rsa2048'), p256: bench('p256') };
}

interface QuoteText {
  readonly attest: string;
  readonly signature: string;
  readonly pcrs: { readonly sha256: string };
}

/** One answer's quote, as a message brings it. */
export interface Message {
  readonly ak: AttestationKey;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly quote: QuoteText;
  /** Another answer to the same challenge, in which PCR 10 has moved. */
  readonly moved: QuoteText;
  readonly bare: { readonly data: Buffer; readonly signature: Buffer };
}

function bench(kind: KeyKind): QuoteFigures {
  const messages = Array.from({ length: keys }, () => message(kind));
  const bareOne = ({ ak, bare }: Message) => bareVerify('sha256', bare.data, ak.key, bare.signature);
  const whole = verdictsBy(bootPolicy, [reference], { remembers: false });
  const remembering = verdictsBy(bootPolicy, [reference]);
  const verifier = new Verifier();
  // From here on the log is remembered.
  for (const one of messages.slice(0, 1))
    verifier.verify({ ...evidenceOf(one.quote), parts: { boot: log } }, expectedOf(one));
  const prove = (one: Message, quote: QuoteText) => verifier.verify(evidenceOf(quote), expectedOf(one));
  let round = 0;
  const current = ({ quote, moved }: Message) => (round % 2 === 0 ? quote : moved);
  const full = (one: Message) => whole(prove(one, current(one)), node, at).state === 'trusted';
  const unchanged = (one: Message) => remembering(prove(one, current(one)), node, at).state === 'trusted';
  const [bare = 0, looked = 0, remembered = 0] = interleaved(
    [bareOne, full, unchanged].map((check) => () => {
      // The values move between `unchanged` and the next `full`.
      if (check === full) round++;
      for (const one of messages) if (!check(one)) throw new Error('a good quote was refused');
    }),
    { warmUp: sized(25, 0), rounds },
  );
  return {
    per_s: Math.round((1000 * keys) / looked),
    bare_per_s: Math.round((1000 * keys) / bare),
    ratio: Number((bare / looked).toFixed(3)),
    unchanged_ratio: Number((bare / remembered).toFixed(3)),
  };
}

/** As a message brings it: values in memory of their own. The log was parsed before: an unchanged one is not parsed again. */
function evidenceOf(quote: QuoteText): Evidence {
  return {
    quotes: quotesOf([quote]),
    facts: null,
    parts: { boot: { digest: log.digest, bytes: null } },
  };
}

function expectedOf({ ak, nonce, channel }: Message): ExpectedIdentity {
  return {
    ak,
    ekDigest,
    judgeHierarchy: true,
    binding: { nonce, channel, claimedChannel: channel, session: null },
    selection: asked,
  };
}

const every = Array.from({ length: 24 }, (_, pcr) => pcr);
const ekDigest = 'e0'.repeat(32);
const asked = { sha256: every };
/** As short as one is of which nothing is wrong. */
const booted = madeLog([
  ...firmware,
  { pcr: 9, type: types.ipl, data: Buffer.from('/vmlinuz\0'), measured: Buffer.from('a kernel') },
]);
export const log = partOf(booted);
const values = replayedValues(booted, 'sha256');
/** After one more file that IMA measured. */
const movedValues = Buffer.from(values).fill(1, 32 * 10, 32 * 11);
/** Of the PCR values that the messages quote. */
export const reference = byValues(
  {
    version: 1,
    kind: 'boot',
    name: 'bench',
    group: 'default',
    state: 'active',
    expires: null,
    pcrs: {},
    components: [],
    events: [],
  },
  booted,
);

export function message(kind: KeyKind): Message {
  const key = softwareKey(kind);
  const nonce = randomBytes(32);
  const channel = randomBytes(32);
  const none = Buffer.alloc(0);
  const signs = qualifyingData({
    nonce,
    channel,
    facts: none,
    bootLog: Buffer.from(log.digest, 'hex'),
    keyRequest: none,
  });
  const ak = checkAttestationKey(key.publicArea);
  const quoteOf = (sha256: Buffer) => {
    const { attest, signature } = madeQuote(key, Buffer.from(signs, 'hex'), { pcrs: { sha256 } });
    const text = {
      attest: attest.toString('base64'),
      signature: signature.toString('base64'),
      pcrs: { sha256: sha256.toString('base64') },
    };
    return { text, bare: { data: attest, signature: parseSignature(signature, ak) } };
  };
  const { text: quote, bare } = quoteOf(values);
  return { ak, nonce, channel, quote, moved: quoteOf(movedValues).text, bare };
}
