import { z } from 'zod';
import type { LuksHeader } from '../../wire/disk.ts';
import { parseJson } from '../../wire/parse-json.ts';
import { Rejection } from '../../wire/rejection.ts';

/** A volume as its LUKS header describes it (LUKS2 On-Disk Format Specification 1.1.1, chapter 3; LUKS1 1.2.3, figure 1), in one form. */
export interface LuksVolume {
  readonly version: 1 | 2;
  /** Lower case, with dashes. */
  readonly uuid: string;
  /** By number, each as canonical JSON: what is not a secret of it, salts too. */
  readonly keyslots: Readonly<Record<string, string>>;
  readonly tokens: Readonly<Record<string, string>>;
  /** The means that opens a keyslot, if a token of systemd-cryptenroll says so: one slot each, by its number. */
  readonly enrolled: Readonly<Record<string, CryptEnrolled>>;
  readonly segments: Readonly<Record<string, string>>;
  /** The digests of the volume key: they change only with it. */
  readonly digests: Readonly<Record<string, string>>;
  /** `aes-xts-plain64` of each segment that is encrypted. */
  readonly ciphers: readonly string[];
  /** Bytes of the volume key; null if the header does not tell. */
  readonly keyBytes: number | null;
  /** Why a part of it may not be encrypted now, or by another key; null if nothing is under way. */
  readonly reencryption: string | null;
  /** Numbers of the keyslots that lead to a key of encrypted data. */
  readonly opening: readonly string[];
  /** Salt and digest of each volume key: equal in a copied header, whatever its UUID says. */
  readonly keys: readonly string[];
}

/** Types of tokens that systemd-cryptenroll writes (systemd, src/cryptenroll), and what a person calls them. */
const cryptEnrolled = {
  'systemd-tpm2': 'the TPM',
  'systemd-recovery': 'a recovery key',
  'systemd-fido2': 'a FIDO2 key',
  'systemd-pkcs11': 'a smart card',
} as const;
export type CryptEnrolled = (typeof cryptEnrolled)[keyof typeof cryptEnrolled];

/** The text says what is wrong with the header. */
export function luksVolume(header: LuksHeader): LuksVolume | { readonly fault: string } {
  try {
    return header.version === 1 ? firstVersion(header) : secondVersion(header);
  } catch (error) {
    if (error instanceof Rejection) return { fault: error.message };
    // Brackets in brackets: the stack ends before the text does.
    if (error instanceof RangeError) return { fault: 'the LUKS2 metadata is nested without end' };
    throw error;
  }
}

function firstVersion({ uuid, luks1 }: LuksHeader): LuksVolume | { readonly fault: string } {
  if (luks1 === null) return { fault: 'nothing of the LUKS1 header was read' };
  const { cipher, mode, hash, keyBytes, keyDigest, keySalt, activeSlots } = luks1;
  const digest = { hash, salt: keySalt, digest: keyDigest };
  return {
    version: 1,
    uuid: uuid.toLowerCase(),
    keyslots: Object.fromEntries(activeSlots.map((slot) => [String(slot), canonical({ type: 'luks1' })])),
    tokens: {},
    enrolled: {},
    segments: { 0: canonical({ encryption: `${cipher}-${mode}` }) },
    digests: { 0: canonical(digest) },
    ciphers: [`${cipher}-${mode}`],
    keyBytes,
    reencryption: null,
    opening: activeSlots.map(String),
    keys: [`${keySalt} ${keyDigest}`],
  };
}

const byNumber = <T extends z.ZodType>(schema: T) => z.record(z.string().regex(/^\d{1,4}$/), schema);
const metadata = z.looseObject({
  keyslots: byNumber(
    z.looseObject({ type: z.string().max(64), key_size: z.int().min(0).max(65_536).optional() }),
  ),
  tokens: byNumber(
    z.looseObject({
      type: z.string().max(256),
      keyslots: z.array(z.string().max(8)).max(64).optional(),
    }),
  ).optional(),
  segments: byNumber(
    z.looseObject({
      type: z.string().max(64),
      encryption: z.string().max(128).optional(),
      flags: z.array(z.string().max(64)).max(32).optional(),
    }),
  ),
  digests: byNumber(
    z.looseObject({
      type: z.string().max(64),
      keyslots: z.array(z.string().max(8)).max(64),
      segments: z.array(z.string().max(8)).max(64),
      salt: z.string().max(1024),
      digest: z.string().max(1024),
    }),
  ),
  config: z
    .looseObject({
      requirements: z.looseObject({ mandatory: z.array(z.string().max(64)).max(32).optional() }).optional(),
    })
    .optional(),
});

