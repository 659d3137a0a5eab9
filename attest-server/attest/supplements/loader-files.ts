import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { EvidenceRoom } from '../../evidence/open.ts';
import { explainsTheRest } from '../../verify/boot/boot-problem.ts';
import { hashPart } from '../../verify/hashed-part.ts';
import type { MeasuredBoot } from '../../verify/measured-boot.ts';
import type { Proven } from '../../verify/proven.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { Part } from '../../wire/evidence.ts';
import { limits } from '../../wire/limits.ts';
import { fileList, parseFileList } from '../../wire/loader-files.ts';
import { Rejection } from '../../wire/rejection.ts';
import type { AnsweredSupplement, SupplementPlace } from '../../wire/supplements.ts';
import type { GivenSupplement, LackingAnswer, Supplement, TakenSupplement } from './supplement.ts';

export interface LoaderFilesParts extends Pick<EvidenceRoom, 'hold' | 'readPart'> {
  /** Takes bytes of the node's share of such files. @throws Rejection `too_large` */
  takeFiles(node: string, bytes: number): void;
}

/** Search for the files that explain the boot of one log. */
interface Search {
  /** SHA-256 of the log. */
  readonly log: string;
  /** Channel value: a restarted agent may be able to read more. */
  readonly connection: Buffer;
  /** Digests that were looked for among what is kept. */
  readonly looked: Set<string>;
  /** Those that the node was asked for in vain. */
  readonly missing: Set<string>;
  /** How often the node was asked on this connection, for whichever log. */
  rounds: number;
  /** Digests that its next challenge is to ask for. */
  next: readonly string[];
  /** Digests that it was asked for last, until the answer comes. */
  open: readonly string[];
  /** Asked one after the other, of which it answered none; on whichever connections. */
  unanswered: number;
}

/** A file that some node was asked for. */
interface Flight {
  readonly node: string;
  readonly landed: Promise<void>;
  readonly land: () => void;
}

/** How often a node is asked for files on one connection before it is judged without those that are left. */
const mostRounds = 16;
/** So often without an answer, such as over a line that is too slow for its time: it is judged without them. */
const mostUnanswered = 2;
/** Bytes that are held of nodes that were asked for more: what gives way is asked for again. */
const foundBytes = 64 * 1024 * 1024;
/** Milliseconds that others wait for a file which one node was asked for: a fleet's font travels once. */
const flightMs = 5_000;

/** A boot, and the files by which it is explained. */
interface ExplainedBoot {
  readonly boot: MeasuredBoot | null;
  readonly given: GivenSupplement;
}

/**
 * Finds the files that say what a node's loader read: first those that are kept, from whichever node, then those that it
 * sends. What explains nothing is not kept.
 */
