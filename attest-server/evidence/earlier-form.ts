import { hash } from 'node:crypto';
import { z } from 'zod';
import { bundle } from '../formats/bundle.ts';
import { pcrBanks } from '../wire/messages.ts';
import { jsonIn, keys, type OpenedAnswer, type ReadBlob } from './kept-form.ts';
import { type QuotePcrs, valuesByPcr } from './quote-values.ts';

/** Per bank the quoted values in ascending order of their PCR, concatenated, base64. */
const values = z.partialRecord(z.enum(pcrBanks), z.string());
type EarlierValues = z.infer<typeof values>;

const { tpmClass, labels } = bundle.shape.context.unwrap().shape;

/** An answer as it was kept before kept and exported evidence were one document. Nothing writes it any more. */
const earlier = z.object({
  at: z.number(),
  node: z.string(),
  /** Digest of `keys`; the oldest answers carry them themselves. */
  keys: z.string().optional(),
  ...keys.omit({ roots: true }).partial().shape,
  nonce: z.string(),
  channel: z.string(),
  /** `pcrs` are the values, or the digest of values that came before. */
  quotes: z.array(
    z.object({ attest: z.string(), signature: z.string(), pcrs: z.union([values, z.string()]) }),
  ),
  /** Per bank the bitmap of the quoted PCRs. */
  masks: z.partialRecord(z.enum(pcrBanks), z.number()),
  facts: z.string(),
  bootLog: z.string().nullable(),
  userspaceLog: z.string().optional(),
  sentBootLog: z.boolean(),
  tpmClass,
  labels,
  previous: bundle.shape.previous,
  policy: z.string(),
  references: z.string(),
});
type Earlier = z.infer<typeof earlier>;

/** As `openKept` does it. */
export async function openEarlier(value: unknown, read: ReadBlob): Promise<OpenedAnswer | null> {
  const found = earlier.safeParse(value).data;
  if (found === undefined) return null;
  const [signing, ...pcrs] = await Promise.all([
    keysOf(found, read),
    ...found.quotes.map((quote) => valuesOf(quote, found.masks, read)),
  ]);
  if (signing === null) return null;
  const quotes = [];
  for (const [index, { attest, signature }] of found.quotes.entries()) {
    const own = pcrs[index] ?? null;
    if (own === null) return null;
    quotes.push({ attest, signature, pcrs: own });
  }
  const { nonce, channel, facts, bootLog, userspaceLog, previous, policy, references } = found;
  return {
    document: {
      version: 2,
      binding: {
        nonce,
        channel,
        facts: hash('sha256', facts, 'hex'),
        bootLog: bootLog ?? '',
        keyRequest: '',
      },
      quotes,
      facts,
      parts: {
        boot: bootLog === null ? undefined : { digest: bootLog },
        userSpace: userspaceLog === undefined ? undefined : { digest: userspaceLog },
      },
      previous,
      context: {
        at: new Date(found.at).toISOString(),
        node: found.node,
        sentParts: found.sentBootLog ? ['boot'] : [],
        tpmClass: found.tpmClass,
        labels: found.labels,
      },
    },
    keys: signing,
    tails: {},
    policy,
    references,
  };
}

/** As `namedDigests` says it. */
export function namedEarlier(
  value: unknown,
): { readonly at: number; readonly digests: readonly string[] } | null {
  const found = earlier.safeParse(value).data;
  if (found === undefined) return null;
  const pcrs = found.quotes.map((quote) => (typeof quote.pcrs === 'string' ? quote.pcrs : null));
  const all = [found.keys, found.bootLog, found.userspaceLog, found.policy, found.references, ...pcrs];
  return { at: found.at, digests: all.flatMap((digest) => digest ?? []) };
}

async function keysOf(found: Earlier, read: ReadBlob) {
  const { attestationKey, endorsement } = found;
  if (attestationKey !== undefined && endorsement !== undefined) return { attestationKey, endorsement };
  const bytes = found.keys === undefined ? null : await read(found.keys);
  return bytes === null ? null : (keys.safeParse(jsonIn(bytes)).data ?? null);
}

async function valuesOf(
  { pcrs }: Earlier['quotes'][number],
  masks: Earlier['masks'],
  read: ReadBlob,
): Promise<QuotePcrs | null> {
  if (typeof pcrs !== 'string') return byPcr(pcrs, masks);
  const bytes = await read(pcrs);
  const found = bytes === null ? undefined : values.safeParse(jsonIn(bytes)).data;
  return found === undefined ? null : byPcr(found, masks);
}

/** From one concatenation a bank to one value a PCR. */
function byPcr(concatenated: EarlierValues, masks: Earlier['masks']): QuotePcrs {
  const banks: QuotePcrs = {};
  for (const bank of pcrBanks) {
    const own = concatenated[bank];
    if (own !== undefined) banks[bank] = valuesByPcr(Buffer.from(own, 'base64'), masks[bank] ?? 0, bank);
  }
  return banks;
}
