import { hash } from 'node:crypto';
import { declaredNamespace } from '../../formats/declared.ts';
import { Rejection } from '../../wire/rejection.ts';
import { type Manifest, parseManifest } from './manifest.ts';
import {
  isSignedByMinisign,
  type MinisignKey,
  parseMinisignKey,
  parseMinisignSignature,
} from './minisign.ts';
import { isSignedBySsh, parseSshKey, parseSshSignature, type SshKey } from './ssh-signature.ts';

/** A key whose holder may say what is in force. */
export interface Signer {
  /** The comment of the key where it is a plain word, else its fingerprint: what the audit log calls it. */
  readonly name: string;
  /** As ssh-keygen and minisign print it. */
  readonly fingerprint: string;
  readonly ssh: SshKey | null;
  readonly minisign: MinisignKey | null;
}

/** A manifest, and who signed it. */
export interface SignedManifest extends Manifest {
  readonly signer: Signer;
  /** SHA-256 of its bytes, hex. */
  readonly digest: string;
}

/** Its signatures, as files; null if there is none. */
export interface ManifestSignatures {
  readonly ssh: Buffer | null;
  readonly minisign: Buffer | null;
}

/** The lines of a text that are keys; blank ones and comments are none. */
export function parseSigners(text: string): readonly Signer[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('untrusted comment:'))
    .map(signerOf);
}

/**
 * Parses `TYPE BASE64 [NAME]`, a public key of SSH in one line, or `BASE64 [NAME]`, one of minisign.
 * @throws Rejection `malformed`, `weak_key`
 */
function signerOf(line: string): Signer {
  const [first = '', ...rest] = line.trim().split(/[ \t]+/);
  if (!/^(ssh-|ecdsa-|sk-)/.test(first)) {
    const minisign = parseMinisignKey(first);
    return { name: nameOf(rest, minisign.id), fingerprint: minisign.id, ssh: null, minisign };
  }
  const [base64 = '', ...comment] = rest;
  const blob = Buffer.from(base64, 'base64');
  const ssh = parseSshKey(blob);
  if (ssh.type !== first || blob.toString('base64') !== base64)
    throw new Rejection('malformed', `the key is not one of the type ${first}`, { field: 'key.type' });
  const fingerprint = `SHA256:${hash('sha256', blob, 'base64').replace(/=+$/, '')}`;
  return { name: nameOf(comment, fingerprint), fingerprint, ssh, minisign: null };
}

/**
 * The manifest, once a key of ours has signed it.
 * @throws Rejection `sig_invalid`, `malformed`, `too_large`
 */
export function verifyManifest(
  bytes: Buffer,
  { ssh, minisign }: ManifestSignatures,
  signers: readonly Signer[],
): SignedManifest {
  const bySsh = ssh === null ? null : parseSshSignature(ssh);
  const byMinisign = minisign === null ? null : parseMinisignSignature(minisign);
  const signer = signers.find(
    (each) =>
      (bySsh !== null && each.ssh !== null && isSignedBySsh(bytes, bySsh, each.ssh, declaredNamespace)) ||
      (byMinisign !== null && each.minisign !== null && isSignedByMinisign(bytes, byMinisign, each.minisign)),
  );
  if (signer === undefined)
    throw new Rejection('sig_invalid', whyNot(bySsh?.namespace ?? null), { field: 'signature' });
  return { ...parseManifest(bytes), signer, digest: hash('sha256', bytes, 'hex') };
}

function whyNot(namespace: string | null): string {
  return namespace === null || namespace === declaredNamespace
    ? 'it was signed by none of the keys of declared.keys, or is not what was signed'
    : `it was signed for another purpose than ${declaredNamespace}`;
}

/** Attack: a comment that looks like another key's, or breaks lines of the log. Only plain words are taken. */
function nameOf(comment: readonly string[], fingerprint: string): string {
  const [word = ''] = comment;
  return comment.length === 1 && /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$/.test(word) ? word : fingerprint;
}