function secondVersion({ uuid, metadata: text }: LuksHeader): LuksVolume | { readonly fault: string } {
  if (text === null) return { fault: 'the metadata of the LUKS2 header was not read' };
  // The area is filled up with zeros.
  const parsed = parseJson(text.replace(/\0+$/, ''), metadata, 'LUKS2 metadata');
  for (const area of [parsed.keyslots, parsed.tokens ?? {}, parsed.segments, parsed.digests])
    if (Object.keys(area).length > mostObjects) return { fault: 'the LUKS2 metadata has no end' };
  const { keyslots, tokens = {}, segments, digests, config } = parsed;
  const encrypted = Object.entries(segments).filter(([, { type }]) => type === 'crypt');
  const ofSegments = Object.values(digests).filter((digest) =>
    digest.segments.some((id) => encrypted.some(([segment]) => segment === id)),
  );
  const sizes = new Set(
    ofSegments.flatMap((digest) => digest.keyslots.flatMap((id) => keyslots[id]?.key_size ?? [])),
  );
  return {
    version: 2,
    uuid: uuid.toLowerCase(),
    keyslots: eachCanonical(keyslots),
    tokens: eachCanonical(tokens),
    enrolled: enrolledIn(tokens, keyslots),
    segments: eachCanonical(segments),
    // Which keyslots lead to the key stands in them too, and is told of the keyslots themselves: so is a key of no segment.
    digests: eachCanonical(
      Object.fromEntries(
        Object.entries(digests)
          .filter(([, digest]) => digest.segments.length > 0)
          .map(([id, { keyslots: _, ...digest }]) => [id, digest]),
      ),
    ),
    ciphers: encrypted.map(([, { encryption }]) => encryption ?? ''),
    keyBytes: sizes.size === 1 ? ([...sizes][0] ?? null) : null,
    reencryption: reencryptionOf(parsed, config?.requirements?.mandatory ?? []),
    opening: ofSegments.flatMap((digest) => digest.keyslots),
    keys: Object.values(digests).map(({ salt, digest }) => `${salt} ${digest}`),
  };
}

/** Attack: tokens that call many keyslots a recovery key. There is one of each type, for one keyslot. */
function enrolledIn(
  tokens: NonNullable<z.infer<typeof metadata>['tokens']>,
  keyslots: z.infer<typeof metadata>['keyslots'],
): LuksVolume['enrolled'] {
  const found: Record<string, CryptEnrolled> = {};
  for (const [type, called] of Object.entries(cryptEnrolled)) {
    const [token, ...more] = Object.values(tokens).filter((one) => one.type === type);
    const [slot, ...others] = token?.keyslots ?? [];
    if (slot === undefined || more.length + others.length > 0) continue;
    if (Object.hasOwn(keyslots, slot) && !Object.hasOwn(found, slot)) found[slot] = called;
  }
  return found;
}

/** LUKS2 has 32 keyslots, tokens and digests at most. */
const mostObjects = 64;

function reencryptionOf(
  { keyslots, segments }: z.infer<typeof metadata>,
  requirements: readonly string[],
): string | null {
  const required = requirements.find((word) => word.includes('reencrypt'));
  if (required !== undefined) return `requirement ${required}`;
  const slot = Object.entries(keyslots).find(([, { type }]) => type === 'reencrypt');
  if (slot !== undefined) return `keyslot ${slot[0]} of type reencrypt`;
  const segment = Object.entries(segments).find(
    ([, { flags = [] }]) =>
      flags.includes('in-reencryption') || flags.some((flag) => flag.startsWith('backup-')),
  );
  if (segment !== undefined) return `segment ${segment[0]} in reencryption`;
  const open = Object.entries(segments).find(([, { type }]) => type === 'linear');
  return open === undefined ? null : `segment ${open[0]} is not encrypted`;
}

function eachCanonical(objects: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(objects).map(([id, value]) => [id, canonical(value)]));
}

/** JSON with the members of each object in order: equal where the values are. */
function canonical(value: unknown): string {
  return JSON.stringify(sorted(value));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => [key, sorted(member)]),
  );
}
