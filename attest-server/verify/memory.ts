import { LRUCache } from 'lru-cache';
import { atMost } from '../wire/at-most.ts';
import { type Facts, parseFacts } from '../wire/facts.ts';
import { explainsTheRest } from './boot/boot-problem.ts';
import type { FileSet, KnownFile } from './boot/loader-files.ts';
import { type BootCap, readCap } from './boot-cap.ts';
import { BootReading } from './boot-reading.ts';
import { type HashedPart, ownPart } from './hashed-part.ts';
import type { KnownList } from './ima/prove-list.ts';
import { type MeasuredBoot, measureReading } from './measured-boot.ts';
import { checkPcrs, type QuotedPcrs, type QuoteEvidence, type SignedQuote } from './quote.ts';
import type { InitrdSet, ReadManifest } from './read-initrd.ts';
import type { Quote } from './tpm/attest.ts';

/** How many logs are kept as they were read, and how many bytes they take together: one node can make up logs of 2 MiB that replay. */
const rememberedReadings = 512;
/** Boots of one such log: of machines that differ in PCRs alone, or of one that extends them again and again. */
const mostBoots = 64;
const rememberedBytes = 64 * 1024 * 1024;
const rememberedParts = 8192;
/** The memory for a known file is about 1 KB, for a block of GRUB's environment 2. */
const rememberedFiles = 131_072;
/** The PCR values of one key take about 1 KB. */
const rememberedKeys = 131_072;
/** The least size of one key's memory: it is also bounded in number by that. */
const leastOfKey = rememberedBytes / rememberedKeys;

/** The memory for manifests of initrds that are held as they are read: some 400 bytes a file; of others the packed bytes stay. */
const readManifests = { size: 32 * 1024 * 1024, entry: 400 };

/** The size of a list, beside its mappings. */
const listBytes = 1024;

type MonotonicClock = Pick<Quote['clock'], 'resetCount' | 'restartCount'>;

/**
 * Earlier proofs, so that nothing is computed twice. It takes only what was signed or hashed in this room, and gives only what
 * it proved itself; nobody can write one, or extend it.
 */