export class LoaderFiles implements Supplement {
  readonly name = name;
  readonly waits = true;
  readonly #evidence: LoaderFilesParts;
  readonly #verifier: Verifier;
  readonly #searches = new Map<string, Search>();
  /** Of nodes that were asked for more before they are judged: what explains their boot so far. */
  readonly #found = new LRUCache<string, GivenSupplement>({
    maxSize: foundBytes,
    sizeCalculation: ({ files }) => [...files.values()].reduce((sum, { length }) => sum + length, 1),
  });
  readonly #flights = new Map<string, Flight>();

  constructor(evidence: LoaderFilesParts, verifier: Verifier) {
    this.#evidence = evidence;
    this.#verifier = verifier;
  }

  /** Once: a node that does not answer in time is judged without them. */
  ask(node: string, connection: Buffer): SupplementPlace | null {
    const search = this.#searches.get(node);
    if (search === undefined || search.next.length === 0 || !search.connection.equals(connection))
      return null;
    search.open = search.next;
    search.next = [];
    return { of: search.open, from: 0, bootId: null };
  }

  held(node: string, digest: string | undefined): GivenSupplement | null | Promise<GivenSupplement | null> {
    const found = this.#found.get(node);
    if (found !== undefined) return found;
    if (digest === undefined) return null;
    const named: Part = { digest, bytes: null };
    const isKnown = this.#verifier.missing({ loaderFiles: named }).length === 0;
    return isKnown ? { name, part: named, files: none } : this.#read(node, digest);
  }

  take(
    lacking: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement | null,
  ): Promise<TakenSupplement> | null {
    const { node, proven, connection } = lacking;
    const came = answered?.came?.pieces ?? [];
    const wanted = wantedBy(proven.boot, proven);
    const isOver =
      wanted.length === 0 ||
      isInVain(this.#searchOf(node.name, proven, connection), askedIn(answered), wanted);
    if (came.length > 0 || !isOver) return this.#explain(lacking, answered, held ?? nothingGiven);
    this.#found.delete(node.name);
    return null;
  }

  keep(node: string, given: GivenSupplement): void {
    this.#found.set(node, given);
  }

  forget(node: string): void {
    this.#searches.delete(node);
    this.#found.delete(node);
    // Whoever waits for what it was to send is to send it now.
    for (const flight of [...this.#flights.values()]) if (flight.node === node) flight.land();
  }

  async #read(node: string, digest: string): Promise<GivenSupplement | null> {
    const bytes = await this.#evidence.readPart(digest, node);
    if (bytes === null) return null;
    const files = new Map<string, Buffer>();
    for (const each of parseFileList(bytes)) {
      const file = this.#verifier.knowsFile(each) ? null : await this.#evidence.readPart(each, node);
      if (file !== null) files.set(each, file);
    }
    return { name, part: { digest, bytes }, files };
  }

  /**
   * @param held with which it was proven
   * @throws Rejection `malformed` for a file that nobody asked for; `too_large` where a node sends more than its share
   */
  async #explain(
    lacking: LackingAnswer,
    answered: AnsweredSupplement | undefined,
    held: GivenSupplement,
  ): Promise<TakenSupplement> {
    const { proven, connection } = lacking;
    const node = lacking.node.name;
    const asked = askedIn(answered);
    const search = this.#searchOf(node, proven, connection);
    noteAnswer(search, asked ?? []);
    const sent = checkAsked(answered?.came?.pieces ?? [], asked ?? []);
    let explained = await this.#with(lacking, { boot: proven.boot, given: held }, sent);
    let size = 0;
    for (const [digest, bytes] of sent)
      if (explained.given.files.has(digest)) {
        size += bytes.length;
        this.#evidence.hold(digest, bytes);
      }
    if (size > 0) this.#evidence.takeFiles(node, size);
    if (wantedBy(explained.boot, proven).length === wantedBy(proven.boot, proven).length)
      for (const digest of asked ?? []) search.missing.add(digest);
    for (const digest of asked ?? []) this.#land(node, digest);
    for (let hasWaited = false; ; hasWaited = true) {
      // Looked at first: one that lands meanwhile is found the next time.
      const flights = new Map(
        wantedBy(explained.boot, proven).flatMap((digest) => this.#flightOf(node, digest)),
      );
      explained = await this.#with(lacking, explained, await this.#kept(lacking, explained, search));
      const left = wantedBy(explained.boot, proven).filter((digest) => !search.missing.has(digest));
      if (asked === null || left.length === 0 || search.rounds >= mostRounds) {
        this.#found.delete(node);
        return { is: 'enough', given: explained.given };
      }
      search.rounds++;
      // Waited for once alone: a node that takes and never sends must not keep others waiting.
      const wanted = left
        .filter((digest) => hasWaited || !flights.has(digest))
        .slice(0, limits.filesInAnswer.count);
      if (wanted.length > 0) {
        for (const digest of wanted) this.#take(node, digest);
        search.next = wanted;
        this.#found.set(node, explained.given);
        return { is: 'more' };
      }
      await Promise.all([...flights.values()].map(({ landed }) => landed));
      for (const digest of left) search.looked.delete(digest);
    }
  }

  /** Of what is given and these, what explains something. */
  async #with(
    lacking: LackingAnswer,
    explained: ExplainedBoot,
    more: ReadonlyMap<string, Buffer>,
  ): Promise<ExplainedBoot> {
    if (more.size === 0) return explained;
    const { part, files } = explained.given;
    const all = new Map([...files, ...more]);
    const listed = new Set([...(await this.#listed(lacking.node.name, part)), ...all.keys()]);
    const boot = lacking.bootWith({
      name,
      part: listOf([...listed].slice(0, limits.loaderFiles.count)),
      files: all,
    });
    const used = boot?.state.explaining ?? [];
    const given: GivenSupplement = {
      name,
      part: listOf(used),
      files: new Map([...all].filter(([digest]) => used.includes(digest))),
    };
    return { boot, given };
  }

  /** Files among what is kept that this boot read, and that nobody has looked for yet. */
  async #kept(
    { node, proven }: LackingAnswer,
    { boot }: ExplainedBoot,
    search: Search,
  ): Promise<ReadonlyMap<string, Buffer>> {
    const found = new Map<string, Buffer>();
    for (const digest of wantedBy(boot, proven)) {
      if (search.looked.has(digest)) continue;
      search.looked.add(digest);
      const bytes = await this.#evidence.readPart(digest, node.name);
      if (bytes !== null && bytes.length <= limits.loaderFiles.each) found.set(digest, bytes);
    }
    return found;
  }

  #searchOf(node: string, { boot }: Proven, connection: Buffer): Search {
    const log = boot?.digest ?? '';
    const before = this.#searches.get(node);
    const isSame = before?.connection.equals(connection) === true;
    if (isSame && before.log === log) return before;
    // Attack: a log that is another one each time, so that the server asks without end.
    const rounds = isSame ? before.rounds : 0;
    const { open = [], unanswered = 0 } = before?.log === log ? before : {};
    const [looked, missing] = [new Set<string>(), new Set<string>()];
    const search = { log, connection, looked, missing, rounds, next: [], open, unanswered };
    this.#searches.set(node, search);
    return search;
  }

  #flightOf(node: string, digest: string): (readonly [string, Flight])[] {
    const flight = this.#flights.get(digest);
    return flight === undefined || flight.node === node ? [] : [[digest, flight]];
  }

  #take(node: string, digest: string): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const land = () => {
      clearTimeout(timer);
      if (this.#flights.get(digest) === flight) this.#flights.delete(digest);
      resolve();
    };
    const timer = setTimeout(land, flightMs).unref();
    const flight: Flight = { node, landed: promise, land };
    this.#flights.set(digest, flight);
  }

  #land(node: string, digest: string): void {
    const flight = this.#flights.get(digest);
    if (flight?.node === node) flight.land();
  }

  async #listed(node: string, list: Part | null): Promise<readonly string[]> {
    if (list === null) return [];
    const bytes = list.bytes ?? (await this.#evidence.readPart(list.digest, node));
    return bytes === null ? [] : parseFileList(bytes);
  }
}

