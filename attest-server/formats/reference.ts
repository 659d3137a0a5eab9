/**
 * Documents with a form of their own: `reference`, `bundle`, `pin-file`, `initrd-manifest`, messages of the
 * `webhook`, entries of the `audit` log, lists of a million known files (`digest-list`); and the words that
 * rooms of the server share, such as those of `marking` and of faults (`server-fault`).
 */

import { z } from 'zod';
import { firewallBaseline } from '../wire/firewall.ts';
import { limits } from '../wire/limits.ts';
import { fileContents, filePcr, loaderContents } from '../wire/loader-files.ts';
import { nodeName, pcrBanks } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import { DigestList } from './digest-list.ts';
import { imaAreas } from './ima-policy.ts';
import { atOnce } from './in-steps.ts';

const digest = z
  .string()
  .regex(/^([0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/, 'not a digest in hex digits');
const digests = z.partialRecord(z.enum(pcrBanks), digest);
const pcrNumber = z.string().regex(/^([0-9]|1[0-9]|2[0-3])$/, 'a PCR number from 0 to 23');
const shortText = z.string().max(512);

/** A name that people and files give: references, groups. */
export const plainName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'may have letters, digits, dot, dash, underscore; at most 63');

/** The evidence that a reference is compared with. A file that names no kind is of a boot. */
export const referenceKinds = ['boot', 'runtime', 'firewall', 'disk'] as const;
export type ReferenceKind = (typeof referenceKinds)[number];

/** How people say what a node does, or nodes do, with what a reference of a kind has, and what that is. */
export const kindWords: Readonly<
  Record<ReferenceKind, { readonly one: string; readonly many: string; readonly contents: string }>
> = {
  boot: { one: 'boots', many: 'boot', contents: 'boots' },
  runtime: { one: 'runs', many: 'run', contents: 'files' },
  firewall: { one: 'has', many: 'have', contents: 'rules' },
  disk: { one: 'has', many: 'have', contents: 'headers' },
};

/** The steps of a reference's life that a person takes. */
export const referenceActions = ['approve', 'retire', 'revoke', 'restore'] as const;
export type ReferenceAction = (typeof referenceActions)[number];

export const referenceStates = ['staged', 'active', 'retired', 'revoked'] as const;

/** The latest step of a reference's life at this server: who took it, when, why, and what state it led from. */
export const referenceStep = z.strictObject({
  action: z.enum(referenceActions),
  by: shortText,
  at: z.iso.datetime(),
  reason: shortText,
  from: z.enum(referenceStates),
  /** For a revocation: nodes that rest on it are tainted at once, and wait for nobody. */
  taint: z.literal(true).optional(),
});

/** How many nodes are captured at once. */
export const mostCaptured = 64;

/** How long a change may be announced for, in seconds. */
export const longestAnnouncement = 30 * 86_400;
/** Nodes that one announcement may name; for more, announce it to their group. */
const mostAnnounced = 1024;

/** Who expects a group, or some nodes of it, to boot like a reference that nobody has approved yet; from `at` to `until`. */
export const announcement = z.strictObject({
  /** Null: all nodes of its group. */
  nodes: z.array(nodeName).min(1).max(mostAnnounced).nullable(),
  by: shortText,
  at: z.iso.datetime(),
  until: z.iso.datetime(),
  reason: shortText,
});
export type Announcement = z.infer<typeof announcement>;

/** That a signed directory says what a reference is: who signed it, since which serial it is so, SHA-256 of its file. */
export const declaredBy = z.strictObject({
  key: shortText,
  serial: z.int().min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256 in hex digits'),
});

/** Objects of a header by number, each as canonical JSON: members in order, no blanks. */
const headerObjects = z
  .record(z.string().regex(/^\d{1,4}$/), z.string().max(64 * 1024))
  .refine((objects) => Object.keys(objects).length <= 64, 'more than 64');

/** LUKS headers of one node, without what opens them: what is public in a header, and no key material. */
const enrolledDisk = z.strictObject({
  volumes: z
    .array(
      z.strictObject({
        version: z.union([z.literal(1), z.literal(2)]),
        uuid: shortText,
        keyslots: headerObjects,
        tokens: headerObjects,
        segments: headerObjects,
        /** Of the volume key: they change only with it. */
        digests: headerObjects,
        /** The protected path that this volume must encrypt, and no other; absent: each volume of the node must be listed. */
        path: z.string().max(1024).optional(),
      }),
    )
    .min(1)
    .max(64),
});

/** Files that nodes may run and read, by their digests, and what the kernel itself measures. */
const runtimeFiles = z.strictObject({
  /** A packed digest list (digest-list.ts), base64. */
  files: z.string().max(Math.ceil(limits.references.files / 3) * 4),
  /** How many files the list has: a path with two digests counts twice. */
  count: z.int().min(0),
  /** Policies of IMA that may be in force, by the digest of their file. */
  policies: z
    .array(z.strictObject({ digest, covers: z.array(z.enum(imaAreas)), description: shortText }))
    .max(64)
    .optional(),
  /** Keys that may be put into keyrings of the kernel, by the digest that it measures. */
  keyrings: z
    .array(z.strictObject({ keyring: z.string().min(1).max(256), digest, description: shortText }))
    .max(1024)
    .optional(),
});
export type RuntimeFiles = z.infer<typeof runtimeFiles>;
/** A policy of IMA, by the digest of its file, and what it covers. */
export type KnownImaPolicy = NonNullable<RuntimeFiles['policies']>[number];
/** A key of a keyring, or what else the kernel measures itself, by its digest. */
export type KnownKey = NonNullable<RuntimeFiles['keyrings']>[number];

/** A reference value file, as captured, exported, kept in Git and read with `--references DIR`. */
export const reference = z.strictObject({
  version: z.literal(1),
  kind: z.enum(referenceKinds).default('boot'),
  name: plainName,
  group: z.string().max(63),
  state: z.enum(referenceStates),
  expires: z.iso.datetime().nullable(),
  /**
   * Bank -> PCR -> value; what is named must be so. In a reference without components one of PCRs 0, 2, 4, 6, 7, 8
   * and 9 that is not quoted, or not here, is no match, nor is 12 or 13 that was extended.
   */
  pcrs: z.partialRecord(z.enum(pcrBanks), z.record(pcrNumber, digest)),
  /** The components that a boot must measure, stage by stage. */
  components: z
    .array(
      z.strictObject({
        stage: shortText,
        /** Of which machines it speaks, as its capture saw it; what counts is the scope in the policy. */
        scope: shortText,
        digests,
        description: shortText,
        /** The PCR that holds it; without it, any that is compared. */
        pcr: z.int().min(0).max(23).optional(),
        /** The bytes that its digest is of (`code`, `file`, `command`, …). */
        kind: z.string().max(32).optional(),
        /** Of a file that a loader read, what it was by its bytes; absent if nobody saw them. */
        content: z.enum(fileContents).optional(),
        /** The measured text, UUIDs masked: a boot that measures the same text otherwise matches as well. */
        text: z.string().max(4096).optional(),
        /** Of a list of keys, what it holds: SHA-256 of each certificate, or the digest listed. */
        keys: z
          .array(z.strictObject({ digest, subject: shortText.nullable() }))
          .max(256)
          .optional(),
      }),
    )
    .max(16_384)
    .default([]),
  /** The content of dbx: digests that this boot refused to run. */
  revocations: z.array(digest).max(16_384).optional(),
  /** The events of the captured boot: what a difference is reported with. */
  events: z
    .array(
      z.strictObject({
        index: z.int().min(0),
        pcr: z.int().min(0),
        type: shortText,
        digests,
        stage: shortText,
        describes: shortText,
      }),
    )
    .max(16_384)
    .default([]),
  /**
   * Of kind `boot`: a boot with its kernel and command line must prove that nothing was measured again (boot_aggregate), as
   * one has that it was captured of. Absent: nothing is demanded, as in references from before this member.
   */
  aggregate: z.literal('required').optional(),
  /** For kind `disk`: the volumes of the node that it was captured on. */
  disk: enrolledDisk.optional(),
  /** For kind `firewall`: the rules that a node must have. */
  firewall: firewallBaseline.optional(),
  /** For kind `runtime`: the files that nodes may run and read. */
  runtime: runtimeFiles.optional(),
  /** Who captured it, from which node, when (RFC 3339). */
  captured: z.strictObject({ by: shortText, node: shortText, at: z.iso.datetime() }).optional(),
  /** Absent if nobody has taken one; an import drops it. */
  changed: referenceStep.optional(),
  /** For a staged one of kind `boot`: a change that somebody announced; an import drops it. */
  announced: announcement.optional(),
  /** Where a signed directory says so; an import drops it. */
  declared: declaredBy.optional(),
});
export type Reference = z.infer<typeof reference>;

/**
 * The fault of a reference that lacks what its kind must hold, or holds what it must not; null if it is whole. In steps: lists
 * are long.
 */
export function* contentFaultInSteps(given: Reference): Generator<void, string | null> {
  for (const kind of referenceKinds) {
    if (kind === 'boot') continue;
    if (given.kind === kind && given[kind] === undefined)
      return `it is of kind ${kind} and has no member ${kind}`;
    if (given.kind !== kind && given[kind] !== undefined)
      return `it is of kind ${given.kind} and has a member ${kind}`;
  }
  if (given.kind !== 'boot' && given.aggregate !== undefined)
    return `it is of kind ${given.kind} and has a member aggregate`;
  return given.runtime === undefined ? null : yield* filesFault(given.runtime);
}

/** True for a reference of kind `boot` that no boot can be compared with: one of an announcement of any change. */
export function saysNothing({
  kind,
  components,
  pcrs,
}: Pick<Reference, 'kind' | 'components' | 'pcrs'>): boolean {
  return kind === 'boot' && components.length === 0 && Object.keys(pcrs).length === 0;
}

/** It is announced now, for the nodes that the announcement names. @param at milliseconds since the epoch */
export function isAnnounced({ announced }: Pick<Reference, 'announced'>, at: number): boolean {
  return announced !== undefined && at < Date.parse(announced.until);
}

/** The files that a reference of kind `runtime` lists. @throws Rejection `malformed`, `too_large` */
export function parseFiles(runtime: Pick<RuntimeFiles, 'files'>): DigestList {
  return atOnce(parseFilesInSteps(runtime));
}

/** The same in steps of some milliseconds. */
export function* parseFilesInSteps({ files }: Pick<RuntimeFiles, 'files'>): Generator<void, DigestList> {
  const bytes = Buffer.from(files, 'base64');
  if (bytes.length > limits.references.files)
    throw new Rejection('too_large', `a list of ${bytes.length} bytes`, { field: 'files' });
  if (bytes.toString('base64') !== files) throw new Rejection('malformed', 'not base64', { field: 'files' });
  yield;
  return yield* DigestList.fromBytesInSteps(bytes);
}

function* filesFault(runtime: RuntimeFiles): Generator<void, string | null> {
  const { count, policies = [], keyrings = [] } = runtime;
  try {
    const { fileCount } = yield* parseFilesInSteps(runtime);
    if (fileCount !== count) return `its list has ${fileCount} files, and it says ${count}`;
  } catch (error) {
    if (error instanceof Rejection) return `its list is faulty: ${error.message}`;
    throw error;
  }
  return count + policies.length + keyrings.length === 0 ? 'it lists nothing' : null;
}

/**
 * Files that its loader read and nobody has seen, as the log calls them: the reference's word on them counts for the node
 * that it was captured on alone, unless another node sends the same file.
 */
export function unseenFiles({ components }: Pick<Reference, 'components'>): readonly string[] {
  const unseen = components.filter(
    ({ pcr, kind, stage, content }) =>
      pcr === filePcr &&
      (kind === 'configuration' || (kind === 'file' && stage === 'loader')) &&
      (content === undefined || !loaderContents.has(content)),
  );
  return [...new Set(unseen.map(({ description }) => description))];
}

/** PCRs that it knows as a whole, by their value. */
export function pcrsByValue({ components }: Pick<Reference, 'components'>): number[] {
  return components.flatMap(({ kind, pcr }) => (kind === 'value' && pcr !== undefined ? pcr : []));
}
