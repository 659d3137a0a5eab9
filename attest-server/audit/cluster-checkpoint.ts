import { setTimeout as delay } from 'node:timers/promises';
import { outsideText } from '../wire/printable.ts';

/** Where the cluster keeps the latest checkpoint: a ConfigMap, which outlives the server's disk. */
export interface CheckpointKeeper {
  /** The ConfigMap's data; null if there is none. */
  read(): Promise<Readonly<Record<string, string>> | null>;
  write(data: Readonly<Record<string, string>>): Promise<void>;
}

export interface ClusterCheckpointParts {
  readonly keeper: CheckpointKeeper;
  /** Compares the log with a checkpoint. */
  readonly compare: (note: string) => Promise<CheckpointComparison>;
  /** Whether a rollback is reported that no person has resolved yet. */
  readonly isRolledBack: () => boolean;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly report: {
    contradictedByCluster(text: string): void;
    /** @param error null if the checkpoint was written */
    checkpointKept(error: Error | null): void;
  };
}

export interface CheckpointComparison {
  /** Whether a key of this log signed it. */
  readonly isOwn: boolean;
  /** A sentence if the log contradicts it, else null. */
  readonly contradiction: string | null;
}

/** The ConfigMap's keys. */
const latest = 'checkpoint';
const replaced = 'replaced';

/** Milliseconds between two writes to the cluster's API. */
const writeEvery = 60_000;
const mostNote = 4096;

/**
 * Keeps the latest checkpoint of the audit log in the cluster. The one that is there at the start is a witness: the log
 * is compared with it before it is overwritten, and it stays until a rollback is resolved.
 */
export class ClusterCheckpoint {
  readonly #parts: ClusterCheckpointParts;
  #wanted: string | null = null;
  #kept: string | null = null;
  /** A checkpoint of another log that was there at the start: it stays beside ours. */
  #foreign: string | null = null;
  #isCompared = false;
  /** The next write waits until then, in monotonic milliseconds. */
  #notBefore = Number.NEGATIVE_INFINITY;
  #working: Promise<void> | null = null;

  constructor(parts: ClusterCheckpointParts) {
    this.#parts = parts;
  }

  /** Takes a newer checkpoint, for the next turn to write. */
  signed(note: string): void {
    this.#wanted = note;
  }

  /** Compares the log with the checkpoint in the cluster once, then writes ours if one is due. Never rejects. */
  turn(): Promise<void> {
    this.#working ??= this.#turn().finally(() => {
      this.#working = null;
    });
    return this.#working;
  }

  /** Writes the last checkpoint, if the API accepts it within so many milliseconds. */
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
