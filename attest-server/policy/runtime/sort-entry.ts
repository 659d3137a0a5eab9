import { DigestList } from '../../formats/digest-list.ts';
import type { ImaEntry, ProvenImaList } from '../../verify/ima/proven-list.ts';
import { globMatches } from '../glob.ts';
import { isCriticalData } from './critical-data.ts';
import { Examples } from './examples.ts';
import type { KnownFiles, PreparedReferences } from './prepared-references.ts';
import type { RuntimeRules } from './rules.ts';
import { signedBy } from './signature.ts';
import type { PreparedKeys } from './signer-keys.ts';
import type { FileTally } from './tally.ts';

/** Puts one entry of IMA's list where it belongs. */
export type SortEntry = (
  entry: ImaEntry,
  tally: FileTally,
  list: Pick<ProvenImaList, 'isBootAggregate'>,
) => void;
type InList = Parameters<SortEntry>[2];

/**
 * By rules and references, all of which are ready: most entries are one look-up by digest. Names are decoded only where
 * something goes by them.
 */
export function entrySorter(
  rules: RuntimeRules,
  { host, containers, revoked }: PreparedReferences,
  keys: PreparedKeys,
): SortEntry {
  const denied = listOf(rules.deny.digests);
  const policies = listOf(
    host.flatMap((one) => [...one.policies.keys()].map((hex) => Buffer.from(hex, 'hex'))),
  );
  const all = [...host, ...containers];
  const isDenied = (entry: ImaEntry) =>
    (denied.size > 0 && denied.find(entry.digest) >= 0) ||
    (rules.deny.globs.length > 0 && matchesOne(rules.deny.globs, entry.name));
  const isOfContainers = (entry: ImaEntry) =>
    rules.containers !== null && matchesOne(rules.containers.paths, entry.name);

  function sortFile(entry: ImaEntry, tally: FileTally, list: InList): void {
    const isPolicy = policies.size > 0 && policies.find(entry.digest) >= 0;
    // Attack: it is loaded by a path of containers.
    if (isPolicy) notePolicy(entry, tally);
    // Who names a policy knows its file, wherever it lies.
    const naming = isPolicy ? namingPolicy(host, entry.digest) : undefined;
    const known = finder(host, entry.digest);
    if (isOfContainers(entry)) sortInContainer(entry, tally, list);
    else if (naming !== undefined) note(tally, naming, entry);
    else if (known === null) sortUnknown(entry, tally, tally.unknown, list);
    else if (rules.paths === 'any') note(tally, known, entry);
    else sortByPath(entry, tally, known);
  }

  function sortByPath(entry: ImaEntry, tally: FileTally, known: KnownFiles): void {
    const at = host.find((one) => isAt(one, entry));
    if (at !== undefined || rules.paths === 'report') note(tally, at ?? known, entry);
    if (at !== undefined) return;
    count(tally, rules.paths === 'report' ? tally.moved : tally.unknown, entry, known.name);
  }

  function sortUnknown(entry: ImaEntry, tally: FileTally, unknown: Examples, list: InList): void {
    const bad = finder(revoked, entry.digest);
    if (bad !== null) count(tally, tally.revoked, entry, bad.name);
    // Of one more that is unknown nothing would be kept.
    else if (!unknown.more && !isExcused(entry, list)) count(tally, unknown, entry);
  }

  function isExcused(entry: ImaEntry, list: InList): boolean {
    if (list.isBootAggregate(entry) || matchesOne(rules.exclude, entry.name)) return true;
    return signedBy(entry, keys) !== null;
  }

  function sortInContainer(entry: ImaEntry, tally: FileTally, list: InList): void {
    if (rules.containers?.references === null) return;
    const known = finder(containers, entry.digest);
    if (known === null) sortUnknown(entry, tally, tally.inContainers, list);
    else note(tally, known, entry);
  }

  function sortViolation(entry: ImaEntry, tally: FileTally): void {
    if (rules.violations === 'ignore' || tally.violations.more) return;
    if (!matchesOne(rules.violationsExcept, entry.name)) count(tally, tally.violations, entry);
  }

  return (entry, tally, list) => {
    if (isDenied(entry)) count(tally, tally.denied, entry);
    else if (entry.isViolation) sortViolation(entry, tally);
    else if (entry.data !== null) sortMeasured(entry, tally, all);
    else sortFile(entry, tally, list);
  };
}

/** The reference that knows a digest longest. */
function finder(references: readonly KnownFiles[], digest: Buffer): KnownFiles | null {
  for (const one of references) if (one.files.find(digest) >= 0) return one;
  return null;
}

/** The one that does so longest. */
function namingPolicy(references: readonly KnownFiles[], digest: Buffer): KnownFiles | undefined {
  const hex = digest.toString('hex');
  return references.find(({ policies }) => policies.has(hex));
}

function isAt({ files }: KnownFiles, { digest, name }: ImaEntry): boolean {
  return files.find(digest) >= 0 && files.filesAt(name).some((file) => file.digest.equals(digest));
}

/** Keys, command lines of kexec, critical data: by name, since each is a thing of its own. */
function sortMeasured(entry: ImaEntry, tally: FileTally, references: readonly KnownFiles[]): void {
  const { name } = entry;
  const naming = references.filter(({ measured }) => measured.has(name));
  if (naming.length === 0 && isCriticalData(name) && !isLikeSignature(entry)) return;
  const hex = entry.digest.toString('hex');
  const known = naming.find(({ measured }) => measured.get(name)?.has(hex));
  if (known === undefined) count(tally, tally.measured, entry);
  else note(tally, known, entry);
}

/**
 * Attack: a file of a program's text with the same bytes in security.ima, which no PCR tells apart from critical data: its
 * entry of ima-sig is shown as one of ima-buf. The kernel takes for a signature what begins with one of these bytes.
 */
function isLikeSignature({ name, data, digest }: ImaEntry): boolean {
  // A digest begins with any byte, and as few bytes hold no program that reads nothing else.
  if (name === 'selinux-policy-hash' && data?.length === digest.length) return false;
  const first = data?.[0];
  return first === 3 || first === 5 || first === 6;
}

function note(tally: FileTally, { name, expires }: KnownFiles, entry: ImaEntry): void {
  const known = tally.known.get(name);
  if (known === null) return;
  if (known !== undefined) {
    if (known.add(entry, name)) tally.changed();
    return;
  }
  const examples = Number.isFinite(expires) ? new Examples() : null;
  examples?.add(entry, name);
  tally.known.set(name, examples);
  tally.changed();
}

function notePolicy({ digest }: ImaEntry, tally: FileTally): void {
  const hex = digest.toString('hex');
  if (tally.policies.has(hex)) return;
  tally.policies.add(hex);
  tally.changed();
}

function count(tally: FileTally, examples: Examples, entry: ImaEntry, reference: string | null = null): void {
  if (examples.add(entry, reference)) tally.changed();
}

function matchesOne(globs: readonly string[], name: string): boolean {
  return globs.some((glob) => globMatches(glob, name));
}

function listOf(digests: readonly Buffer[]): DigestList {
  return DigestList.of(digests.map((digest) => ({ digest, path: '/', package: null })));
}
