import { verify as bareVerify, randomBytes } from 'node:crypto';
import { type LatestBoot, latestBoot, quotesOf } from '../../attest-server/attest/latest-boot.ts';
import { strictPolicy } from '../../attest-server/policy/shipped/built-in.ts';
import { qualifyingData } from '../../attest-server/protocol/binding.ts';
import type { EvidenceMessage } from '../../attest-server/protocol/messages.ts';
import type { Reference } from '../../attest-server/protocol/reference.ts';
import { type AttestationKey, checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import type { MeasuredBoot, Proven } from '../../attest-server/verify/proven.ts';
import { parseSignature } from '../../attest-server/verify/tpm/signature.ts';
import { verify } from '../../attest-server/verify/verify.ts';
import { verdictsBy } from '../attest-server/policy/made-proof.ts';
import { emptyState } from '../attest-server/verify/boot/empty-state.ts';
import { madeQuote, madeValues } from '../attest-server/verify/made-quote.ts';
import { type KeyKind, softwareKey } from '../attest-server/verify/software-key.ts';
import { at, node } from './bench-node.ts';
import { interleaved } from './cpu-time.ts';

/** Per second of CPU time. `ratio` is the whole check to bare crypto.verify; `unchanged_ratio` the same where policy and PCR digest are those of the last time. */
export interface QuoteFigures {
  readonly per_s: number;
  readonly bare_per_s: number;
  readonly ratio: number;
  readonly unchanged_ratio: number;
}

const keys = 200;
const rounds = 100;

/** The full check, from a message's base64 to the policy's answer, beside bare verification of the same signatures. */
export async function benchVerifyQuote(): Promise<{ rsa2048: QuoteFigures; p256: QuoteFigures }> {
  return { rsa2048: bench('rsa2048'), p256: bench('p256') };
}

interface Message {
  readonly ak: AttestationKey;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly quote: {
    readonly attest: string;
    readonly signature: string;
    readonly pcrs: { readonly sha256: string };
  };
  readonly bare: { readonly data: Buffer; readonly signature: Buffer };
}

function bench(kind: KeyKind): QuoteFigures {
  const messages = Array.from({ length: keys }, () => message(kind));
  const bareOne = ({ ak, bare }: Message) => bareVerify('sha256', bare.data, ak.key, bare.signature);
  const whole = verdictsBy(strictPolicy, [reference], { remembers: false });
  const remembering = verdictsBy(strictPolicy, [reference]);
  const full = (one: Message) => whole(prove(one), node, at).state === 'trusted';
  const proven = new Map(
    messages.map((one) => [
      one,
      latestBoot(prove(one), { evidence: evidenceOf(one), parts: {} }, at, undefined),
    ]),
  );
  const unchanged = (one: Message) => remembering(prove(one, proven.get(one)), node, at).state === 'trusted';
  const [bare = 0, looked = 0, remembered = 0] = interleaved(
    [bareOne, full, unchanged].map((check) => () => {
      for (const one of messages) if (!check(one)) throw new Error('a good quote was refused');
    }),
    { warmUp: 25, rounds },
  );
  return {
    per_s: Math.round((1000 * keys) / looked),
    bare_per_s: Math.round((1000 * keys) / bare),
    ratio: Number((bare / looked).toFixed(3)),
    unchanged_ratio: Number((bare / remembered).toFixed(3)),
  };
}

/** As a message, of which only the quotes count here. */
function evidenceOf({ quote }: Message): EvidenceMessage {
  // A text of its own, as a message brings it, not the same string object.
  const sha256 = Buffer.from(quote.pcrs.sha256).toString('latin1');
  return { ...envelope, quotes: [{ ...quote, pcrs: { sha256 } }] };
}

function prove({ ak, nonce, channel, quote }: Message, before?: LatestBoot): Proven {
  return verify(
    {
      quotes: quotesOf({ ...envelope, quotes: [quote] }, ak.name, before),
      facts: null,
      bootLog,
    },
    {
      ak,
      ekDigest,
      judgeHierarchy: true,
      binding: { nonce, channel, claimedChannel: channel, session: null },
      selection: asked,
    },
  );
}

const envelope = { type: 'evidence', nonce: '', channel: '', facts: '', parts: {} } as const;

const every = Array.from({ length: 24 }, (_, pcr) => pcr);
const values = madeValues(32);

const ekDigest = 'e0'.repeat(32);
const asked = { sha256: every };
const pcrs = Object.fromEntries(every.map((pcr) => [pcr, values.toString('hex', 32 * pcr, 32 * pcr + 32)]));
const reference: Reference = {
  version: 1,
  kind: 'boot',
  name: 'bench',
  group: 'default',
  state: 'active',
  expires: null,
  pcrs: { sha256: pcrs },
  components: [],
  events: [],
};

/** A log that was parsed before: an unchanged log is not parsed again. */
const boot: MeasuredBoot = {
  digest: 'b0'.repeat(32),
  log: { format: 'crypto-agile', banks: { sha256: pcrs }, startupLocality: null, events: [], notes: [] },
  problems: [],
  state: emptyState,
};
const bootLog = { digest: boot.digest, measure: () => boot };

function message(kind: KeyKind): Message {
  const key = softwareKey(kind);
  const nonce = randomBytes(32);
  const channel = randomBytes(32);
  const none = Buffer.alloc(0);
  const signs = qualifyingData({
    nonce,
    channel,
    facts: none,
    bootLog: Buffer.from(boot.digest, 'hex'),
    keyRequest: none,
  });
  const { attest, signature } = madeQuote(key, Buffer.from(signs, 'hex'), { pcrs: { sha256: values } });
  const ak = checkAttestationKey(key.publicArea);
  return {
    ak,
    nonce,
    channel,
    quote: {
      attest: attest.toString('base64'),
      signature: signature.toString('base64'),
      pcrs: { sha256: values.toString('base64') },
    },
    bare: { data: attest, signature: parseSignature(signature, ak) },
  };
}