export class Memory {
  readonly #keys = new LRUCache<string, KeyMemory>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ factsLength }) => Math.max(factsLength, leastOfKey),
  });
  readonly #parts = new LRUCache<string, HashedPart>({
    max: rememberedParts,
    maxSize: rememberedBytes,
    sizeCalculation: ({ bytes }) => bytes.length + 1,
  });
  readonly #files = new LRUCache<string, KnownFile>(atMost(rememberedFiles));
  readonly #fileSets = new LRUCache<string, FileSet>(atMost(rememberedKeys));
  readonly #initrds = new LRUCache<string, InitrdSet>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ bytes }) => Math.max(bytes, leastOfKey),
  });
  readonly #manifests = new LRUCache<string, ReadManifest>({
    maxSize: readManifests.size,
    sizeCalculation: ({ entries, contents }) =>
      Object.values(contents).reduce(
        (sum, { length }) => sum + length,
        entries.length * readManifests.entry + 1,
      ),
  });
  readonly #readings = new LRUCache<
    string,
    {
      readonly reading: BootReading;
      /** Boots proven by quotes, by the digest of their PCRs and of the loader's files. */
      readonly boots: Map<string, MeasuredBoot>;
    }
  >({ max: rememberedReadings, maxSize: rememberedBytes, sizeCalculation: ({ reading }) => reading.size });

  readonly #lists = new LRUCache<string, KnownList & { readonly of: MonotonicClock }>({
    maxSize: rememberedBytes,
    sizeCalculation: ({ before, last }) => listBytes + last.mappings.size + (before?.mappings.size ?? 0),
  });

  private constructor() {}

  static empty(): Memory {
    return new Memory();
  }

  /** The bytes of this digest; null if they are not remembered. */
  part(digest: string): HashedPart | null {
    return this.#parts.get(digest) ?? null;
  }

  keep(part: HashedPart): void {
    if (!this.#parts.has(part.digest)) this.#parts.set(part.digest, ownPart(part));
  }

  /** The latest proof of this attestation key: of a key that just signed. */
  ofKey(akName: string): KeyMemory {
    const known = this.#keys.get(akName);
    if (known !== undefined) return known;
    const fresh = KeyMemory.empty();
    this.#keys.set(akName, fresh);
    return fresh;
  }

  /** All files of the list that has this digest; null if one of them is not remembered. */
  files(list: string): FileSet | null {
    return this.#fileSets.get(list) ?? null;
  }

  file(digest: string): KnownFile | null {
    return this.#files.get(digest) ?? null;
  }

  keepFile(file: KnownFile): void {
    this.#files.set(file.digests.sha256, file);
  }

  keepFiles(files: FileSet): void {
    if (files.digest !== null) this.#fileSets.set(files.digest, files);
  }

  /** All manifests of the list that has this digest; null if one of them is not remembered. */
  initrds(list: string): InitrdSet | null {
    return this.#initrds.get(list) ?? null;
  }

  keepInitrds(set: InitrdSet): void {
    this.#initrds.set(set.digest, set);
  }

  /** As it was read of the bytes of this digest. */
  manifest(digest: string): ReadManifest | null {
    return this.#manifests.get(digest) ?? null;
  }

  keepManifest(digest: string, manifest: ReadManifest): void {
    if (!this.#manifests.has(digest)) this.#manifests.set(digest, manifest);
  }

  /** `parseFacts`, where the same text that came with this key's last quote is not parsed again. @throws Rejection */
  facts(akName: string, of: KeyMemory, text: string): Facts {
    if (of.hasFacts(text)) return of.facts(text);
    const facts = of.facts(text);
    // Set again: it has another size now.
    this.#keys.set(akName, of);
    return facts;
  }

  /** Bytes that these logs take as they were read; 0 where they must be read. */
  readingSize(log: string, userSpace: string | null): number {
    return this.#readings.peek(readingKey(log, userSpace ?? ''))?.reading.size ?? 0;
  }

  /**
   * `measureBoot`, where logs are not read again, whoever sent them before, and are not compared again while measured PCRs and the
   * loader's files are the same.
   */
  boot(
    of: KeyMemory,
    log: HashedPart,
    pcrs: Pick<QuotedPcrs, 'banks' | 'measuredDigest'>,
    userSpace: HashedPart | null,
    files: FileSet,
  ): MeasuredBoot {
    const { logs, quoted } = of.bootKey(
      log.digest,
      pcrs.measuredDigest,
      userSpace?.digest ?? '',
      files.digest ?? '',
    );
    const known = this.#readings.get(logs);
    const before = known?.boots.get(quoted);
    if (before !== undefined) return before;
    // Facts of a boot are read from the log's bytes when they are asked for: from ours, which nobody else writes to.
    const own = known === undefined ? (this.part(log.digest) ?? ownPart(log)) : log;
    const reading = known?.reading ?? BootReading.of(own, userSpace);
    // Of a list that is not whole, more files may be known the next time.
    const isWhole = files.digest === null || this.files(files.digest) !== null;
    const boot = measureReading(reading, pcrs.banks, userSpace?.digest ?? null, files, isWhole);
    // What does not replay may be made up again for each answer, and is worth no memory.
    if (known === undefined && !explainsTheRest(boot.problems, pcrs.banks)) return boot;
    const boots = known?.boots ?? new Map<string, MeasuredBoot>();
    for (const [key, { state }] of boots)
      if (!reading.remembers(state) || boots.size >= mostBoots) boots.delete(key);
    if (reading.remembers(boot.state)) boots.set(quoted, boot);
    if (known !== undefined) return boot;
    this.#parts.set(own.digest, own);
    if (userSpace !== null) this.keep(userSpace);
    this.#readings.set(logs, { reading, boots });
    return boot;
  }

  /** Up to where IMA's list was proven in this boot; null if nothing is known of it. */
  list(akName: string, { resetCount, restartCount }: MonotonicClock): KnownList | null {
    const known = this.lastList(akName);
    return known?.of.resetCount === resetCount && known.of.restartCount === restartCount ? known : null;
  }

  /** The same, of whichever boot it was. */
  lastList(akName: string): (KnownList & { readonly of: MonotonicClock }) | null {
    return this.#lists.get(akName) ?? null;
  }

  keepList(akName: string, { resetCount, restartCount }: MonotonicClock, known: KnownList | null): void {
    const before = this.#lists.peek(akName);
    if (known === null) this.#lists.delete(akName);
    else if (before !== known) this.#lists.set(akName, { ...known, of: { resetCount, restartCount } });
  }

  forget(akName: string): void {
    this.#keys.delete(akName);
    this.#lists.delete(akName);
  }
}

/** The latest proof of one attestation key, and where in the memory its boot lies; nobody can write it, or extend it. */
class KeyMemory {
  #pcrs: QuotedPcrs | null = null;
  #facts: { readonly text: string; readonly facts: Facts } | null = null;
  #cap: { readonly measured: string; readonly cap: BootCap } | null = null;
  #boot = { log: '', measured: '', userSpace: '', files: '', logs: '', quoted: '' };

  private constructor() {}

  static empty(): KeyMemory {
    return new KeyMemory();
  }

  /** Characters of the facts' text. */
  get factsLength(): number {
    return this.#facts?.text.length ?? 0;
  }

  /** `checkPcrs`, where values that the same key signed before need no hash again, and are held once. */
  pcrs(quotes: readonly SignedQuote[], carriers: readonly QuoteEvidence[]): QuotedPcrs {
    this.#pcrs = checkPcrs(quotes, carriers, this.#pcrs);
    return this.#pcrs;
  }

  /** `readCap` where no log came. */
  capWithoutLog({ banks, measuredDigest }: QuotedPcrs): BootCap {
    if (this.#cap?.measured !== measuredDigest)
      this.#cap = { measured: measuredDigest, cap: readCap(null, banks, null) };
    return this.#cap.cap;
  }

  hasFacts(text: string): boolean {
    return this.#facts?.text === text;
  }

  /** @throws Rejection as `parseFacts` */
  facts(text: string): Facts {
    if (this.#facts?.text !== text) this.#facts = { text, facts: parseFacts(text) };
    return this.#facts.facts;
  }

  /** The same strings while nothing of it changed: they are hashed once then. */
  bootKey(log: string, measured: string, userSpace: string, files: string): { logs: string; quoted: string } {
    const last = this.#boot;
    const isSame = last.log === log && last.measured === measured && last.userSpace === userSpace;
    if (isSame && last.files === files) return last;
    const logs = readingKey(log, userSpace);
    this.#boot = { log, measured, userSpace, files, logs, quoted: `${measured} ${files}` };
    return this.#boot;
  }
}

function readingKey(log: string, userSpace: string): string {
  return `${log} ${userSpace}`;
}
