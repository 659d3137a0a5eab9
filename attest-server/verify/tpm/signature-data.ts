import { type SignatureEntry, signatureEntry } from './signature-list.ts';

const ownerBytes = 16;
const digestBytes = 32;

/** True if a value has the form of an authority, and not that of a database. */
export function isAuthority(value: Buffer): boolean {
  return certificateIn(value) !== null || value.length === ownerBytes + digestBytes;
}

/** The certificate in such a value; null if it holds none. */
export function certificateIn(value: Buffer): Buffer | null {
  if (isCertificate(value)) return value;
  const owned = value.subarray(ownerBytes);
  return isCertificate(owned) ? owned : null;
}

/**
 * EFI_SIGNATURE_DATA as the firmware measures it: an owner and a certificate or digest; older shims leave out the owner.
 * PC Client PFP 1.06, section 10.4.3; UEFI 2.10, section 32.4.1.
 */
export function signatureDataEntry(value: Buffer): SignatureEntry {
  const certificate = certificateIn(value);
  if (certificate !== null) return signatureEntry(certificate, 'certificate');
  if (value.length === ownerBytes + digestBytes) return signatureEntry(value.subarray(ownerBytes), 'digest');
  return signatureEntry(value, 'other');
}

/** A DER sequence that fills the bytes. */
function isCertificate(bytes: Buffer): boolean {
  return bytes.length > 4 && bytes.readUInt16BE(0) === 0x3082 && bytes.readUInt16BE(2) === bytes.length - 4;
}
