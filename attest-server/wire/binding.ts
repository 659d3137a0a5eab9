import { hash } from 'node:crypto';

/** RFC 9266: the label of the TLS exporter whose value stands for one connection. */
export const channelBindingLabel = 'EXPORTER-Channel-Binding';
export const channelBindingBytes = 32;
export const nonceBytes = 32;

/** The inputs that a quote signs besides the PCRs. Absent parts are empty buffers. */
export interface BindingParts {
  /** The server's 32 random bytes. */
  readonly nonce: Buffer;
  /** This TLS connection's exporter value, 32 bytes. */
  readonly channel: Buffer;
  /** SHA-256 of the exact facts bytes, 32 bytes, or empty. */
  readonly facts: Buffer;
  /** SHA-256 of the exact firmware log, 32 bytes, or empty. */
  readonly bootLog: Buffer;
  /** The key request's exact bytes, or empty. */
  readonly keyRequest: Buffer;
}

const label = Buffer.from('assay/evidence/1');

/**
 * qualifyingData = SHA-256(P(label) P(nonce) P(channel) P(facts) P(bootLog) P(keyRequest)), where P(x) is the
 * length as unsigned 32-bit big-endian, then the bytes. Returns 64 lower-case hex digits.
 */
export function qualifyingData(parts: BindingParts): string {
  return hash(
    'sha256',
    lengthPrefixed([label, parts.nonce, parts.channel, parts.facts, parts.bootLog, parts.keyRequest]),
    'hex',
  );
}

/** Concatenates P(x) of each part, in memory of its own. */
export function lengthPrefixed(parts: readonly Buffer[]): Buffer {
  let size = 0;
  for (const part of parts) size += 4 + part.length;
  const target = Buffer.allocUnsafe(size);
  let at = 0;
  for (const part of parts) {
    at = target.writeUInt32BE(part.length, at);
    if (part.length > 0) target.set(part, at);
    at += part.length;
  }
  return target;
}
