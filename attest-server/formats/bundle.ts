import { hash } from 'node:crypto';
import { z } from 'zod';
import { type Part, type PartName, type Parts, partNames } from '../wire/evidence.ts';
import { nodeName, pcrBanks } from '../wire/messages.ts';
import { parseJson } from '../wire/parse-json.ts';
import { writtenHeldCodes } from '../wire/reasons.ts';
import { Rejection } from '../wire/rejection.ts';
import { type Role, roleNames } from '../wire/roles.ts';
import { tpmClasses } from './tpm-class.ts';

const base64 = z.base64();
const hexBytes = z.string().regex(/^([0-9a-f]{2})*$/);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 digest');

/** Members of both versions. */
const attested = {
  /** TPMT_PUBLIC or TPM2B_PUBLIC */
  attestationKey: base64,
  /** The bytes that the quotes carry: evidence of other origin. */
  qualifyingData: hexBytes.optional(),
  /** The inputs that our quotes sign; facts and bootLog are SHA-256 digests, or "". */
  binding: z
    .strictObject({
      nonce: hexBytes,
      channel: hexBytes,
      facts: hexBytes,
      bootLog: hexBytes,
      keyRequest: hexBytes,
    })
    .optional(),
  quotes: z
    .array(
      z.strictObject({
        attest: base64,
        signature: base64,
        pcrs: z.partialRecord(z.enum(pcrBanks), z.record(z.string(), hexBytes)),
      }),
    )
    .min(1)
    .max(16),
  facts: z.string().optional(),
  endorsement: z
    .strictObject({
      certificate: base64.nullable().optional(),
      chain: z.array(base64).optional(),
      publicArea: base64.optional(),
    })
    .optional(),
};

/** Where the TPM and the kernel were in time when they were last seen. */
const seenBefore = {
  resetCount: z.number(),
  restartCount: z.number(),
  clock: z.union([z.number(), z.string()]),
  /** As they were seen before; what is left out is not compared. */
  firmwareVersion: z.string().nullable().optional(),
  bootId: z.string().nullable().optional(),
  firstBootId: z.string().nullable().optional(),
  rewind: z.enum(['none', 'seen', 'passed']).optional(),
  /** The firmware that this one replaced, and the reset count at that moment. */
  replaced: z
    .strictObject({ version: z.string().max(64), resetCount: z.number() })
    .nullable()
    .optional(),
  held: z.enum(writtenHeldCodes).nullable().optional(),
};

/** The longest text that says why IMA's list was not taken. */
export const longestProblem = 1024;

/** The circumstances of the server's verdict; written on export. */
const circumstances = {
  at: z.iso.datetime(),
  /** Advice has it in commands that are pasted into a shell. */
  node: nodeName.optional(),
  /** The kind of the TPM, as a root of the exporter says. */
  tpmClass: z.enum(tpmClasses).optional(),
  /** Labels of the node in its cluster, by which the policy's groups choose. */
  labels: z.record(z.string().max(317), z.string().max(63)).optional(),
  /** The server was on trial. */
  trial: z.literal(true).optional(),
  policy: z.string().optional(),
  references: z.array(z.unknown()).optional(),
  roots: z.array(z.string()).optional(),
};

/**
 * One piece of evidence with what is needed to judge it again: the document that a server keeps, and the file that
 * `assay bundle` exports. What is missing is not appraised.
 */
