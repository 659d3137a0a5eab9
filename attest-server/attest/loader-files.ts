import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { EvidenceRoom } from '../evidence/open.ts';
import type { Part } from '../protocol/evidence.ts';
import { limits } from '../protocol/limits.ts';
import { fileList, parseFileList } from '../protocol/loader-files.ts';
import { Rejection } from '../protocol/rejection.ts';
import { explainsTheRest } from '../verify/boot/boot-problem.ts';
import { hashPart } from '../verify/hashed-part.ts';
import type { Proven } from '../verify/proven.ts';
import type { Verifier } from '../verify/verifier.ts';
import type { Answer, GivenFiles } from './answer.ts';
import type { NodeStatus } from './ports.ts';

export interface LoaderFilesParts extends Pick<EvidenceRoom, 'hold' | 'readPart'> {
  /** Takes bytes of the node's share of such files. @throws Rejection `too_large` */
  takeFiles(node: string, bytes: number, at: number): void;
}

/** An answer beside the files that say what its loader read. */
export interface ExplainedAnswer {
  readonly proven: Proven;
  readonly given: GivenFiles;
  /** Digests of files that the node is to be asked for before it is judged; mostly empty. */
  readonly wanted: readonly string[];
}

/** What was looked for to explain the boot that one log tells. */
interface Search {
  /** SHA-256 of the log. */
  readonly log: string;
  /** An agent that was started anew may read more. */
  readonly connection: Buffer;
  /** Digests that were looked for among what is kept. */
  readonly looked: Set<string>;
  /** Those that the node was asked for in vain. */
  readonly missing: Set<string>;
  /** How often the node was asked on this connection, for whichever log. */
  rounds: number;
  /** What it was asked for last, while no answer to that has come. */
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

/**
 * Finds the files that say what a node's loader read: first those that are kept, from whichever node, then those that it
 * sends. What explains nothing is not kept.
 */
export class LoaderFiles {
  readonly #evidence: LoaderFilesParts;
  readonly #verifier: Verifier;
  readonly #searches = new Map<string, Search>();
  /** Of nodes that were asked for more before they are judged: what explains their boot so far. */
  readonly #found = new LRUCache<string, GivenFiles>({
    maxSize: foundBytes,
    sizeCalculation: ({ files }) => [...files.values()].reduce((sum, { length }) => sum + length, 1),
  });
  readonly #flights = new Map<string, Flight>();

  constructor(evidence: LoaderFilesParts, verifier: Verifier) {
    this.#evidence = evidence;
    this.#verifier = verifier;
  }

  /** The files that explained this node's boot before; null where they must be read. */
  remembered(node: string, { loaderFiles: digest }: NodeStatus['parts']): GivenFiles | null {
    const found = this.#found.get(node);
    if (found !== undefined) return found;
    if (digest === undefined) return none;
    const named: Part = { digest, bytes: null };
    return this.#verifier.missing({ loaderFiles: named }).length === 0
      ? { list: named, files: none.files }
      : null;
  }

  /** The same, read. */
  async heldFor(node: string, { loaderFiles: digest }: NodeStatus['parts']): Promise<GivenFiles> {
    if (digest === undefined) return none;
    const bytes = await this.#evidence.readPart(digest, node);
    if (bytes === null) return none;
    const files = new Map<string, Buffer>();
    for (const each of parseFileList(bytes)) {
      const file = this.#verifier.knowsFile(each) ? null : await this.#evidence.readPart(each, node);
      if (file !== null) files.set(each, file);
    }
    return { list: { digest, bytes }, files };
  }

  /** The answer, where nothing is lacking, or all was looked for and asked in vain; else null. */
  explainedBy(node: string, answer: Answer, held: GivenFiles, proven: Proven): ExplainedAnswer | null {
    const { asked, came } = answer.files ?? unasked;
    if (came.length > 0) return null;
    const lacking = wantedBy(proven);
    const isOver =
      lacking.length === 0 || isInVain(this.#searchOf(node, proven, answer.channel), asked, lacking);
    return isOver ? this.#done(node, { proven, given: held, wanted: [] }) : null;
  }

  /**
   * @param proven with the files that are held
   * @param verified the same answer with others
   * @param at milliseconds since the epoch
   * @throws Rejection `malformed` for a file that nobody asked for; `too_large` where a node sends more than its share
   */
  async explain(
    node: string,
    answer: Answer,
    held: GivenFiles,
    proven: Proven,
    verified: (files: GivenFiles) => Proven,
    at: number,
  ): Promise<ExplainedAnswer> {
    const { asked, came } = answer.files ?? unasked;
    let explained: ExplainedAnswer = { proven, given: held, wanted: [] };
    const search = this.#searchOf(node, proven, answer.channel);
    noteAnswer(search, asked ?? []);
    const before = wantedBy(proven).length;
    const sent = checkAsked(came, asked ?? []);
    explained = await this.#with(node, explained, sent, verified);
    let size = 0;
    for (const [digest, bytes] of sent)
      if (explained.given.files.has(digest)) {
        size += bytes.length;
        this.#evidence.hold(digest, bytes);
      }
    if (size > 0) this.#evidence.takeFiles(node, size, at);
    if (wantedBy(explained.proven).length === before)
      for (const digest of asked ?? []) search.missing.add(digest);
    for (const digest of asked ?? []) this.#land(node, digest);
    for (let hasWaited = false; ; hasWaited = true) {
      // Looked at first: one that lands meanwhile is found the next time.
      const flights = new Map(wantedBy(explained.proven).flatMap((digest) => this.#flightOf(node, digest)));
      const kept = await this.#kept(node, explained.proven, search);
      explained = await this.#with(node, explained, kept, verified);
      const left = wantedBy(explained.proven).filter((digest) => !search.missing.has(digest));
      if (asked === null || left.length === 0 || search.rounds >= mostRounds)
        return this.#done(node, explained);
      search.rounds++;
      // Waited for once alone: a node that takes and never sends must not keep others waiting.
      const wanted = left
        .filter((digest) => hasWaited || !flights.has(digest))
        .slice(0, limits.filesInAnswer.count);
      if (wanted.length > 0) {
        for (const digest of wanted) this.#take(node, digest);
        search.open = wanted;
        this.#found.set(node, explained.given);
        return { ...explained, wanted };
      }
      await Promise.all([...flights.values()].map(({ landed }) => landed));
      for (const digest of left) search.looked.delete(digest);
    }
  }

  /** The node is asked for something else before it is judged, and need not send these once more. */
  keep(node: string, given: GivenFiles): void {
    this.#found.set(node, given);
  }

  forget(node: string): void {
    this.#searches.delete(node);
    this.#found.delete(node);
    // Whoever waits for what it was to send is to send it now.
    for (const flight of [...this.#flights.values()]) if (flight.node === node) flight.land();
  }

  #done(node: string, explained: ExplainedAnswer): ExplainedAnswer {
    this.#found.delete(node);
    return explained;
  }

  /** Of what is given and these, what explains something. */
  async #with(
    node: string,
    explained: ExplainedAnswer,
    more: ReadonlyMap<string, Buffer>,
    verified: (files: GivenFiles) => Proven,
  ): Promise<ExplainedAnswer> {
    if (more.size === 0) return explained;
    const { list, files } = explained.given;
    const all = new Map([...files, ...more]);
    const listed = new Set([...(await this.#listed(node, list)), ...all.keys()]);
    const tried = verified({ list: listOf([...listed].slice(0, limits.loaderFiles.count)), files: all });
    const used = tried.boot?.state.explaining ?? [];
    const given: GivenFiles = {
      list: listOf(used),
      files: new Map([...all].filter(([digest]) => used.includes(digest))),
    };
    return { proven: verified(given), given, wanted: [] };
  }

  /** Files among what is kept that this boot read, and that nobody has looked for yet. */
  async #kept(node: string, proven: Proven, search: Search): Promise<ReadonlyMap<string, Buffer>> {
    const found = new Map<string, Buffer>();
    for (const digest of wantedBy(proven)) {
      if (search.looked.has(digest)) continue;
      search.looked.add(digest);
      const bytes = await this.#evidence.readPart(digest, node);
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
    const search = { log, connection, looked, missing, rounds, open, unanswered };
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
  if (search.open.length > 0 || (asked !== null && asked.length > 0)) return false;
  return lacking.every(
    (digest) => search.looked.has(digest) && (asked === null || search.missing.has(digest)),
  );
}

const unasked: NonNullable<Answer['files']> = { asked: null, came: [] };
const none: GivenFiles = { list: null, files: new Map() };

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
function wantedBy({ banks, boot }: Proven): readonly string[] {
  if (boot === null || boot.state.unexplained.length === 0) return nothing;
  if (!explainsTheRest(boot.problems, banks)) return nothing;
  const digests = boot.state.unexplained.flatMap(({ content, digests: { sha256, sha384, sha512 } }) =>
    content === null ? (sha256 ?? sha384 ?? sha512 ?? []) : [],
  );
  return [...new Set(digests)].slice(0, limits.loaderFiles.count);
}

const nothing: readonly string[] = [];