function noteAnswer(search: Search, asked: readonly string[]): void {
  if (asked.length > 0) search.unanswered = 0;
  else if (search.open.length > 0 && ++search.unanswered >= mostUnanswered)
    for (const digest of search.open) search.missing.add(digest);
  search.open = [];
}

/** All of these were looked for here and asked of the node, and nothing is on its way. */
function isInVain(search: Search, asked: readonly string[] | null, lacking: readonly string[]): boolean {
  if (search.open.length + search.next.length > 0 || (asked !== null && asked.length > 0)) return false;
  return lacking.every(
    (digest) => search.looked.has(digest) && (asked === null || search.missing.has(digest)),
  );
}

/** Digests; null if the agent does not understand to be asked. */
function askedIn(answered: AnsweredSupplement | undefined): readonly string[] | null {
  return answered === undefined ? null : (answered.asked?.of ?? nothing);
}

const none: ReadonlyMap<string, Buffer> = new Map();
const name = 'loaderFiles';
const nothingGiven: GivenSupplement = { name, part: null, files: none };

const environmentBytes = 1024;

/**
 * By SHA-256. Attack: a node that sends what nobody asked for, to have it hashed and looked at; of each environment block
 * 256 rewrites are hashed.
 */
function checkAsked(came: readonly Buffer[], asked: readonly string[]): ReadonlyMap<string, Buffer> {
  const bank = ({ length }: string) => (length === 64 ? 'sha256' : length === 96 ? 'sha384' : 'sha512');
  const banks = [...new Set(asked.map(bank))];
  const files = new Map<string, Buffer>();
  let blocks = 0;
  for (const bytes of came) {
    const isAsked = banks.some((one) => asked.includes(hash(one, bytes, 'hex')));
    if (!isAsked && (bytes.length !== environmentBytes || ++blocks > limits.filesInAnswer.blocks))
      throw new Rejection('malformed', 'a file that nobody asked for', { field: 'files' });
    files.set(hashPart(bytes).digest, bytes);
  }
  return files;
}

function listOf(digests: readonly string[]): Part | null {
  if (digests.length === 0) return null;
  const { digest, bytes } = hashPart(fileList(digests));
  return { digest, bytes };
}

/** Digests of what its loader read and nobody knows; none of a log that does not replay, since it may say anything. */
function wantedBy(boot: MeasuredBoot | null, { banks }: Proven): readonly string[] {
  if (boot === null || boot.state.unexplained.length === 0) return nothing;
  if (!explainsTheRest(boot.problems, banks)) return nothing;
  const digests = boot.state.unexplained.flatMap(({ content, digests: { sha256, sha384, sha512 } }) =>
    content === null ? (sha256 ?? sha384 ?? sha512 ?? []) : [],
  );
  return [...new Set(digests)].slice(0, limits.loaderFiles.count);
}

const nothing: readonly string[] = [];
