import { hash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Pin } from '../enrolment/ports.ts';
import { declaredBounds, declaredFiles } from '../formats/declared.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { inSteps } from '../formats/in-steps.ts';
import { parsePins } from '../formats/pin-file.ts';
import { contentFaultInSteps, type Reference } from '../formats/reference.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import { checkPolicy } from '../policy/file/policy-file.ts';
import { parseReferenceFile } from '../policy/reference-file.ts';
import { type SignedManifest, type Signer, verifyManifest } from '../verify/declared/signers.ts';
import { limits } from '../wire/limits.ts';
import { Rejection } from '../wire/rejection.ts';
import { DirectoryFault } from './directory-fault.ts';
import type { Snapshot } from './snapshot.ts';

/** A part of a directory, in the form in which it counts. */
export interface DirectoryContent {
  /** Text of the policy; null if the directory has none. */
  readonly policy: string | null;
  readonly pins: readonly Pin[];
  readonly references: readonly DeclaredReference[];
}

export interface DeclaredReference {
  readonly reference: Reference;
  /** SHA-256 of its file. */
  readonly sha256: string;
}

/** A directory that somebody with a key signed as it is. */
export interface DeclaredDirectory extends DirectoryContent {
  readonly manifest: SignedManifest;
}

/**
 * Reads a directory whole, or not at all.
 * @param methods by which nodes can enrol at this server
 * @throws DirectoryFault
 */
export async function readDirectory(
  snapshot: Snapshot,
  signers: readonly Signer[],
  methods: readonly EnrolmentMethod[],
): Promise<DeclaredDirectory> {
  const [manifestBytes, ssh, minisign] = await Promise.all([
    snapshot.read(declaredFiles.manifest, declaredBounds.manifest),
    ifThere(snapshot.read(declaredFiles.sshSignature, declaredBounds.signature)),
    ifThere(snapshot.read(declaredFiles.minisignSignature, declaredBounds.signature)),
  ]);
  if (ssh === null && minisign === null)
    throw new DirectoryFault(
      'unsigned',
      `there is no signature: neither ${declaredFiles.sshSignature} nor ${declaredFiles.minisignSignature}`,
    );
  const manifest = refusing('manifest', () => verifyManifest(manifestBytes, { ssh, minisign }, signers));
  const listed = new Map(manifest.files.map(({ path, sha256 }) => [path, sha256]));
  const unsigned = snapshot.paths.find((path) => !listed.has(path));
  // Else a merge that nobody signed is waited for in vain.
  if (unsigned !== undefined)
    throw new DirectoryFault('unsigned', `${unsigned} is not in the manifest: write it again, and sign it`);
  const content = await readContent(snapshot, [...listed.keys()], methods, (path, bytes) => {
    // Attack: a file is changed after its manifest was signed.
    if (hash('sha256', bytes, 'hex') !== listed.get(path))
      throw new DirectoryFault('changed', `${path} is not the file that was signed`);
  });
  return { ...content, manifest };
}

/** Reads the named files of a directory, and checks each of them. @throws DirectoryFault */
export async function readContent(
  snapshot: Snapshot,
  paths: readonly string[],
  methods: readonly EnrolmentMethod[],
  check: (path: string, bytes: Buffer) => void,
): Promise<DirectoryContent> {
  let policy: string | null = null;
  let pins: readonly Pin[] = [];
  let total = 0;
  const references = new Map<string, DeclaredReference & { readonly path: string }>();
  for (const path of paths) {
    const bytes = await snapshot.read(path, mostOf(path));
    check(path, bytes);
    if (path === declaredFiles.policy) {
      policy = bytes.toString('utf8');
      checkPolicyFile(policy, path, methods);
    } else if (path === declaredFiles.pins) pins = pinsOf(bytes.toString('utf8'), path);
    else {
      total += bytes.length;
      if (total > limits.references.all)
        throw new DirectoryFault('too_large', `the references have more than ${limits.references.all} bytes`);
      const reference = await referenceOf(bytes.toString('utf8'), path);
      const same = references.get(reference.name);
      if (same !== undefined)
        throw new DirectoryFault(
          'malformed',
          `${path}: its name ${reference.name} is that of ${same.path}, too`,
        );
      references.set(reference.name, { path, reference, sha256: hash('sha256', bytes, 'hex') });
    }
    // A reference may have megabytes: whatever waits comes in between.
    await setImmediate();
  }
  return { policy, pins, references: [...references.values()] };
}

function mostOf(path: string): number {
  if (path === declaredFiles.policy) return declaredBounds.policy;
  return path === declaredFiles.pins ? declaredBounds.pins : limits.references.one;
}

function checkPolicyFile(text: string, path: string, methods: readonly EnrolmentMethod[]): void {
  try {
    checkPolicy(text, path, methods);
  } catch (error) {
    if (error instanceof PolicyError) throw new DirectoryFault('malformed', error.message, error);
    throw error;
  }
}

function pinsOf(text: string, path: string): readonly Pin[] {
  const { pins, faults } = parsePins(text);
  const [fault] = faults;
  if (fault !== undefined) throw new DirectoryFault('malformed', `${path}:${fault.line}: ${fault.text}`);
  return pins.map(({ node, ek }) => ({ node, ekDigest: ek }));
}

async function referenceOf(text: string, path: string): Promise<Reference> {
  const reference = refusing(path, () => parseReferenceFile(text, path));
  const fault = await inSteps(contentFaultInSteps(reference));
  if (fault !== null) throw new DirectoryFault('malformed', `${path}: ${fault}`);
  const { firewall } = reference;
  if (
    firewall !== undefined &&
    'nft' in firewall &&
    firewall.nft !== undefined &&
    !/^\s*\{/.test(firewall.nft)
  )
    throw new DirectoryFault(
      'malformed',
      `${path}: firewall.nft is in the words of nft: write what nft -j list ruleset prints`,
    );
  return reference;
}

function refusing<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    const code =
      error.code === 'sig_invalid' || error.code === 'too_large' ? error.code : ('malformed' as const);
    throw new DirectoryFault(code, `${path}: ${error.message}`, error);
  }
}

async function ifThere(reading: Promise<Buffer>): Promise<Buffer | null> {
  try {
    return await reading;
  } catch (error) {
    const isMissing =
      error instanceof DirectoryFault &&
      error.cause instanceof Error &&
      Object(error.cause).code === 'ENOENT';
    if (isMissing) return null;
    throw error;
  }
}
