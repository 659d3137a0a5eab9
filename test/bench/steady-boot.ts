import { hash, randomBytes } from 'node:crypto';
import { type Answer, quotesOf } from '../../attest-server/attest/answer.ts';
import { captureReference } from '../../attest-server/policy/boot/capture.ts';
import { checkAttestationKey } from '../../attest-server/verify/attestation-key.ts';
import type { Proven } from '../../attest-server/verify/proven.ts';
import { Verifier } from '../../attest-server/verify/verifier.ts';
import { qualifyingData } from '../../attest-server/wire/binding.ts';
import type { Parts } from '../../attest-server/wire/evidence.ts';
import { bootPolicy } from '../attest-server/boot-policy.ts';
import { replayedValues, verdictsBy } from '../attest-server/policy/made-proof.ts';
import { madeQuote } from '../attest-server/verify/made-quote.ts';
import { softwareKey } from '../attest-server/verify/software-key.ts';
import { recordedLog } from '../swtpm-fixtures/recorded-log.ts';
import { at, captured, node } from './bench-node.ts';
import { interleaved } from './cpu-time.ts';
import { sized } from './sized.ts';

/** Milliseconds of CPU time an answer, medians. */
export interface SteadyBootFigures {
  /** The check of an RSA-2048 quote, without a boot log or a policy. */
  readonly quote_ms: number;
  /** The same with an unchanged log of 49 KB, and the verdict. */
  readonly unchanged_log_ms: number;
  /** `unchanged_log_ms` / `quote_ms` */
  readonly ratio: number;
}

const answers = sized(100, 2);
const rounds = sized(60, 1);

/** What a boot log costs from the second answer on, beside the quote alone. */
export async function benchSteadyBoot(): Promise<SteadyBootFigures> {
  const bytes = recordedLog('fedora41-locality-3');
  const digest = hash('sha256', bytes);
  const verifier = new Verifier();
  const alone = Array.from({ length: answers }, () => message(null));
  const whole = Array.from({ length: answers }, () => message(digest));
  const first = prove(verifier, message(digest), { boot: { digest, bytes } });
  const appraise = verdictsBy(bootPolicy, [captureReference(first, captured)]);
  const named = { boot: { digest, bytes: null } };
  const works = [
    () => {
      for (const one of alone) prove(verifier, one, {});
    },
    () => {
      for (const one of whole)
        if (appraise(prove(verifier, one, named), node, at).state !== 'trusted')
          throw new Error('a good boot is refused');
    },
  ];
  const [quote = 0, unchanged = 0] = interleaved(works, { warmUp: rounds, rounds }).map((ms) => ms / answers);
  return {
    quote_ms: Number(quote.toFixed(4)),
    unchanged_log_ms: Number(unchanged.toFixed(4)),
    ratio: Number((unchanged / quote).toFixed(3)),
  };
}

const key = softwareKey('rsa2048');
const ak = checkAttestationKey(key.publicArea);
const values = replayedValues(recordedLog('fedora41-locality-3'), 'sha256');
const every = { sha256: Array.from({ length: 24 }, (_, pcr) => pcr) };
const none = Buffer.alloc(0);

interface Message {
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly quote: Answer['evidence']['quotes'][number];
}

function message(digest: string | null): Message {
  const nonce = randomBytes(32);
  const channel = randomBytes(32);
  const bootLog = digest === null ? none : Buffer.from(digest, 'hex');
  const signed = qualifyingData({ nonce, channel, facts: none, bootLog, keyRequest: none });
  const { attest, signature } = madeQuote(key, Buffer.from(signed, 'hex'), { pcrs: { sha256: values } });
  const quote = {
    attest: attest.toString('base64'),
    signature: signature.toString('base64'),
    pcrs: { sha256: values.toString('base64') },
  };
  return { nonce, channel, quote };
}

function prove(verifier: Verifier, { nonce, channel, quote }: Message, parts: Parts): Proven {
  return verifier.verify(
    { quotes: quotesOf([quote]), facts: null, parts },
    {
      ak,
      ekDigest: 'e0'.repeat(32),
      judgeHierarchy: true,
      binding: { nonce, channel, claimedChannel: channel, session: null },
      selection: every,
    },
  );
}
