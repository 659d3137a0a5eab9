import { LRUCache } from 'lru-cache';
import { type Facts, parseFacts } from '../protocol/facts.ts';
import type { FileSet, KnownFile } from './boot/loader-files.ts';
import { type HashedPart, ownPart } from './hashed-part.ts';
import { measureBoot } from './measured-boot.ts';
import type { MeasuredBoot } from './proven.ts';
import { checkPcrs, type QuotedPcrs, type QuoteEvidence, type SignedQuote } from './quote.ts';

/** How many parsed boots are kept, and how many bytes their logs have together: one node can make up logs of 2 MiB that replay. */
const rememberedBoots = 512;
const rememberedBytes = 64 * 1024 * 1024;
const rememberedParts = 8192;
/** What is known of a file takes about 1 KB, a block of GRUB's environment 2. */
const rememberedFiles = 131_072;
/** The PCR values of one key take about 1 KB. */
const rememberedKeys = 131_072;

/**
 * What was proven before, so that it is not computed again. It takes only what was signed or hashed in this room, and
 * gives only what it proved itself; nobody can write one, or extend it.
 */
export class Memory {
  readonly #pcrs = new LRUCache<string, { latest: QuotedPcrs }>({ max: rememberedKeys });
  readonly #parts = new LRUCache<string, HashedPart>({
    max: rememberedParts,
    maxSize: rememberedBytes,
    sizeCalculation: ({ bytes }) => bytes.length + 1,
  });
  readonly #files = new LRUCache<string, KnownFile>({ max: rememberedFiles });
  readonly #fileSets = new LRUCache<string, FileSet>({ max: rememberedKeys });
  readonly #facts = new LRUCache<string, { readonly text: string; readonly facts: Facts }>({
    max: rememberedKeys,
    maxSize: rememberedBytes,
    sizeCalculation: ({ text }) => text.length + 1,
  });
  readonly #boots = new LRUCache<string, MeasuredBoot>({ max: rememberedBoots, maxSize: rememberedBytes });

  private constructor() {}

  static empty(): Memory {
    return new Memory();
  }

  /** The bytes of this digest; null where they are not remembered. */
  part(digest: string): HashedPart | null {
    return this.#parts.get(digest) ?? null;
  }

  keep(part: HashedPart): void {
    if (!this.#parts.has(part.digest)) this.#parts.set(part.digest, ownPart(part));
  }

  /** All files of the list that has this digest; null where one of them is not remembered. */
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

  /** `parseFacts`, where the same text that came with this key's last quote is not parsed again. @throws Rejection */
  facts(akName: string, text: string): Facts {
    const known = this.#facts.get(akName);
    if (known?.text === text) return known.facts;
    const facts = parseFacts(text);
    this.#facts.set(akName, { text, facts });
    return facts;
  }

  /** `checkPcrs`, where values that the same key signed before need no hash again, and are held once. */
  pcrs(quotes: readonly SignedQuote[], carriers: readonly QuoteEvidence[]): QuotedPcrs {
    const name = quotes[0]?.ak.name ?? '';
    const known = this.#pcrs.get(name);
    if (known !== undefined) {
      known.latest = checkPcrs(quotes, carriers, known.latest);
      return known.latest;
    }
    const latest = checkPcrs(quotes, carriers);
    this.#pcrs.set(name, { latest });
    return latest;
  }

  /** `measureBoot`, where a log is not parsed again while logs, measured PCRs and the loader's files are the same. */
  boot(log: HashedPart, pcrs: QuotedPcrs, userSpace: HashedPart | null, files: FileSet): MeasuredBoot {
    const both = log.digest + pcrs.measuredDigest;
    const logs = userSpace === null ? both : both + userSpace.digest;
    const key = files.digest === null ? logs : `${logs} ${files.digest}`;
    const known = this.#boots.get(key);
    if (known !== undefined) return known;
    // Facts of a boot are read from the log's bytes when they are asked for: from ours, which nobody else writes to.
    const own = this.part(log.digest) ?? ownPart(log);
    const boot = measureBoot(own, pcrs.banks, userSpace, files);
    // What does not replay may be made up anew for each answer, and is worth no memory.
    if (boot.problems.length > 0) return boot;
    // Of a list that is not whole, more files may be known the next time.
    if (files.digest !== null && this.files(files.digest) === null) return boot;
    this.#parts.set(own.digest, own);
    if (userSpace !== null) this.keep(userSpace);
    this.#boots.set(key, boot, { size: own.bytes.length + 1 });
    return boot;
  }

  forget(akName: string): void {
    this.#pcrs.delete(akName);
    this.#facts.delete(akName);
  }
}
