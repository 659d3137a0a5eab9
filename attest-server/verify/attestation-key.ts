import { hash, type KeyObject } from 'node:crypto';
import { ownBytes } from '../wire/own-bytes.ts';
import { Rejection } from '../wire/rejection.ts';
import { idText } from './tpm/algorithms.ts';
import {
  attribute,
  importKey,
  nameAlgPrefix,
  nameOf,
  type PublicArea,
  parsePublicArea,
} from './tpm/public-area.ts';
import { type SignatureScheme, type SigningScheme, schemeById } from './tpm/signature.ts';

/** For the compiler alone: a protected member can be neither written nor spread. */
declare class KeySeal {
  protected readonly checked: never;
}

/**
 * An attestation key whose public area was checked: only `checkAttestationKey` makes one. Keep it as long as the node:
 * `key` is imported once.
 */
export interface AttestationKey extends SigningScheme, KeySeal {
  /** TPMT_PUBLIC */
  readonly publicArea: Buffer;
  /** nameAlg || H(public area), hex. */
  readonly name: string;
  readonly key: KeyObject;
  /** The qualified name of this key as a primary key of the endorsement hierarchy, hex. */
  readonly qualifiedName: string;
}

/** TPM_RH_ENDORSEMENT. TPM 2.0 Part 2 r1.59, section 7.4. */
const endorsement = '4000000b';
/** Owner, platform, null. */
const otherHierarchies = ['40000001', '4000000c', '40000007'];

/**
 * Takes a TPMT_PUBLIC or TPM2B_PUBLIC and says whether a quote under this key can be worth anything:
 * 1. its algorithms are strong: `weak_key`;
 * 2. the name claimed is its name, else an activation for another key would count for it: `ak_name_mismatch`;
 * 3. it signs nothing that looks like an attestation unless the TPM made that, and never left its TPM: restricted,
 *    sign, no decrypt, fixedTPM, fixedParent, sensitiveDataOrigin, with a fixed scheme: `ak_attributes`.
 * A key that hashes with SHA-1 passes here, since evidence may say more; `verify` refuses its quotes as `weak_key`.
 * @throws Rejection also `malformed`
 */
export function checkAttestationKey(publicArea: Buffer, claimedName?: string): AttestationKey {
  const area = parsePublicArea(publicArea);
  const name = nameOf(area);
  if (claimedName !== undefined && claimedName.toLowerCase() !== name)
    throw new Rejection('ak_name_mismatch', 'the attestation key has another name than was claimed', {
      field: 'name',
    });
  const { scheme, hash: schemeHash } = checkAttributes(area);
  return {
    publicArea: ownBytes(area.bytes),
    name,
    key: importKey(area.key),
    scheme,
    hash: schemeHash,
    curve: area.key.type === 'ecc' ? area.key.curve : null,
    bytes: area.key.type === 'ecc' ? area.key.curve.bytes : area.key.modulus.length,
    qualifiedName: qualifiedName(area, name, endorsement),
    // The seal exists for the compiler only.
  } as AttestationKey;
}

/** The qualified names that it would have as a primary key of the other hierarchies. */
export function otherQualifiedNames({ publicArea, name }: AttestationKey): readonly string[] {
  const area = parsePublicArea(publicArea);
  return otherHierarchies.map((handle) => qualifiedName(area, name, handle));
}

/**
 * Whether the key was made from our template and no other: a node's own agent has no reason to use another one, and a
 * key with a policy or an administrator's role could be activated in ways that ours cannot.
 * @throws Rejection `ak_attributes`
 */
export function checkTemplate({ publicArea }: AttestationKey): void {
  const { attributes, authPolicy } = parsePublicArea(publicArea);
  if (attributes !== templateAttributes) throw badAttributes(`has attributes 0x${attributes.toString(16)}`);
  if (authPolicy.length > 0) throw badAttributes('has a policy');
}

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign. TPM 2.0 Part 2 r1.59, section 8.3. */
const templateAttributes = 0x0005_0472;

const required = ['restricted', 'sign', 'fixedTPM', 'fixedParent', 'sensitiveDataOrigin'] as const;

function checkAttributes(area: PublicArea): Pick<SigningScheme, 'scheme' | 'hash'> {
  const missing = required.filter((name) => (area.attributes & attribute[name]) === 0);
  if (missing.length > 0) throw badAttributes(`lacks ${missing.join(', ')}`);
  if ((area.attributes & attribute.decrypt) !== 0) throw badAttributes('may decrypt');
  const scheme = schemeById(area.scheme);
  if (scheme === undefined || area.schemeHash === null || !fits(scheme, area))
    throw badAttributes(
      `is fixed to scheme ${idText(area.scheme)}, which signs no quotes that can be verified`,
    );
  return { scheme, hash: area.schemeHash };
}

function fits(scheme: SignatureScheme, area: PublicArea): boolean {
  return (scheme === 'ecdsa') === (area.key.type === 'ecc');
}

function badAttributes(text: string): Rejection {
  return new Rejection('ak_attributes', `the attestation key ${text}`, { field: 'objectAttributes' });
}

/** nameAlg || H(parent || name), the parent of a primary key being its hierarchy. TPM 2.0 Part 1 r1.59, section 16. */
function qualifiedName(area: PublicArea, name: string, hierarchy: string): string {
  return nameAlgPrefix(area.nameAlg) + hash(area.nameAlg, Buffer.from(hierarchy + name, 'hex'), 'hex');
}
