import { ECDH, hash } from 'node:crypto';
import { lengthPrefixed } from './binding.ts';
import { Rejection } from './rejection.ts';

/** A request for the key of one volume, in the name of the boot whose quote signs it. */
export interface KeyRequest {
  /** LUKS UUID of the volume, lower case. */
  readonly volume: string;
  /** Of this request alone: a P-256 point, uncompressed, 65 bytes. */
  readonly ephemeral: Buffer;
}

/** The group of the Diffie-Hellman keys, as OpenSSL names it. */
export const keyAgreementCurve = 'prime256v1';
/** Bytes of an uncompressed point of it. */
const pointBytes = 65;

const label = Buffer.from('assay/key-request/1');
const volumeBytes = 36;
const volumeForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Bytes of each key request. */
const keyRequestBytes = 4 + label.length + 4 + volumeBytes + 4 + pointBytes;

/**
 * P("assay/key-request/1") P(volume) P(ephemeral), where P(x) is the length as unsigned 32-bit big-endian, then the bytes:
 * what the quote signs (binding.ts). One request has one form.
 * @throws Rejection `malformed` for one that `parseKeyRequest` would refuse
 */
export function keyRequestOf({ volume, ephemeral }: KeyRequest): Buffer {
  checkVolume(volume);
  checkPoint(ephemeral, 'ephemeral');
  return lengthPrefixed([label, Buffer.from(volume, 'latin1'), ephemeral]);
}

/** Gives views of the bytes. @throws Rejection `malformed` */
export function parseKeyRequest(bytes: Buffer): KeyRequest {
  if (bytes.length !== keyRequestBytes)
    throw new Rejection('malformed', `a key request of ${bytes.length} bytes`, { field: 'keyRequest' });
  const volumeAt = 4 + label.length + 4;
  const volume = bytes.toString('latin1', volumeAt, volumeAt + volumeBytes);
  checkVolume(volume);
  const ephemeral = bytes.subarray(-pointBytes);
  checkPoint(ephemeral, 'ephemeral');
  // All fields are of fixed length, so that this compares the label and the lengths.
  if (!lengthPrefixed([label, Buffer.from(volume, 'latin1'), ephemeral]).equals(bytes))
    throw new Rejection('malformed', 'not a key request', { field: 'keyRequest', offset: 0 });
  return { volume, ephemeral };
}

/** SHA-256 of its bytes, to which the released key is bound. */
export function keyRequestDigest(bytes: Buffer): Buffer {
  return hash('sha256', bytes, 'buffer');
}

/** @throws Rejection `malformed` */
export function checkVolume(volume: string): void {
  if (!volumeForm.test(volume))
    throw new Rejection('malformed', 'the volume is not a LUKS UUID in lower case', { field: 'volume' });
}

/**
 * Attack: a point that is not on the curve, which gives away the private key that is used with it.
 * @throws Rejection `malformed`
 */
export function checkPoint(point: Buffer, field: string): void {
  const isUncompressed = point.length === pointBytes && point[0] === 4;
  try {
    if (isUncompressed) {
      ECDH.convertKey(point, keyAgreementCurve);
      return;
    }
  } catch (cause) {
    throw new Rejection('malformed', `${field} is not a point of P-256`, { field, cause });
  }
  throw new Rejection('malformed', `${field} is not an uncompressed point of P-256`, { field });
}
