import { setTimeout as delay } from 'node:timers/promises';
import { outsideText } from '../wire/printable.ts';

/** Where the cluster keeps the latest checkpoint: a ConfigMap, which outlives the server's disk. */
export interface CheckpointKeeper {
  /** Null where there is none. */
  read(): Promise<Readonly<Record<string, string>> | null>;
  write(data: Readonly<Record<string, string>>): Promise<void>;
}

export interface ClusterCheckpointParts {
  readonly keeper: CheckpointKeeper;
  /** Whose checkpoint it is: `own` is that of a key of this log. */
  readonly compare: (note: string) => Promise<Compared>;
  /** A rollback is reported that nobody has looked into yet. */
  readonly isRolledBack: () => boolean;
  /** Milliseconds of a clock that nobody sets. */
  readonly monotonic: () => number;
  readonly report: {
    contradictedByCluster(text: string): void;
    /** Null: it was written. */
    checkpointKept(error: Error | null): void;
  };
}

export interface Compared {
  readonly isOwn: boolean;
  /** A sentence where the log is another one. */
  readonly contradiction: string | null;
}

/** The ConfigMap's keys. */
const latest = 'checkpoint';
const replaced = 'replaced';

/** The API of the cluster takes one write of it in this time, in milliseconds. */
const writeEvery = 60_000;
const mostNote = 4096;

/**
 * Keeps the latest checkpoint of the audit log in the cluster. What is there at the start is a witness: it is compared
 * before it is written over, and stays while a rollback is not explained.
 */
export class ClusterCheckpoint {
  readonly #parts: ClusterCheckpointParts;
  #wanted: string | null = null;
  #kept: string | null = null;
  /** What was there and is of another log: it stays beside ours. */
  #foreign: string | null = null;
  #isCompared = false;
  /** By the monotonic clock. */
  #notBefore = Number.NEGATIVE_INFINITY;
  #working: Promise<void> | null = null;

  constructor(parts: ClusterCheckpointParts) {
    this.#parts = parts;
  }

  /** A newer one is signed. */
  signed(note: string): void {
    this.#wanted = note;
  }

  /** Compares what is there, then writes what is to be: as far as it is time. Never rejects. */
  turn(): Promise<void> {
    this.#working ??= this.#turn().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  /** What is signed last is written at the end, if the API takes it at once. */
  async close(within = 2000): Promise<void> {
    this.#notBefore = Number.NEGATIVE_INFINITY;
    const last = (this.#working ?? Promise.resolve()).then(() => this.turn());
    await Promise.race([last, delay(within, undefined, { ref: false })]);
  }

  async #turn(): Promise<void> {
    const { keeper, isRolledBack, monotonic, report } = this.#parts;
    const note = this.#wanted;
    if (monotonic() < this.#notBefore) return;
    if (this.#isCompared && (note === null || note === this.#kept || isRolledBack())) return;
    this.#notBefore = monotonic() + writeEvery;
    try {
      if (!this.#isCompared) await this.#compare();
      // It is the proof: whoever rolled back must not have it written over.
      if (note === null || isRolledBack()) return;
      const foreign = this.#foreign;
      await keeper.write({ [latest]: note, ...(foreign !== null && { [replaced]: foreign }) });
      this.#kept = note;
      report.checkpointKept(null);
    } catch (error) {
      report.checkpointKept(error instanceof Error ? error : new Error(String(error)));
    }
  }

  async #compare(): Promise<void> {
    const { keeper, compare, report } = this.#parts;
    const found = (await keeper.read())?.[latest];
    if (found !== undefined) {
      const { isOwn, contradiction } = await compare(found);
      if (contradiction !== null) report.contradictedByCluster(contradiction);
      else if (!isOwn) {
        this.#foreign = found.slice(0, mostNote);
        const first = outsideText(found.split('\n', 1)[0] ?? '');
        report.contradictedByCluster(
          `the cluster keeps a checkpoint that no key of this log signed (${first}): the state folder is another one, or somebody wrote there`,
        );
      }
    }
    this.#isCompared = true;
  }
}
