import type { AuditEntry } from '../formats/audit.ts';
import type { AuditReaderName, AuditStore } from './ports.ts';

/** The committed audit log, read in its order. `seq` of an entry is the id after which a reader goes on. */
export interface AuditReader {
  /** The entries after this one: a page at most, and none where none is committed yet. */
  next(after: number): Promise<readonly AuditEntry[]>;
  /** Null where it is not there. */
  entry(seq: number): Promise<AuditEntry | null>;
  /** `seq` of the latest entry; 0 before the first. */
  head(): Promise<number>;
  /** `seq` of the last entry that this reader is done with; null where it never read, or was forgotten. */
  position(): Promise<number | null>;
  /** Null: it is forgotten. */
  setPosition(seq: number | null): Promise<void>;
  /** Has the listener called when there is more to read. @returns ends that */
  onMore(listener: () => void): () => void;
}

/** Entries of a page, and bytes, about. */
const page = 500;
const pageBytes = 1024 * 1024;

export function auditReader(
  store: Pick<AuditStore, 'entries' | 'head' | 'position' | 'setPosition' | 'onAppend'>,
  name: AuditReaderName,
): AuditReader {
  return {
    next: (after) => store.entries({ after, limit: page, bytes: pageBytes }),
    async entry(seq) {
      const [found] = await store.entries({ after: seq - 1, limit: 1 });
      return found?.seq === seq ? found : null;
    },
    head: async () => (await store.head()).size,
    position: () => store.position(name),
    setPosition: (seq) => store.setPosition(name, seq),
    onMore: store.onAppend,
  };
}
