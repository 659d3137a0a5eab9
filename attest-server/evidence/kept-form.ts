import { hash } from 'node:crypto';
import { z } from 'zod';
import { type Bundle, bundle } from '../formats/bundle.ts';
import { type SupplementName, supplementNames } from '../wire/supplements.ts';
import { quoteValues, unpackValues } from './quote-values.ts';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const quote = bundle.shape.quotes.element;

/**
 * Evidence as it is kept: the document that is exported, but what many answers share is a blob of its own, which `named`
 * names by digest, and so are the bytes of all parts. PCR values are packed.
 */
const kept = bundle.omit({ attestationKey: true, endorsement: true, files: true }).extend({
  named: z.strictObject({
    /** Of `Keys`: attestation key, endorsement, and the root that vouches for it. */
    keys: sha256,
    policy: sha256,
    references: sha256,
    /** Of the values of all quotes, in their order, where they held still; else each quote has its own. */
    values: sha256.optional(),
  }),
  quotes: z.array(quote.omit({ pcrs: true }).extend({ values: quoteValues.optional() })),
  /** Of supplements that grow, what follows on all that their part lists: it is another one with each answer. */
  tails: z.partialRecord(z.enum(supplementNames), z.base64()).optional(),
  /** The same of IMA's list, as earlier versions wrote it. */
  imaTail: z.base64().optional(),
});
export type KeptAnswer = z.infer<typeof kept>;

/** Who signs: the same in each answer of a node, so a blob of its own. */
export const keys = z.object({
  attestationKey: bundle.shape.attestationKey,
  /** Its chain leads to the root, where one vouches for the certificate. */
  endorsement: bundle.shape.endorsement.unwrap(),
  /** PEM */
  roots: z.array(z.string()).optional(),
});
export type AnswerKeys = z.infer<typeof keys>;

/** A content-addressed blob of the store. */
export interface Blob {
  /** SHA-256, hex. */
  readonly digest: string;
  readonly bytes: Buffer;
  /** A policy, or references: it counts in no node's share. */
  readonly isOfServer?: true;
}

export function blob(content: string | Buffer): Blob {
  const bytes = typeof content === 'string' ? Buffer.from(content) : content;
  return { digest: hash('sha256', bytes, 'hex'), bytes };
}

/** An answer opened: everything that it names, without the bytes of its parts, the policy and the references. */
export interface OpenedAnswer {
  readonly document: Omit<Bundle, 'attestationKey' | 'endorsement' | 'files'>;
  readonly keys: AnswerKeys;
  /** Bytes that follow after everything that a supplement's part lists. */
  readonly tails: Readonly<Partial<Record<SupplementName, Buffer>>>;
  /** Digests. */
  readonly policy: string;
  readonly references: string;
}

/** Gives what is kept under a digest; null if it is gone. */
export type ReadBlob = (digest: string) => Promise<Buffer | null>;

/** Null if it is no kept answer, but a log or a policy; or where something that it names is gone. */
export async function openKept(value: unknown, read: ReadBlob): Promise<OpenedAnswer | null> {
  const found = kept.safeParse(value).data;
  if (found === undefined) return null;
  const { named, quotes, tails, imaTail, ...document } = found;
  const [signing, packed] = await Promise.all([
    readJson(named.keys, read),
    named.values === undefined ? quotes.map((each) => each.values) : readJson(named.values, read),
  ]);
  const signers = keys.safeParse(signing).data;
  const values = z.array(quoteValues).length(quotes.length).safeParse(packed).data;
  if (signers === undefined || values === undefined) return null;
  const whole = quotes.map(({ attest, signature }, index) => ({
    attest,
    signature,
    pcrs: unpackValues(values[index] ?? {}),
  }));
  return {
    document: { ...document, quotes: whole },
    keys: signers,
    tails: tailsIn({ ...(imaTail !== undefined && { ima: imaTail }), ...tails }),
    policy: named.policy,
    references: named.references,
  };
}

function tailsIn(tails: NonNullable<KeptAnswer['tails']>): OpenedAnswer['tails'] {
  const read: Partial<Record<SupplementName, Buffer>> = {};
  for (const name of supplementNames) {
    const tail = tails[name];
    if (tail !== undefined) read[name] = Buffer.from(tail, 'base64');
  }
  return read;
}

async function readJson(digest: string, read: ReadBlob): Promise<unknown> {
  const bytes = await read(digest);
  return bytes === null ? null : jsonIn(bytes);
}

/** Null for what is no JSON. */
export function jsonIn(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
