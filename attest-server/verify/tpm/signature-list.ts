import { hash } from 'node:crypto';
import { certificateSubject } from '../x509/certificate-subject.ts';

/** One entry of an EFI signature database. */
export interface SignatureEntry {
  readonly kind: 'certificate' | 'digest' | 'other';
  /** SHA-256 of a certificate's DER, or the digest that is listed; hex. */
  readonly digest: string;
  /** A certificate's subject, for a person; null for what is none, or cannot be parsed. */
  readonly subject: string | null;
}

/** SignatureType of what a list holds, as the GUID lies in memory. UEFI 2.10, section 32.4.1. */
const x509Type = Buffer.from('a159c0a5e494a74a87b5ab155c2bf072', 'hex');
const digestTypes: readonly (readonly [type: Buffer, bytes: number])[] = [
  [Buffer.from('2616c4c14c509240aca941f936934328', 'hex'), 32],
  [Buffer.from('12a56c826410cf4bade0a7f60a5c3d7d', 'hex'), 20],
  [Buffer.from('0753 3eff d09f c948 85f1 8ad5 6c70 1e01'.replaceAll(' ', ''), 'hex'), 48],
  [Buffer.from('ae0f3e09c4a6504f9f1bd41e2b89c19a', 'hex'), 64],
];

const listHeaderBytes = 28;
const ownerBytes = 16;

/**
 * The entries of an EFI signature database: EFI_SIGNATURE_LISTs, each of EFI_SIGNATURE_DATAs of one type and size.
 * Null if the lengths do not fit. UEFI 2.10, section 32.4.1.
 */
export function signatureEntries(database: Buffer): readonly SignatureEntry[] | null {
  const entries: SignatureEntry[] = [];
  for (let at = 0; at < database.length; ) {
    const list = signatureList(database, at);
    if (list === null) return null;
    const { kind, first, end, size } = list;
    for (let entry = first; entry < end; entry += size)
      entries.push(signatureEntry(database.subarray(entry + ownerBytes, entry + size), kind));
    at = end;
  }
  return entries;
}

type SignatureKind = SignatureEntry['kind'];

interface SignatureList {
  readonly kind: SignatureKind;
  /** Where the first EFI_SIGNATURE_DATA begins, where the last one ends, and the bytes of each. */
  readonly first: number;
  readonly end: number;
  readonly size: number;
}

function signatureList(database: Buffer, at: number): SignatureList | null {
  if (database.length - at < listHeaderBytes) return null;
  const listBytes = database.readUInt32LE(at + 16);
  const headerBytes = database.readUInt32LE(at + 20);
  const size = database.readUInt32LE(at + 24);
  const first = at + listHeaderBytes + headerBytes;
  const end = at + listBytes;
  if (end > database.length || first > end || size < ownerBytes || (end - first) % size !== 0) return null;
  return { kind: kindOf(database.subarray(at, at + 16), size - ownerBytes), first, end, size };
}

function kindOf(type: Buffer, bytes: number): SignatureKind {
  if (type.equals(x509Type)) return 'certificate';
  return digestTypes.some(([guid, digest]) => digest === bytes && guid.equals(type)) ? 'digest' : 'other';
}

/** @param value what is listed, without its owner */
export function signatureEntry(value: Buffer, kind: SignatureKind): SignatureEntry {
  return kind === 'digest' ? new ListedDigest(value) : new ListedBytes(value, kind);
}

/** A digest that a list names. Hex only once somebody asks: lists of revoked images hold hundreds. */
class ListedDigest implements SignatureEntry {
  readonly kind = 'digest';
  readonly subject = null;
  readonly #value: Buffer;

  constructor(value: Buffer) {
    this.#value = value;
  }

  get digest(): string {
    return this.#value.toString('hex');
  }
}

/** A certificate, or something that is neither certificate nor digest. */
class ListedBytes implements SignatureEntry {
  readonly kind: 'certificate' | 'other';
  readonly #value: Buffer;
  #digest: string | undefined;
  #subject: string | null | undefined;

  constructor(value: Buffer, kind: 'certificate' | 'other') {
    this.#value = value;
    this.kind = kind;
  }

  get digest(): string {
    this.#digest ??= hash('sha256', this.#value, 'hex');
    return this.#digest;
  }

  get subject(): string | null {
    if (this.#subject === undefined)
      this.#subject = this.kind === 'certificate' ? certificateSubject(this.#value) : null;
    return this.#subject;
  }
}

/** An EFI_SIGNATURE_LIST of one certificate. */
export function certificateList(owner: Buffer, certificate: Buffer): Buffer {
  const size = ownerBytes + certificate.length;
  return Buffer.concat([listHeader(x509Type, size), owner, certificate]);
}

/** An EFI_SIGNATURE_LIST of one SHA-256 digest. */
export function digestList(owner: Buffer, digest: Buffer): Buffer {
  const [sha256Type] = digestTypes[0] ?? [Buffer.alloc(16)];
  return Buffer.concat([listHeader(sha256Type, ownerBytes + digest.length), owner, digest]);
}

function listHeader(type: Buffer, size: number): Buffer {
  const header = Buffer.alloc(listHeaderBytes);
  type.copy(header);
  header.writeUInt32LE(listHeaderBytes + size, 16);
  header.writeUInt32LE(size, 24);
  return header;
}