export const bundle = z.strictObject({
  version: z.literal(2),
  ...attested,
  /** By name; without `bytes` a part is known by its SHA-256 alone. */
  parts: z.partialRecord(
    z.enum(partNames),
    z.strictObject({ digest: sha256, bytes: base64.optional() }).optional(),
  ),
  /** The content that the parts `loaderFiles`, `initrds` and `ima` list, by its SHA-256. */
  files: z.record(sha256, base64).optional(),
  previous: z.strictObject(seenBefore).optional(),
  context: z
    .strictObject({
      ...circumstances,
      /** Parts that the node had sent before: leaving one of them out hides something. */
      sentParts: z.array(z.enum(partNames)).max(partNames.length).optional(),
      /** Aspect -> what it remembered of the node before this evidence, in a form that it alone reads. */
      memory: z.record(z.string().max(64), z.unknown()).optional(),
      /** PCR banks as they were fixed at enrolment. */
      banks: z.array(z.enum(pcrBanks)).max(pcrBanks.length).optional(),
      /** Why the server did not take IMA's list, where the evidence has none for that. */
      imaProblem: z
        .strictObject({
          code: z.enum(['ima_malformed', 'ima_incomplete']),
          text: z.string().max(longestProblem),
          entry: z.int().min(0).nullable(),
          offset: z.int().min(0).nullable(),
          field: z.string().max(64).nullable(),
        })
        .optional(),
      /** Who answered (`answeredBy`). */
      by: z.enum(roleNames).optional(),
    })
    .optional(),
});
export type Bundle = z.infer<typeof bundle>;

/** As it was written before parts had names; it is read for good. */
const earlierBundle = z.strictObject({
  version: z.literal(1),
  ...attested,
  bootLog: base64.optional(),
  imaLog: base64.optional(),
  userspaceLog: base64.optional(),
  previous: z.strictObject(seenBefore).optional(),
  context: z
    .strictObject({
      ...circumstances,
      /** Whether the node had sent a boot log before this evidence. */
      sentBootLog: z.boolean().optional(),
    })
    .optional(),
});
export type EarlierBundle = z.infer<typeof earlierBundle>;

/** The role of a bundle that names none, as those of earlier versions did not; so it is still written. */
export const roleLeftOut: Role = 'agent';

export function answeredBy({ context }: Pick<Bundle, 'context'>): Role {
  return context?.by ?? roleLeftOut;
}

const anyVersion = z.discriminatedUnion('version', [bundle, earlierBundle]);

/** Gives any version in the form of the newest. @throws Rejection `malformed` (naming the field) */
export function parseBundle(text: string): Bundle {
  const read = parseJson(text, anyVersion, 'bundle');
  if ((read.binding === undefined) === (read.qualifyingData === undefined)) {
    throw new Rejection('malformed', 'a bundle carries either binding or qualifyingData', {
      field: 'binding',
    });
  }
  if (read.version === 1) return asParts(read);
  partsOf(read);
  return read;
}

/** The parts with their bytes. @throws Rejection `malformed` (field `parts.NAME`) for bytes that have another digest */
export function partsOf({ parts }: Pick<Bundle, 'parts'>): Parts {
  const all: Partial<Record<PartName, Part>> = {};
  for (const name of partNames) {
    const part = parts[name];
    if (part === undefined) continue;
    const bytes = part.bytes === undefined ? null : Buffer.from(part.bytes, 'base64');
    if (bytes !== null && hash('sha256', bytes, 'hex') !== part.digest) {
      const field = `parts.${name}`;
      throw new Rejection('malformed', `bundle field ${field}: its bytes have another SHA-256 digest`, {
        field,
      });
    }
    all[name] = { digest: part.digest, bytes };
  }
  return all;
}

function asParts({ version: _, bootLog, imaLog, userspaceLog, context, ...rest }: EarlierBundle): Bundle {
  const named = rest.binding?.bootLog ?? '';
  return {
    version: 2,
    ...rest,
    parts: {
      boot: carried(bootLog) ?? (sha256.safeParse(named).success ? { digest: named } : undefined),
      ima: carried(imaLog),
      userSpace: carried(userspaceLog),
    },
    context: context && withSentParts(context),
  };
}

function carried(bytes: string | undefined): Bundle['parts']['boot'] {
  if (bytes === undefined) return undefined;
  return { digest: hash('sha256', Buffer.from(bytes, 'base64'), 'hex'), bytes };
}

function withSentParts({
  sentBootLog,
  ...context
}: NonNullable<EarlierBundle['context']>): Bundle['context'] {
  if (sentBootLog === undefined) return context;
  return { ...context, sentParts: sentBootLog ? ['boot'] : [] };
}
